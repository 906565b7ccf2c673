"""All interleavings of two sessions, statement by statement.

A session runs the real code on a connection that stops before certain statements and
before its commit, and at its start if that is a stop, until the schedule lets it go on. A
session that waits for a lock is passed over until the lock is free, as in a real server.
One moves at a time, so the same schedule always goes the same way. It always ends too:
by itself, as a deadlock as soon as there is one, or by the clock.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import combinations, count
from typing import TYPE_CHECKING, cast

from schemas.database import Db

if TYPE_CHECKING:
    from asyncpg.transaction import Transaction

LOOK_SECONDS = 0.001
LIMIT_SECONDS = 20.0
BETWEEN = "between transactions"

Work = Callable[[Db], Awaitable[None]]


class DeadlockError(AssertionError):
    """All sessions that are left wait for one another."""


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
    """Tells from a connection of its own which sessions wait for a lock."""

    def __init__(self, db: Db) -> None:
        self._db = db

    async def blocked(self, sessions: "Sequence[Session]") -> "set[Session]":
        """Those of these sessions that wait for another of these."""
        rows = await self._db.fetch(
            """
            SELECT pid
              FROM unnest($1::integer[]) AS session (pid)
             WHERE pg_blocking_pids(pid) && $1
            """,
            [session.pid for session in sessions],
        )
        pids = {row["pid"] for row in rows}
        return {session for session in sessions if session.pid in pids}


def nothing_more() -> None:
    """What most sessions do after their work."""


class Session:
    """One session: each work in a transaction of its own, then `then`, right after the last."""

    def __init__(
        self,
        db: Db,
        stops: frozenset[str],
        work: Sequence[Work],
        observer: Observer,
        then: Callable[[], None] = nothing_more,
    ) -> None:
        self.observer = observer
        self.pid = db.get_server_pid()
        self.statement = "start"
        self._gate = asyncio.Semaphore(0)
        self._stopped = asyncio.Event()
        self._stops = stops
        self._db = db
        self.task = asyncio.create_task(self._run(work, then))

    async def _run(self, work: Sequence[Work], then: Callable[[], None]) -> None:
        stepped = cast("Db", Stepped(self, self._db))
        try:
            for each in work:
                await self._halt(BETWEEN)
                if each is work[0]:
                    await self.stop("start")
                async with self._db.transaction():
                    await each(stepped)
                    await self.stop("commit")
            then()
        finally:
            self._stopped.set()

    async def stop(self, statement: str) -> None:
        """Wait here for the schedule, if this is one of the stops."""
        self.statement = statement
        if statement in self._stops:
            await self._halt(statement)

    async def _halt(self, statement: str) -> None:
        self.statement = statement
        self._stopped.set()
        await self._gate.acquire()

    @property
    def rests(self) -> bool:
        """Whether it stands at a stop, or has come to its end."""
        return self._stopped.is_set()

    @property
    def is_ready(self) -> bool:
        """Whether it stands at a stop."""
        return self.rests and not self.task.done()

    async def rest(self, seconds: float) -> None:
        """Wait until it rests, but no longer than this."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)

    def go(self) -> None:
        """Let it go on from its stop."""
        self._stopped.clear()
        self._gate.release()


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


async def play(schedule: Sequence[int], sessions: Sequence[Session]) -> None:
    """Run sessions by a schedule, then let what is left of them finish in turns."""
    async with to_the_end(sessions):
        for turn in schedule:
            if sessions[turn].is_ready:
                await advance(sessions, turn)
        while ready := ready_ones(sessions):
            for turn in ready:
                await advance(sessions, turn)


async def every_order(
    begin: Callable[[], Awaitable[Sequence[Session]]], *, alike: bool = False
) -> AsyncIterator[None]:
    """Play every order in which sessions can go from stop to stop, each on new sessions.

    Which orders there are shows on the way: who waits for a lock has no turn. Of sessions
    that are alike, the first always starts.
    """
    untried: list[list[int]] = []
    while True:
        sessions = await begin()
        async with to_the_end(sessions):
            await follow(untried, sessions, alike=alike)
        yield
        while untried and len(untried[-1]) == 1:
            untried.pop()
        if not untried:
            return
        untried[-1].pop(0)


async def follow(untried: list[list[int]], sessions: Sequence[Session], *, alike: bool) -> None:
    """Play the first of what is untried at each step, and note what else could be where it ends."""
    for step in count():
        ready = ready_ones(sessions)
        if not ready:
            return
        if step == len(untried):
            untried.append(ready[:1] if alike and step == 0 else ready)
        assert untried[step][0] in ready, "the same order went another way"
        await advance(sessions, untried[step][0])


@asynccontextmanager
async def to_the_end(sessions: Sequence[Session]) -> AsyncIterator[None]:
    """Sessions that stand at their first stops; they end with this, whatever happens."""
    tasks = [session.task for session in sessions]
    try:
        async with asyncio.timeout(LIMIT_SECONDS):
            await let_on(sessions)
            yield
            await asyncio.gather(*tasks)
    except TimeoutError as error:
        raise AssertionError(where(sessions)) from error
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def ready_ones(sessions: Sequence[Session]) -> list[int]:
    """The places of the sessions that stand at a stop."""
    return [place for place, session in enumerate(sessions) if session.is_ready]


async def advance(sessions: Sequence[Session], turn: int) -> None:
    """Let one session go to its next stop, to its end, or into a lock."""
    sessions[turn].go()
    await let_on(sessions)


async def let_on(sessions: Sequence[Session]) -> None:
    """Let all come to rest, and those that stand between transactions begin their next.

    Who waited for a commit is thus ahead of what comes after it.
    """
    await settle(sessions)
    while between := [each for each in sessions if each.is_ready and each.statement == BETWEEN]:
        between[0].go()
        await settle(sessions)


async def settle(sessions: Sequence[Session]) -> None:
    """Wait until each session rests or waits for one that does; DeadlockError if none rests."""
    left = [session for session in sessions if not session.task.done()]
    looks = count(1)
    while running := [session for session in left if not session.rests]:
        await running[0].rest(LOOK_SECONDS * next(looks))
        running = [session for session in left if not session.rests]
        if running and set(running) <= await sessions[0].observer.blocked(sessions):
            break
    if running and len(running) == len(left):
        raise DeadlockError(where(sessions))


def where(sessions: Sequence[Session]) -> str:
    """The statement that each session is at."""
    return ", ".join(session.statement for session in sessions)
