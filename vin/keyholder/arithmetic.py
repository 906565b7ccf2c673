"""What the key holder's processes do; nothing here waits for anything."""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

from vin.crypto import oprf
from vin.crypto.pseudonym import domain_key

PR_SET_PDEATHSIG = 1

# One key holder's process has one set of seeds.
_seeds: dict[int, bytes] = {}


@dataclass(frozen=True, slots=True)
class Batch:
    """Blinded elements for the key of one domain and epoch."""

    domain: str
    epoch: int
    blinded: Sequence[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of a batch, and the proof that the published key did it."""

    evaluated: Sequence[bytes] = field(repr=False)
    proof: bytes = field(repr=False)


def begin(seeds: Mapping[int, bytes], parent: int) -> None:
    """Get ready for work; this process ends when its parent does, however that ends.

    SelfTestError where this machine does not compute as RFC 9497 says.
    """
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    # Ctrl-C is for the parent, which lets the work in hand be finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    oprf.self_test()
    _seeds.update(seeds)


def evaluate(batches: Sequence[Batch]) -> list[Evaluation]:
    return [_evaluate_batch(batch) for batch in batches]


def _evaluate_batch(batch: Batch) -> Evaluation:
    key = _key(batch.domain, batch.epoch)
    evaluated = oprf.multiply_all(key, batch.blinded)
    return Evaluation(evaluated, oprf.prove(key, batch.blinded, evaluated))


@cache
def _key(domain: str, epoch: int) -> oprf.Key:
    return domain_key(_seeds[epoch], domain, epoch)
