"""When to ask again."""

import random
from dataclasses import dataclass
from http import HTTPStatus

AGAIN = frozenset(
    {
        HTTPStatus.TOO_MANY_REQUESTS,
        HTTPStatus.BAD_GATEWAY,
        HTTPStatus.SERVICE_UNAVAILABLE,
        HTTPStatus.GATEWAY_TIMEOUT,
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often and how long to try; waits grow twofold, each drawn from nothing to its whole.

    Who is asked to wait longer than `longest_seconds` is told so instead.
    """

    attempts: int = 6
    first_seconds: float = 0.2
    longest_seconds: float = 30

    def wait_seconds(self, attempt: int, asked_seconds: int | None = None) -> float | None:
        """Say how long to wait after this attempt, the first being 1; None is to give up."""
        if attempt >= self.attempts or (asked_seconds or 0) > self.longest_seconds:
            return None
        most = min(self.first_seconds * 2 ** (attempt - 1), self.longest_seconds)
        jitter = random.uniform(0, most)  # noqa: S311 - spreads clients, keeps no secret
        return (asked_seconds or 0) + jitter
