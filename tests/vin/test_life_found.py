"""What the machine and the interleavings found, each in its smallest form."""

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from schemas.database import Db
from tests import changing, steps
from tests.interleave import Observer, Session, play
from tests.steps import NOW
from tests.views import everything
from tests.world import SECRETS, Somebody, make_region, make_reporters, registration, token
from vin.history import Opening, open_history
from vin.matches import match_batch
from vin.retention import Ending, end_by_operator

if TYPE_CHECKING:
    from asyncpg import Pool, Record

LATER = NOW + timedelta(hours=1)


@pytest.fixture
async def reporters(db: Db) -> list[Somebody]:
    await make_region(db, hub_limit=2)
    return await make_reporters(db, 4)


async def end(db: Db, signal: UUID, ground: str) -> None:
    order = Ending(signal=signal, ground=ground, purpose="order", operator="o")
    async with db.transaction():
        await end_by_operator(db, order, LATER)


async def rows_with(db: Db, trace: str) -> list[str]:
    return [row for row in await everything(db) if trace in row]


@pytest.mark.xfail(reason="entries on a history notice outlive its signal", strict=True)
@pytest.mark.parametrize("ground", ["erased", "deceased"])
async def test_g3_of_an_opened_history_no_purpose_and_no_signal_stay_after_destruction(
    db: Db, reporters: list[Somebody], ground: str
) -> None:
    old, new = reporters[:2]
    (first,) = await steps.register(db, registration(old, 1))
    await steps.end(db, first, old)
    (second,) = await steps.register(db, registration(new, 1), now=LATER)
    await steps.match_all(db, now=LATER)
    notice = (await steps.look(db, second, new, LATER)).history_notice_id
    assert notice
    opening = Opening(
        organisation=new.organisation,
        client="client",
        request_id=uuid4(),
        notice=notice,
        purpose="what for",
    )
    async with db.transaction():
        await open_history(db, opening, SECRETS.contact, LATER)

    await end(db, second, ground)

    assert await rows_with(db, "what for") == []
    assert await rows_with(db, str(second)) == []


@pytest.mark.xfail(reason="the log of a match keeps the notice of the erased side", strict=True)
async def test_l5_of_an_erased_side_the_notice_leaves_no_trace(
    db: Db, reporters: list[Somebody]
) -> None:
    one, other = reporters[:2]
    signal, _ = await steps.register(db, registration(one, 1), registration(other, 1))
    await steps.match_all(db)
    notice = await db.fetchval("SELECT id FROM notify.notice WHERE reporter_id = $1", one.id)

    await end(db, signal, "erased")

    assert await rows_with(db, str(notice)) == []


@pytest.mark.xfail(reason="a hub stays once nobody carries its token", strict=True)
@pytest.mark.parametrize("last", ["unjustified", "other parents"])
async def test_d1_a_hubs_token_goes_with_the_last_who_carries_it(
    db: Db, reporters: list[Somebody], last: str
) -> None:
    wishes = [registration(each, child, parents=[7]) for child, each in enumerate(reporters)]
    signals = await steps.register(db, *wishes)
    await steps.match_all(db)
    assert await db.fetchval("SELECT count(*) FROM matching.hub") == 1

    for signal, by in zip(signals, reporters, strict=True):
        if last == "unjustified":
            await steps.end(db, signal, by, "unjustified", LATER)
        else:
            await changing.rehouse(db, signal, by, [8], now=LATER)

    assert await rows_with(db, str(token(3, 7).lookup)) == []


@pytest.mark.xfail(reason="a death locks its own signal before the others'", strict=True)
async def test_s11_a_death_and_the_matcher_do_not_lock_each_other_out(
    pool: "Pool[Record]", db: Db, reporters: list[Somebody]
) -> None:
    ids = await steps.register(db, *(registration(each, 1) for each in reporters[:2]))
    last = max(ids)

    async def die(own: Db) -> None:
        order = Ending(signal=last, ground="deceased", purpose="order", operator="o")
        await end_by_operator(own, order, NOW)

    async def match(own: Db) -> None:
        await own.execute("SET LOCAL deadlock_timeout = '100ms'")
        await own.fetch("SELECT id FROM matching.signal WHERE id = $1 FOR SHARE", min(ids))
        await match_batch(own, 10, NOW)

    async with pool.acquire() as one, pool.acquire() as other, asyncio.timeout(10):
        stops = frozenset({"retention_store.select_child", "matching.claim_queued"})
        sessions = [Session(one, stops, [die], Observer(db)), Session(other, stops, [match])]
        await play([0, 1], sessions)

    assert await db.fetchval("SELECT count(*) FROM matching.signal") == 0
