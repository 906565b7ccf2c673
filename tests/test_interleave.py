"""Whatever two sessions do, their interleavings are all played, and each comes to its end."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING

import pytest

from schemas.database import Db
from tests import interleave
from tests.interleave import DeadlockError, Observer, Session, Work, every_order, orders, play

if TYPE_CHECKING:
    from asyncpg import Pool, Record

STOPS = frozenset({"start", "lock", "commit"})


@pytest.fixture
async def connections(pool: "Pool[Record]", db: Db) -> AsyncIterator[list[Db]]:
    await db.execute("CREATE TABLE place (name text PRIMARY KEY)")
    await db.execute("INSERT INTO place VALUES ('here'), ('there')")
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(pool.acquire()) for _ in range(2)]


def locking(*places: str) -> Work:
    """Lock places one after the other."""

    async def lock(db: Db) -> None:
        for place in places:
            query = "-- lock\nSELECT FROM place WHERE name = $1 FOR UPDATE"
            await db.execute(query, place)

    return lock


class Stage:
    """Two sessions at a time, and in which order each pair ended."""

    def __init__(self, db: Db, connections: Sequence[Db], *works: Work) -> None:
        self.observer = Observer(db)
        self.connections = connections
        self.works = works
        self.endings: list[list[int]] = []

    async def play_all(self, *, alike: bool = False) -> int:
        """How many orders there are."""
        return len([None async for _ in every_order(self.begin, alike=alike)])

    async def begin(self) -> list[Session]:
        ending: list[int] = []
        self.endings.append(ending)
        return [
            Session(connection, STOPS, [work], self.observer, partial(ending.append, place))
            for place, (connection, work) in enumerate(
                zip(self.connections, self.works, strict=True)
            )
        ]


async def test_sessions_that_never_meet_are_played_in_every_order(
    db: Db, connections: list[Db]
) -> None:
    stage = Stage(db, connections, locking("here"), locking("there"))

    assert await stage.play_all() == len(orders(3, 3)) == 20
    assert await stage.play_all(alike=True) == 10
    assert len(stage.endings) == 30


async def test_who_waits_for_a_lock_has_no_turn_and_goes_on_after_the_commit(
    db: Db, connections: list[Db]
) -> None:
    stage = Stage(db, connections, locking("here"), locking("here"))

    assert await stage.play_all() == 14
    assert sorted(stage.endings) == [[0, 1]] * 7 + [[1, 0]] * 7


async def test_a_schedule_that_calls_one_who_waits_passes_it_over(
    db: Db, connections: list[Db]
) -> None:
    stage = Stage(db, connections, locking("here"), locking("here"))

    await play([0, 0, 1, 1, 1, 1, 0], await stage.begin())

    assert stage.endings == [[0, 1]]


async def test_sessions_that_wait_for_each_other_are_a_deadlock_at_once(
    db: Db, connections: list[Db]
) -> None:
    stage = Stage(db, connections, locking("here", "there"), locking("there", "here"))

    async with asyncio.timeout(0.9):
        with pytest.raises(DeadlockError, match="lock, lock"):
            await stage.play_all()

    stage.works = locking("here"), locking("there")
    await play([], await stage.begin())
    assert sorted(stage.endings[-1]) == [0, 1]


async def test_a_session_that_never_ends_is_told_where_it_stands(
    db: Db, connections: list[Db], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def linger(db: Db) -> None:
        await db.execute("-- linger\nSELECT")
        await asyncio.Event().wait()

    monkeypatch.setattr(interleave, "LIMIT_SECONDS", 0.1)
    stage = Stage(db, connections, linger, locking("here"))

    with pytest.raises(AssertionError, match="linger, start"):
        await play([], await stage.begin())


async def test_what_goes_wrong_in_a_session_is_raised(db: Db, connections: list[Db]) -> None:
    async def fail(_db: Db) -> None:
        raise LookupError

    stage = Stage(db, connections, fail, locking("here"))

    with pytest.raises(LookupError):
        await stage.play_all()
