"""A mail server that fails at every verb, as often as a bad week makes it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import cycle
from random import Random
from typing import TypeAlias

from tests.invariants import Copy, copy_of
from tests.notify.smtp_peer import DROP, HANG, SESSION, DroppedError, Peer, Session, listening

# Of each moment the faults, with how many in a thousand meet them.
FAULTS: Mapping[str, Mapping[str, int]] = {
    "CONNECT": {"421 busy": 10, DROP: 5, HANG: 2},
    "EHLO": {"421 busy": 5, DROP: 5, HANG: 2},
    "MAIL": {"451 later": 10, DROP: 5, HANG: 2},
    "RCPT": {"450 greylisted": 60, "550 5.7.1 refused": 3, DROP: 20, HANG: 2},
    "DATA": {"451 later": 10, DROP: 5, HANG: 2},
    "CONTENT": {DROP: 5, HANG: 2},
    "DOT": {"451 later": 40, "552 5.3.4 too big": 2, DROP: 5, HANG: 2},
    "ANSWER": {DROP: 5, HANG: 2},
    "RSET": {DROP: 5, HANG: 2},
    "QUIT": {DROP: 10, HANG: 5},
}


# Where workers are struck, in turn; the first is the worst, since the mail has arrived by then.
MOMENTS = ("ANSWER", "RCPT", "DATA", "DOT", "CONTENT", "MAIL", "CONNECT")
# Does something to the process that talks to us from this port.
Strike: TypeAlias = Callable[[int], Awaitable[None]]
# So long the one that was overtaken may do harm before the other goes on.
RACE_SECONDS = 2.0


def draws(seed: int, what: str) -> Random:
    """Chance that comes again with the seed, one for each purpose."""
    return Random(f"{seed} {what}")  # noqa: S311 - nothing is kept secret with it


class Race:
    """Stops the next worker before DATA, and lets it go on when another has its mail in DATA."""

    def __init__(self, stop: Strike) -> None:
        self.overtaken = asyncio.Event()
        self._stop = stop
        self._first: Session | None = None
        self._mail = ""

    async def meet(self, moment: str, session: Session) -> None:
        # In a return path the attempt's number follows the delivery.
        mail = session.sender.partition(".")[0]
        if self._first is None and moment == "RCPT":
            self._first, self._mail = session, mail
            await self._stop(session.port)
        elif session is not self._first and (moment, mail) == ("CONTENT", self._mail):
            self.overtaken.set()
            await asyncio.sleep(RACE_SECONDS)


class Mailhost(Peer):
    """Draws faults by `seed`, of each moment's visits in order, while it is `faulty`.

    Who next comes to the moment of `ambush` is struck, once.
    """

    def __init__(self, seed: int, hang_seconds: float) -> None:
        super().__init__()
        self.faulty = True
        self.met: Counter[str] = Counter()
        self.moments = cycle(MOMENTS)
        self.ambush: tuple[str, Strike] | None = None
        self.race: Race | None = None
        self._hang_seconds = hang_seconds
        self._chance = {moment: draws(seed, moment) for moment in FAULTS}

    async def meet(self, moment: str, reply: str) -> str:
        if self.ambush and self.ambush[0] == moment:
            (_, strike), self.ambush = self.ambush, None
            await strike(SESSION.get().port)
        if self.race is not None:
            await self.race.meet(moment, SESSION.get())
        fault = self._draw(moment) if self.faulty else None
        if fault is None:
            return reply
        self.met[f"{moment} {fault[:3]}"] += 1
        if fault == HANG:
            await asyncio.sleep(self._hang_seconds)
        if fault in {HANG, DROP}:
            raise DroppedError
        return fault

    def _draw(self, moment: str) -> str | None:
        """At most one of the moment's faults."""
        ticket = self._chance[moment].randrange(1000)
        for fault, share in FAULTS[moment].items():
            ticket -= share
            if ticket < 0:
                return fault
        return None

    def copies(self) -> list[Copy]:
        """What was accepted, read."""
        return [copy_of(mail.sender, mail.recipient, mail.content) for mail in self.accepted]


@asynccontextmanager
async def mailhost(seed: int, hang_seconds: float) -> AsyncIterator[Mailhost]:
    host = Mailhost(seed, hang_seconds)
    async with listening(host):
        yield host
