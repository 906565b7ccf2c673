"""What follows from an attempt: a pure function of its end, its number and the policy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import TypeAlias


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
    UNREACHABLE = "unreachable"  # lost before the message was handed over
    UNANSWERED = "unanswered"  # handed over, no answer: it may have arrived
    LEASE_OVER = "lease_over"  # the worker was gone
    RELEASED = "released"  # given back: paused, stopping, another address


@dataclass(frozen=True, slots=True)
class Outcome:
    """The end of an attempt, with the other server's reply code if it gave one.

    `retry_after` is how long that server, or a breaker, asks to be left alone.
    """

    result: Result
    code: int | None = None
    retry_after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of the delivery, and how long it rests first.

    `spared`: the attempt counts towards no limit. `doubtful`: another may bring it twice.
    """

    state: State
    wait: timedelta = timedelta()
    spared: bool = False
    doubtful: bool = False


Waits: TypeAlias = Mapping[Result, Sequence[timedelta]]

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
# Standard Webhooks, "Deliverability and reliability".
_CALLS: Sequence[timedelta] = [
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
]
MAX_ATTEMPTS = len(_FAULTS) + 1
# Whoever claims next may do better; what kills its worker each time dies in the end. By the
# third time those that were claimed together part, so that it dies alone.
_CRASHES: Sequence[timedelta] = [
    *[timedelta()] * 2,
    *[timedelta(minutes=1)] * (MAX_ATTEMPTS - 3),
]
LONGEST_WAIT = timedelta(hours=24)

MAIL: Waits = {
    Result.DEFERRED: _REFUSALS,
    Result.NOBODY: _REFUSALS,
    Result.UNREACHABLE: _FAULTS,
    Result.UNANSWERED: _FAULTS,
    Result.LEASE_OVER: _CRASHES,
}
WEBHOOK: Waits = {
    Result.DEFERRED: _CALLS,
    Result.NOBODY: _CALLS,
    Result.UNREACHABLE: _CALLS,
    Result.UNANSWERED: _CALLS,
    Result.LEASE_OVER: _CRASHES,
}
# What is decided at once, whatever the number of the attempt.
_ENDS: Mapping[Result, State] = {
    Result.SENT: State.SENT,
    Result.SUPPRESSED: State.SUPPRESSED,
    Result.REFUSED: State.DEAD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What an end is judged by, beside itself.

    Of `attempt`, counted from 1, `spared` earlier ones count towards no limit. `excused`: its
    server is left alone just now. `in_data`: the worker was gone after the message had left
    or was about to. `hold`: what may have arrived waits for an operator.
    """

    attempt: int
    waits: Waits
    spared: int = 0
    excused: bool = False
    in_data: bool = False
    hold: bool = False


def judge(case: Case, outcome: Outcome, jitter: float) -> Verdict:
    """Decide what follows, with `jitter` drawn from [0, 1).

    The wait is that share of the table's, so that what failed together does not come back
    together; a server that asks for longer gets it, up to a day.
    """
    result = outcome.result
    asked = min(outcome.retry_after or timedelta(), LONGEST_WAIT)
    if result in _ENDS:
        return Verdict(_ENDS[result])
    if result is Result.RELEASED:
        return Verdict(State.RETRY, asked, spared=True)
    doubtful = result is Result.UNANSWERED or case.in_data
    if doubtful and case.hold:
        return Verdict(State.UNKNOWN)
    spared = case.excused or result is Result.NOBODY
    # What nobody is there for waits longer each time, though it is never given up.
    number = case.attempt if result is Result.NOBODY else case.attempt - case.spared
    waits = case.waits[result]
    if number > len(waits) and not spared:
        return Verdict(State.DEAD, doubtful=doubtful)
    wait = waits[min(number, len(waits)) - 1] * jitter
    return Verdict(State.RETRY, max(wait, asked), spared=spared, doubtful=doubtful)
