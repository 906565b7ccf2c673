"""Leaves servers alone that do not answer; the time is an argument, in seconds of any clock.

What is kept back waits in the ledger and burns no attempt. Each process learns for itself.
"""

from collections.abc import Collection
from dataclasses import dataclass

from notify.ledger import Peer
from notify.retry import Result

FAILURES = 5
REST_SECONDS = 10.0
LONGEST_REST_SECONDS = 300.0
TRIAL_SECONDS = 5.0

FAILED = {Result.UNREACHABLE, Result.UNANSWERED}
ANSWERED = {Result.SENT, Result.REFUSED, Result.DEFERRED}


@dataclass(slots=True)
class Line:
    """How a server did: failures in a row, and until when it is left alone."""

    failures: int = 0
    rest: float = 0.0
    rests_until: float = 0.0
    trial_until: float = 0.0


class Breaker:
    """Opens for a peer after `FAILURES` in a row, and closes at the first answer."""

    def __init__(self) -> None:
        self._lines: dict[Peer, Line] = {}

    def note(self, peer: Peer, result: Result, now: float) -> bool:
        """Take note of an end; True when the peer is, from now on or still, left alone."""
        if result in ANSWERED:
            self._lines.pop(peer, None)
        if result not in FAILED:
            return False
        line = self._lines.setdefault(peer, Line())
        line.failures += 1
        if line.failures < FAILURES:
            return False
        if now >= line.rests_until:
            line.rest = min(2 * line.rest, LONGEST_REST_SECONDS) or REST_SECONDS
            line.rests_until = now + line.rest
        return True

    def open(self) -> Collection[Peer]:
        """The peers that get nothing but a trial now and then."""
        return [peer for peer, line in self._lines.items() if line.failures >= FAILURES]

    def resting(self, now: float) -> Collection[Peer]:
        """Those of them that get nothing at all."""
        return [peer for peer in self.open() if now < self._lines[peer].rests_until]

    def due(self, now: float) -> Collection[Peer]:
        """Those of them whose rest is over and that nothing is under way to."""
        return [
            peer
            for peer in self.open()
            if now >= max(self._lines[peer].rests_until, self._lines[peer].trial_until)
        ]

    def try_out(self, peer: Peer, now: float) -> None:
        """Note that something is on its way to the peer; what becomes of it may never be told.

        A peer that answered meanwhile needs no trial any more.
        """
        if peer in self._lines:
            self._lines[peer].trial_until = now + TRIAL_SECONDS
