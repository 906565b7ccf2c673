"""M5: what too many children share neither stalls nor floods, and a person may decide on it."""

import json
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from schemas.database import Db
from tests.changing import rehouse
from tests.steps import NOW, match_all, register
from tests.world import Somebody, make_region, make_reporters, registration
from vin.errors import StartError
from vin.hubs import Hub, Release, list_hubs, release_hub

LATER = NOW + timedelta(days=1)


async def hubs_of(db: Db, now: "timedelta" = timedelta()) -> list[Hub]:
    async with db.transaction():
        return await list_hubs(db, "auditor", NOW + now)


async def release(db: Db, hub: UUID) -> int:
    order = Release(hub=hub, purpose="one family", operator="auditor")
    async with db.transaction():
        return await release_hub(db, order, LATER)


async def crowd(db: Db, reporters: list[Somebody], *, address: int | None = None) -> None:
    """One child a reporter, all of one mother or at one address, one after the other."""
    parents = [] if address else [1]
    first = 100 if address else 1
    for child, by in enumerate(reporters, first):
        now = NOW + timedelta(minutes=child)
        await register(db, registration(by, child, parents=parents, address=address), now=now)
        await match_all(db, now=now)


async def matches(db: Db) -> int:
    found: int = await db.fetchval("SELECT count(*) FROM matching.match")
    return found


async def test_m5_the_auditor_sees_every_hub_and_no_token_and_the_look_is_logged(db: Db) -> None:
    await make_region(db, hub_limit=2)
    reporters = await make_reporters(db, 5)
    await crowd(db, reporters)
    await crowd(db, reporters, address=1)

    family, home = await hubs_of(db)

    assert (family.role, family.signals, family.children) == ("parent", 5, 5)
    assert family.since == NOW + timedelta(minutes=3)
    assert (home.role, home.signals, home.children) == ("address", 5, 5)
    assert (await hubs_of(db, timedelta(days=800)))[0].signals == 0
    tokens = {row["token"] for row in await db.fetch("SELECT token FROM matching.hub")}
    assert tokens.isdisjoint({family.id, home.id})
    looks = await db.fetch("SELECT actor, detail FROM audit.entry WHERE event = 'hubs.audited'")
    assert [(row["actor"], json.loads(row["detail"])) for row in looks] == [
        ("auditor", {"hubs": 2})
    ] * 2


async def test_m5_a_released_hub_links_its_members_from_then_on(db: Db) -> None:
    await make_region(db, hub_limit=2)
    reporters = await make_reporters(db, 6)
    await crowd(db, reporters[:5])
    assert await matches(db) == 1
    (hub,) = await hubs_of(db)

    assert await release(db, hub.id) == 5
    await match_all(db, now=LATER)
    await register(db, registration(reporters[5], 6, parents=[1]), now=LATER)
    await match_all(db, now=LATER)

    assert await matches(db) == 6 * 5 // 2
    (released,) = await hubs_of(db)
    assert released.released_at == LATER
    assert await db.fetchval("SELECT count(*) FROM matching.hub") == 1
    entry = await db.fetchrow("SELECT * FROM audit.entry WHERE event = 'hub.released'")
    assert entry
    assert (entry["object_id"], entry["purpose"]) == (hub.id, "one family")


async def test_m5_what_a_released_hub_linked_stays_when_another_key_changes(db: Db) -> None:
    await make_region(db, hub_limit=2)
    reporters = await make_reporters(db, 4)
    await crowd(db, reporters)
    (hub,) = await hubs_of(db)
    await release(db, hub.id)
    await match_all(db, now=LATER)

    row = await db.fetchrow(
        "SELECT id FROM matching.signal WHERE reporter_id = $1", reporters[0].id
    )
    assert row
    await rehouse(db, row["id"], reporters[0], [1, 7], now=LATER)

    assert await db.fetchval("SELECT count(*) FROM matching.match WHERE status = 'void'") == 0


async def test_l4_who_ended_before_the_release_is_not_matched_by_it(db: Db) -> None:
    await make_region(db, hub_limit=2)
    reporters = await make_reporters(db, 4)
    await crowd(db, reporters)
    await db.execute("UPDATE matching.signal SET remove_on = '2026-11-23' WHERE true")
    (hub,) = await hubs_of(db)

    assert await release(db, hub.id) == 0
    await match_all(db, now=LATER)

    assert await matches(db) == 1


async def test_m5_no_hub_is_released_twice_and_none_that_is_no_family(db: Db) -> None:
    await make_region(db, hub_limit=2)
    reporters = await make_reporters(db, 5)
    await crowd(db, reporters)
    (hub,) = await hubs_of(db)
    for start in (10, 20, 30, 40):
        for child in range(start, start + 5):
            await register(db, registration(reporters[0], child, parents=[1]))

    with pytest.raises(StartError, match="More than 20 children"):
        await release(db, hub.id)
    with pytest.raises(StartError, match="no such hub"):
        await release(db, uuid4())
    await db.execute(
        "UPDATE matching.signal SET remove_on = '2026-11-23' WHERE registered_at = $1", NOW
    )
    await release(db, hub.id)
    with pytest.raises(StartError, match="no such hub"):
        await release(db, hub.id)


async def test_m5_two_hubs_are_no_two_keys_and_the_auditor_sees_both(db: Db) -> None:
    await make_region(db, hub_limit=3)
    for child, by in enumerate(await make_reporters(db, 8), 1):
        await register(db, registration(by, child, parents=[1, 2]))
        await match_all(db)

    assert await matches(db) == 3 * 2 // 2
    assert [hub.children for hub in await hubs_of(db)] == [8, 8]


async def test_m5_a_released_hub_is_one_again_above_what_a_family_may_be(db: Db) -> None:
    await make_region(db, hub_limit=2)
    reporters = await make_reporters(db, 5)
    await crowd(db, reporters[:3])
    (hub,) = await hubs_of(db)
    await release(db, hub.id)
    await match_all(db, now=LATER)
    assert await matches(db) == 3

    for child in range(10, 27):
        await register(db, registration(reporters[3], child, parents=[1]), now=LATER)
    await match_all(db, now=LATER)
    assert (await hubs_of(db, timedelta(days=1)))[0].released_at == LATER
    linked = await matches(db)
    at = LATER + timedelta(minutes=1)
    await register(db, registration(reporters[4], 30, parents=[1]), now=at)
    await match_all(db, now=at)

    (again,) = await hubs_of(db, timedelta(days=1))
    assert (again.id, again.since, again.released_at) == (hub.id, at, None)
    assert linked == await matches(db) == 3 + 3 * 17
    recorded = "SELECT count(*) FROM audit.entry WHERE event = 'hub.recorded'"
    assert await db.fetchval(recorded) == 2


async def test_m5_hundreds_at_one_address_flood_nobody(db: Db) -> None:
    """`scripts/soak hub` does it with thousands, and tells what that costs."""
    await make_region(db, hub_limit=12, address_rule=True)
    reporters = await make_reporters(db, 20)
    requests = [registration(reporters[child % 20], child, address=1) for child in range(400)]
    for start in range(0, 400, 25):
        at = NOW + timedelta(seconds=start)
        await register(db, *requests[start : start + 25], now=at)
        await match_all(db, 128, at)

    assert await matches(db) == 12 * 11 // 2
    most = await db.fetchval(
        "SELECT max(count) FROM (SELECT count(*) FROM notify.notice GROUP BY reporter_id) AS told"
    )
    assert most <= 12
    (hub,) = await hubs_of(db, timedelta(hours=1))
    assert (hub.signals, hub.children) == (400, 400)
