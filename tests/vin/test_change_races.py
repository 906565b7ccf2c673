"""M12 while others work on the same matches: every interleaving ends, and ends right."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from schemas.database import Db
from tests.changing import household_replaced, relation
from tests.interleave import Observer, Session, Work, play, schedules
from tests.steps import NOW, match_all, register
from tests.world import SECRETS, Somebody, make_region, make_reporters, registration
from vin.changes import HouseholdReplaced, replace_household
from vin.matches import match_batch
from vin.relations import Relation, apply_relation
from vin.signals import register_batch

if TYPE_CHECKING:
    from asyncpg import Pool, Record

STOPS = frozenset(
    {
        "change_store.lock_own",
        "relation_store.lock_same_child",
        "relation_store.select_late",
        "change_store.lock_open_matches",
        "matching.read_signals",
        "matching.select_candidates",
        "matching.lock_signals",
        "commit",
    }
)
STEPS = 4


@pytest.fixture
async def connections(pool: "Pool[Record]") -> AsyncIterator[list[Db]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(pool.acquire()) for _ in range(2)]


@pytest.fixture
async def reporters(db: Db) -> list[Somebody]:
    await make_region(db)
    return await make_reporters(db, 2)


async def change(db: Db, *, wanted: HouseholdReplaced) -> None:
    await replace_household(db, wanted, NOW)


async def take(db: Db, *, told: Relation) -> None:
    await apply_relation(db, told, NOW)


async def match(db: Db) -> None:
    await match_batch(db, 10, NOW)


async def anew(db: Db) -> None:
    """Forget what happened; a statement each, since truncating costs far more."""
    for table in ("matching.match", "matching.signal", "matching.relation", "notify.notice"):
        await db.execute(f"DELETE FROM {table}")  # noqa: S608


async def family(db: Db, reporters: Sequence[Somebody], parents: Sequence[int]) -> list[UUID]:
    """Two matched signals on two children with these parents, on an index without others."""
    await anew(db)
    pair = [registration(by, child, parents=parents) for child, by in enumerate(reporters, 1)]
    signals = await register(db, *pair)
    await match_all(db)
    return signals


async def open_matches(db: Db) -> int:
    await match_all(db)
    found: int = await db.fetchval("SELECT count(*) FROM matching.match WHERE status = 'open'")
    return found


async def raced(
    db: Db, connections: Sequence[Db], order: Sequence[int], *works: Sequence[Work]
) -> None:
    observer = Observer(db)
    sessions = [
        Session(connection, STOPS, work, observer)
        for connection, work in zip(connections, works, strict=True)
    ]
    await play(order, sessions)


@pytest.mark.parametrize(
    ("before", "ours", "theirs"),
    [([1, 2], [1], [2]), ([1, 2], [1], [1]), ([1], [3], [3])],
    ids=["each keeps what the other loses", "both keep one", "both get another"],
)
async def test_m12_two_changes_at_once_end_as_one_after_the_other(
    db: Db,
    connections: list[Db],
    reporters: list[Somebody],
    before: list[int],
    ours: list[int],
    theirs: list[int],
) -> None:
    for order in schedules(STEPS):
        first, second = await family(db, reporters, before)
        await raced(
            db,
            connections,
            order,
            [partial(change, wanted=household_replaced(first, reporters[0], ours))],
            [partial(change, wanted=household_replaced(second, reporters[1], theirs))],
        )

        assert await open_matches(db) == (ours == theirs)


async def test_m12_a_change_and_the_matcher_at_once_miss_nothing_and_leave_nothing(
    db: Db, connections: list[Db], reporters: list[Somebody]
) -> None:
    for place, order in enumerate(schedules(STEPS)):
        lost = place % 2 == 0
        await anew(db)
        (first,) = await register(db, registration(reporters[0], 1, parents=[1]))
        await match_all(db)
        await register(db, registration(reporters[1], 2, parents=[1 if lost else 2]))
        await raced(
            db,
            connections,
            order,
            [partial(change, wanted=household_replaced(first, reporters[0], [2]))],
            [match],
        )

        assert await open_matches(db) == (not lost)


async def test_m12_the_register_and_a_reporter_at_once_end_with_the_registers_family(
    db: Db, connections: list[Db], reporters: list[Somebody]
) -> None:
    for order in schedules(STEPS):
        first, _ = await family(db, reporters, [1])
        told = relation(1, [1, 2])
        await raced(
            db,
            connections,
            order,
            [partial(take, told=told)],
            [partial(change, wanted=household_replaced(first, reporters[0], [3]))],
        )

        assert await open_matches(db) == 1


async def test_m12_a_registration_that_meets_the_feed_gets_the_registers_family(
    db: Db, connections: list[Db], reporters: list[Somebody]
) -> None:
    async def arrive(db: Db) -> None:
        await register_batch(db, [registration(reporters[1], 1)], SECRETS, NOW)

    for order in schedules(STEPS):
        await anew(db)
        await register(db, registration(reporters[0], 2, parents=[1]))
        await register(db, registration(reporters[0], 1, parents=[9]))
        await match_all(db)
        told = relation(1, [1])
        await raced(
            db,
            connections,
            order,
            [partial(take, told=told)],
            [arrive, match],
        )

        assert await open_matches(db) == 2
