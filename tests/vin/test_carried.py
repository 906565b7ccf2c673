"""D1: what is kept under a token goes with the last signal that carries it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from schemas.database import Db
from tests import steps
from tests.changing import household_replaced, relate, relation
from tests.interleave import Observer, Session, Work, every_order
from tests.steps import NOW
from tests.views import everything
from tests.world import Somebody, make_region, make_reporter, make_reporters, registration, token
from vin.changes import replace_household
from vin.hubs import Release, release_hub
from vin.retention import Ending, end_by_operator
from vin.signals import Withdrawal, withdraw

if TYPE_CHECKING:
    from asyncpg import Pool, Record

LATER = NOW + timedelta(days=1)
PARENT = token(3, 7).lookup
CHILD = token(1, 1).lookup
STOPS = frozenset(
    {
        "start",
        "store.end_matches",
        "change_store.lock_open_matches",
        "retention_store.delete_matches",
        "carried.lock_kept",
        "carried.delete_uncarried",
        "hubs.lock_hub",
        "hubs.renew_keys",
        "commit",
    }
)


@pytest.fixture
async def reporters(db: Db) -> list[Somebody]:
    await make_region(db, hub_limit=2)
    return await make_reporters(db, 3)


@pytest.fixture
async def connections(pool: "Pool[Record]") -> AsyncIterator[list[Db]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(pool.acquire()) for _ in range(2)]


def giving_up(how: str, signal: UUID, by: Somebody) -> Work:
    """One way in which a signal loses its parent."""

    async def give_up(db: Db) -> None:
        if how == "withdrawn":
            request = Withdrawal(
                organisation=by.organisation,
                client="client",
                request_id=uuid4(),
                signal=signal,
                ground="unjustified",
            )
            await withdraw(db, request, LATER)
        elif how == "other parents":
            await replace_household(db, household_replaced(signal, by, [8]), LATER)
        else:
            order = Ending(signal=signal, ground=how, purpose="order", operator="operator")
            await end_by_operator(db, order, LATER)

    return give_up


async def traces(db: Db, tokens: Sequence[UUID]) -> list[str]:
    """Rows that hold one of these tokens."""
    return [row for row in await everything(db) if any(str(each) in row for each in tokens)]


async def hub_of(db: Db) -> UUID | None:
    hub: UUID | None = await db.fetchval("SELECT id FROM matching.hub")
    return hub


@pytest.mark.parametrize("how", ["withdrawn", "other parents", "erased", "deceased"])
@pytest.mark.parametrize("released", [True, False])
async def test_a_hub_goes_with_the_last_who_carries_its_token_decided_on_or_not(
    db: Db, reporters: list[Somebody], how: str, *, released: bool
) -> None:
    wishes = [registration(each, child, parents=[7]) for child, each in enumerate(reporters)]
    signals = await steps.register(db, *wishes)
    await steps.match_all(db)
    hub = await hub_of(db)
    assert hub
    if released:
        async with db.transaction():
            await release_hub(db, Release(hub=hub, purpose="one family", operator="o"), NOW)

    for signal, by in zip(signals, reporters, strict=True):
        assert await hub_of(db) == hub
        async with db.transaction():
            await giving_up(how, signal, by)(db)

    assert await traces(db, [PARENT, hub]) == []
    assert [row for row in await everything(db) if "one family" in row] == []


async def test_a_hub_goes_when_the_register_tells_that_nobody_is_of_that_family(
    db: Db, reporters: list[Somebody]
) -> None:
    await steps.register(db, registration(reporters[0], 1, parents=[7]))
    await have_hub(db)

    await relate(db, relation(1, [8]), LATER)

    assert await traces(db, [PARENT]) == []


async def have_hub(db: Db) -> None:
    """As if many had carried the token."""
    await db.execute(
        "INSERT INTO matching.hub (token, since, recorded_at) VALUES ($1, $2, $2)", PARENT, NOW
    )


async def family(db: Db, pair: Sequence[Somebody], *, told: bool) -> list[UUID]:
    """Two signals on one child whose parent is a hub; if `told`, the register says so."""
    for table in ("matching.match", "matching.signal", "matching.hub", "audit.entry"):
        await db.execute(f"DELETE FROM {table}")  # noqa: S608
    signals = await steps.register(db, *(registration(each, 1, parents=[7]) for each in pair))
    if told:
        await relate(db, relation(1, [7]))
    await have_hub(db)
    await steps.match_all(db)
    return signals


GIVEN_UP = [
    ("withdrawn", "withdrawn"),
    ("withdrawn", "other parents"),
    ("withdrawn", "erased"),
    ("other parents", "other parents"),
    ("other parents", "erased"),
    ("erased", "erased"),
]


@pytest.mark.parametrize("ways", GIVEN_UP)
@pytest.mark.parametrize("matched", [True, False])
async def test_what_two_give_up_at_once_is_forgotten_whatever_their_order(
    db: Db,
    connections: list[Db],
    reporters: list[Somebody],
    ways: tuple[str, str],
    *,
    matched: bool,
) -> None:
    """Whether or not they meet at a match before: two of one match unit have none."""
    one, other, _ = reporters
    if not matched:
        other = await make_reporter(db, 9, one.organisation, one.match_unit)
    told = "other parents" not in ways
    observer = Observer(db)

    async def begin() -> list[Session]:
        signals = await family(db, [one, other], told=told)
        assert await db.fetchval("SELECT count(*) FROM matching.match") == matched
        works = [giving_up(*each) for each in zip(ways, signals, [one, other], strict=True)]
        return [
            Session(connection, STOPS, [work], observer)
            for connection, work in zip(connections, works, strict=True)
        ]

    async for _ in every_order(begin, alike=ways[0] == ways[1]):
        assert await traces(db, [PARENT, CHILD] if told else [PARENT]) == []


async def test_a_decision_on_a_hub_and_giving_it_up_at_once_do_not_wait_for_each_other(
    db: Db, connections: list[Db], reporters: list[Somebody]
) -> None:
    observer = Observer(db)

    async def begin() -> list[Session]:
        signal, _ = await family(db, reporters[:2], told=False)
        hub = await hub_of(db)
        assert hub
        order = Release(hub=hub, purpose="one family", operator="operator")

        async def decide(own: Db) -> None:
            assert await release_hub(own, order, LATER) in {1, 2}

        works = decide, giving_up("other parents", signal, reporters[0])
        return [
            Session(connection, STOPS, [work], observer)
            for connection, work in zip(connections, works, strict=True)
        ]

    async for _ in every_order(begin):
        assert await db.fetchval("SELECT released_at FROM matching.hub") == LATER
