"""All interleavings of two sessions, statement by statement.

A session runs the real code on a connection that stops before certain statements and
before its commit, and at its start if that is a stop, until the schedule lets it go on. A
session that waits for a lock is passed over until the lock is free, as in a real server.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from itertools import combinations
from typing import TYPE_CHECKING, cast

from schemas.database import Db

if TYPE_CHECKING:
    from asyncpg.transaction import Transaction

BLOCKED_SECONDS = 0.02
LOOK_SECONDS = 0.003

Work = Callable[[Db], Awaitable[None]]


def schedules(steps: int) -> Iterator[Sequence[int]]:
    """All orders in which two sessions can take so many steps each, the first starting.

    The sessions are alike, so orders in which the second starts tell nothing more.
    """
    for places in combinations(range(1, 2 * steps), steps - 1):
        firsts = {0, *places}
        yield [0 if place in firsts else 1 for place in range(2 * steps)]


def orders(first: int, second: int) -> list[list[int]]:
    """All orders in which two different sessions can take so many steps."""
    return [
        [0 if place in firsts else 1 for place in range(first + second)]
        for firsts in map(set, combinations(range(first + second), first))
    ]


class Observer:
    """Tells from a connection of its own whether another waits for a lock."""

    def __init__(self, db: Db) -> None:
        self._db = db
        self._lock = asyncio.Lock()

    async def is_blocked(self, pid: int) -> bool:
        async with self._lock:
            blocked: bool = await self._db.fetchval(
                "SELECT cardinality(pg_blocking_pids($1)) > 0", pid
            )
            return blocked


class Session:
    """One session; `step` lets it run to its next stop.

    With an observer that is exact; without one, who is slow counts as waiting for a lock.
    """

    def __init__(
        self,
        db: Db,
        stops: frozenset[str],
        work: Sequence[Work],
        observer: Observer | None = None,
    ) -> None:
        self._observer = observer
        self._gate = asyncio.Semaphore(0)
        self._stopped = asyncio.Event()
        self._stops = stops
        self._db = db
        self.task = asyncio.create_task(self._run(work))

    async def _run(self, work: Sequence[Work]) -> None:
        stepped = cast("Db", Stepped(self, self._db))
        try:
            await self.stop("start")
            for each in work:
                async with self._db.transaction():
                    await each(stepped)
                    await self.stop("commit")
        finally:
            self._stopped.set()

    async def stop(self, statement: str) -> None:
        """Wait here for the schedule, if this is one of the stops."""
        if statement in self._stops:
            self._stopped.set()
            await self._gate.acquire()

    async def step(self) -> None:
        """Run to the next stop, to the end, or into a lock; one that waits for a lock stays."""
        if self._stopped.is_set() and not self.task.done():
            self._stopped.clear()
            self._gate.release()
        seconds = LOOK_SECONDS if self._observer else BLOCKED_SECONDS
        while not self._stopped.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), seconds)
            if self._observer is None or await self._is_blocked(self._observer):
                return

    async def _is_blocked(self, observer: Observer) -> bool:
        return not self.task.done() and await observer.is_blocked(self._db.get_server_pid())


async def play(schedule: Sequence[int], sessions: Sequence[Session]) -> None:
    """Run sessions by a schedule, then let what is left of them finish."""
    for turn in schedule:
        await sessions[turn].step()
    while not all(session.task.done() for session in sessions):
        for session in sessions:
            await session.step()
    await asyncio.gather(*(session.task for session in sessions))


class Stepped:
    """A connection whose statements stop at their session's stops."""

    def __init__(self, session: Session, db: Db) -> None:
        self._session = session
        self._db = db

    def transaction(self) -> "Transaction":
        """A savepoint: its end is no stop."""
        return self._db.transaction()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[object]]:
        method = getattr(self._db, name)

        async def run(query: str, *values: object) -> object:
            await self._session.stop(tag(query))
            return await method(query, *values)

        return run


def tag(query: str) -> str:
    """The name that a statement opens with."""
    return query.strip().splitlines()[0].removeprefix("-- ")
