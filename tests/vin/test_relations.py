"""The population register's feed: above what reporters supply, and silent on who is known."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from schemas.database import Db
from tests.changing import find, own_permit, rehouse, relate, relation
from tests.steps import NOW, end, match_all, register, sides_of
from tests.world import Somebody, make_region, make_reporters, permit, registration
from vin.api.wire import RelationIn
from vin.errors import InvalidBodyError, PermitRefusedError, PermitSpentError
from vin.matches import match_batch
from vin.relations import apply_relation
from vin.web.body import parse

if TYPE_CHECKING:
    from asyncpg import Pool, Record

LATER = NOW + timedelta(hours=1)


@pytest.fixture
async def reporters(db: Db) -> list[Somebody]:
    await make_region(db)
    return await make_reporters(db, 4)


async def states(db: Db, somebody: Somebody) -> list[tuple[str, str]]:
    return sorted((side.kind, side.status) for side in await sides_of(db, somebody, LATER))


async def household_of(db: Db, signal: UUID) -> set[int]:
    """The numbers of the parents (and of 100 up, addresses) of a signal."""
    rows = await db.fetch("SELECT role, token FROM matching.token WHERE signal_id = $1", signal)
    return {
        row["token"].int % 2**64 + (100 if row["role"] == "address" else 0)
        for row in rows
        if row["role"] in {"parent", "address"}
    }


async def test_m12_the_registers_family_replaces_that_of_every_live_signal_on_the_child(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, c, d = reporters
    first, second, gone = await register(
        db,
        registration(a, 1, parents=[1]),
        registration(b, 1, parents=[2], address=3),
        registration(c, 1, parents=[3]),
    )
    await register(db, registration(d, 2, parents=[1]))
    await match_all(db)
    await end(db, gone, c)

    await relate(db, relation(1, [4], 5), LATER)
    await match_all(db, now=LATER)

    assert await household_of(db, first) == await household_of(db, second) == {4, 105}
    assert await household_of(db, gone) == {3}
    assert await states(db, d) == [("household", "void")]


async def test_m12_the_feed_makes_the_matches_that_its_families_give(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    await register(db, registration(a, 1), registration(b, 2, parents=[1]))
    await match_all(db)

    await relate(db, relation(1, [1, 2]), LATER)
    await match_all(db, now=LATER)

    assert await states(db, a) == await states(db, b) == [("household", "open")]
    assert await db.fetchval("SELECT count(*) FROM notify.notice") == 2


async def test_m12_later_registrations_and_changes_take_the_registers_family(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, c, d = reporters
    (first,) = await register(db, registration(a, 1, parents=[9]))
    await register(db, registration(d, 2, parents=[1]))
    await match_all(db)
    await relate(db, relation(1, [1]))
    await match_all(db)

    (second,) = await register(db, registration(b, 1, parents=[7, 8], address=9), now=LATER)
    (third,) = await register(db, registration(c, weak=1, parents=[6]), now=LATER)
    await match_all(db, now=LATER)
    await find(db, third, c, 1, now=LATER)
    await rehouse(db, first, a, [5], now=LATER)
    await match_all(db, now=LATER)

    for signal in (first, second, third):
        assert await household_of(db, signal) == {1}
    assert await states(db, d) == [("household", "open")] * 3
    assert await states(db, b) == [("child", "open"), ("child", "open"), ("household", "open")]


async def test_m12_a_family_of_nobody_takes_all_and_one_not_told_takes_nothing(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    one, other = await register(
        db, registration(a, 1, parents=[1]), registration(b, 2, parents=[2])
    )

    await relate(db, relation(1, []))
    await relate(db, relation(2))

    assert await household_of(db, one) == set()
    assert await household_of(db, other) == {2}
    assert await db.fetchval("SELECT count(*) FROM matching.relation") == 1


async def test_the_feed_keeps_nothing_of_a_child_without_signals_and_makes_no_signal(
    db: Db, reporters: list[Somebody]
) -> None:
    (named,) = await register(db, registration(reporters[0], weak=1))
    before = await db.fetch("SELECT * FROM matching.token")

    await relate(db, relation(1, [1], 2, moved_to="GM0361"))
    await relate(db, relation(1, deceased=True))

    assert await db.fetch("SELECT * FROM matching.token") == before
    assert await db.fetchval("SELECT count(*) FROM matching.relation") == 0
    assert [row["id"] for row in await db.fetch("SELECT id FROM matching.signal")] == [named]
    assert await db.fetchval("SELECT count(*) FROM notify.notice") == 0
    told = await db.fetch(
        "SELECT object_id, detail::text FROM audit.entry WHERE event = 'relation.applied'"
    )
    assert [tuple(row) for row in told] == [(None, '{"signals": 0}')] * 2


async def test_the_family_of_an_archived_child_is_kept_for_who_registers_next(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, c, _ = reporters
    (old,) = await register(db, registration(a, 1, parents=[9]))
    await register(db, registration(c, 2, parents=[1]))
    await end(db, old, a)

    await relate(db, relation(1, [1]))
    await register(db, registration(b, 1, parents=[8]), now=LATER)
    await match_all(db, now=LATER)

    assert await states(db, b) == [("household", "open")]


async def test_s11_a_death_in_the_feed_destroys_everything_on_the_child(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, c, _ = reporters
    old, _, sibling = await register(
        db,
        registration(a, 1, parents=[1]),
        registration(b, 1, parents=[1]),
        registration(c, 2, parents=[1]),
    )
    await match_all(db)
    await relate(db, relation(1, [1], moved_to="GM0361"))
    await end(db, old, a)

    await relate(db, relation(1, [1], deceased=True))

    assert [row["id"] for row in await db.fetch("SELECT id FROM matching.signal")] == [sibling]
    for table in ("matching.relation", "matching.match", "notify.notice", "notify.notice_move"):
        assert await db.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608


async def test_a_line_needs_a_permit_of_its_own_reporter_once(
    db: Db, reporters: list[Somebody]
) -> None:
    (signal,) = await register(db, registration(reporters[0], 1, parents=[1]))
    told = relation(1, [2])

    with pytest.raises(PermitRefusedError):
        await relate(db, replace(told, permit=own_permit(reporters[0])))
    with pytest.raises(PermitRefusedError):
        await relate(db, replace(told, permit=PermitRefusedError("No.")))
    assert await household_of(db, signal) == {1}
    await relate(db, told)
    with pytest.raises(PermitSpentError):
        await relate(db, told)
    await relate(db, replace(told, permit=permit()))
    assert await household_of(db, signal) == {2}


async def test_s14_when_the_feed_changes_a_family_no_reason_is_visible(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, c, _ = reporters
    await register(
        db,
        registration(a, 1, parents=[1]),
        registration(b, 2, parents=[1]),
        registration(c, 3, parents=[2]),
    )
    await match_all(db)
    await relate(db, relation(1, [2]), LATER)
    await match_all(db, now=LATER)

    (lost,) = await sides_of(db, b, LATER)
    assert (lost.status, lost.other) == ("void", None)
    assert await states(db, a) == [("household", "open"), ("household", "void")]
    assert await states(db, c) == [("household", "open")]


async def test_s15_a_foster_child_meets_its_own_family_and_not_the_one_it_lives_with(
    db: Db,
) -> None:
    await make_region(db, address_rule=False)
    a, b, c = await make_reporters(db, 3)
    await register(
        db,
        registration(a, 1, parents=[1], address=1),
        registration(b, 2, parents=[9], address=1),
        registration(c, 3, parents=[2]),
    )
    await relate(db, relation(2, [2], 1))
    await match_all(db)

    assert await states(db, a) == []
    assert await states(db, b) == await states(db, c) == [("household", "open")]


async def test_d1_the_registers_family_goes_with_the_last_signal_on_the_child(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    one, other = await register(db, registration(a, 1), registration(b, 1))
    await relate(db, relation(1, [1]))

    await end(db, one, a, "unjustified")
    assert await db.fetchval("SELECT count(*) FROM matching.relation") == 1
    await end(db, other, b, "unjustified")
    assert await db.fetchval("SELECT count(*) FROM matching.relation") == 0


async def test_m12_signals_of_another_family_keep_no_other_waiting(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, c, d = reporters
    for child in range(100, 104):
        await register(db, registration(c, child))
        await relate(db, relation(child, [child], child))
    await match_all(db)
    await register(db, registration(a, 1))
    await register(db, registration(b, 1))
    await register(db, registration(d, 100, parents=[100]))

    async with db.transaction():
        await match_batch(db, 10, NOW)
    assert await states(db, a) == [("child", "open")]
    assert await states(db, d) == []

    for child in range(101, 104):
        await register(db, registration(d, child, parents=[child]))
        async with db.transaction():
            await match_batch(db, 10, NOW)
    await match_all(db)
    assert await states(db, d) == [("child", "open")] * 4


async def test_m12_who_registers_while_the_feed_is_taken_gets_the_registers_family(
    db: Db, pool: "Pool[Record]", reporters: list[Somebody]
) -> None:
    a, b, c, _ = reporters
    await register(db, registration(a, 1, parents=[1]), registration(c, 2, parents=[9]))
    await match_all(db)
    async with pool.acquire() as feed:
        async with feed.transaction():
            await apply_relation(feed, relation(1, [5]), NOW)
            (late,) = await register(db, registration(b, 1, parents=[9]))
            matching = asyncio.create_task(match_all(db))
            await asyncio.sleep(0.2)
            assert not matching.done()
        await matching

    assert await household_of(db, late) == {5}
    assert await states(db, c) == []
    assert await states(db, b) == [("child", "open")]


def test_a_line_of_ever_so_many_keys_has_one_fault_on_these() -> None:
    line = b'{"household": [' + b",".join([b"{}"] * 20_000) + b"]}"

    with pytest.raises(InvalidBodyError) as refused:
        parse(line, RelationIn)

    on_keys = [each for each in refused.value.faults if each.name.startswith("household")]
    assert [(each.name, each.code) for each in on_keys] == [("household", "length")]
