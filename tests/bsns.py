"""Test numbers that no other test takes: never-issued ones, dealt out at random."""

import secrets
from collections.abc import Iterator
from functools import cache

from vin.client import identifiers


@cache
def dealer() -> Iterator[str]:
    numbers = list(identifiers.test_bsns())
    secrets.SystemRandom().shuffle(numbers)
    return iter(numbers)


def fresh_bsn() -> str:
    """A number that this test process has not used yet."""
    return next(dealer())
