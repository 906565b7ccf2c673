"""What follows from an attempt: a pure function of its end and its number."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


class State(StrEnum):
    """Where a delivery stands; `unknown` is for a channel whose policy is to hold."""

    PENDING = "pending"
    QUEUED = "queued"
    SENDING = "sending"
    RETRY = "retry"
    SENT = "sent"
    UNKNOWN = "unknown"
    DEAD = "dead"
    SUPPRESSED = "suppressed"


class Result(StrEnum):
    """How an attempt ended."""

    SENT = "sent"
    SUPPRESSED = "suppressed"  # nothing is left to tell
    NOBODY = "nobody"  # nobody to tell it to, until the region names somebody
    REFUSED = "refused"  # the other server said never
    DEFERRED = "deferred"  # the other server said not now
    UNREACHABLE = "unreachable"  # lost before the mail was handed over
    UNANSWERED = "unanswered"  # handed over, no answer: it may have arrived
    LEASE_OVER = "lease_over"  # the worker was gone
    RELEASED = "released"  # given back: paused, stopping, another address


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an attempt, with the other server's reply code if it gave one."""

    result: Result
    code: int | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the delivery, and how long it rests first."""

    state: State
    wait: timedelta = timedelta()


_REFUSALS: Sequence[timedelta] = [
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=3),
    timedelta(hours=6),
    timedelta(hours=12),
    timedelta(hours=24),
    timedelta(hours=24),
    timedelta(hours=24),
]
# A mail server that restarts is back within minutes, so these come close together at first.
_FAULTS: Sequence[timedelta] = [
    timedelta(seconds=10),
    timedelta(seconds=20),
    timedelta(seconds=30),
    timedelta(minutes=1),
    timedelta(minutes=1),
    timedelta(minutes=2),
    timedelta(minutes=2),
    *_REFUSALS,
]
_WAITS: Mapping[Result, Sequence[timedelta]] = {
    Result.DEFERRED: _REFUSALS,
    Result.NOBODY: _REFUSALS,
    Result.UNREACHABLE: _FAULTS,
    Result.UNANSWERED: _FAULTS,
}
# What is decided at once, whatever the number of the attempt.
_ENDS: Mapping[Result, State] = {
    Result.SENT: State.SENT,
    Result.SUPPRESSED: State.SUPPRESSED,
    Result.REFUSED: State.DEAD,
    Result.RELEASED: State.RETRY,
}
MAX_ATTEMPTS = len(_FAULTS) + 1


def judge(attempt: int, result: Result, jitter: float) -> Verdict:
    """Decide on attempt number `attempt`, counted from 1, with `jitter` drawn from [0, 1).

    The wait is that share of the table's, so that what failed together does not come
    back together. What nobody is there for is never given up.
    """
    if result in _ENDS:
        return Verdict(_ENDS[result])
    if result is Result.LEASE_OVER:
        return Verdict(State.RETRY if attempt < MAX_ATTEMPTS else State.DEAD)
    waits = _WAITS[result]
    if attempt > len(waits) and result is not Result.NOBODY:
        return Verdict(State.DEAD)
    return Verdict(State.RETRY, waits[min(attempt, len(waits)) - 1] * jitter)
