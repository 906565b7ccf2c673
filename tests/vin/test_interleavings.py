"""M10, statement by statement: every interleaving of two sessions that register and match."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from itertools import count
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from matching import number
from matching import store as matching_store
from matching.model import MadeMatch, MatchId, Policy, SignalId
from matching.rules import find_matches
from schemas.database import Db
from tests.interleave import Observer, Session, Work, play, schedules
from tests.world import SECRETS, Somebody, make_region, make_reporters, registration
from vin.matches import match_batch
from vin.signals import Registration, register_batch

if TYPE_CHECKING:
    from asyncpg import Pool, Record

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
STOPS = frozenset(
    {
        "store.claim_keys",
        "matching.claim_queued",
        "test.claim_and_look_up",
        "matching.select_candidates",
        "matching.lock_signals",
        "matching.insert_matches",
        "commit",
    }
)
STEPS = 6

Plan = Callable[[Registration], Sequence[Work]]


def as_built(new: Registration) -> Sequence[Work]:
    """Commit first, match after."""

    async def register(db: Db) -> None:
        await register_batch(db, [new], SECRETS, NOW)

    async def match(db: Db) -> None:
        await match_batch(db, 10, NOW)

    return register, match


CLAIM = """
    CREATE FUNCTION pg_temp.claim() RETURNS SETOF uuid LANGUAGE plpgsql AS $$
    BEGIN
        LOCK TABLE matching.match_queue IN EXCLUSIVE MODE;
        RETURN QUERY DELETE FROM matching.match_queue RETURNING signal_id;
    END $$
"""


def looking_up_while_claiming(new: Registration) -> Sequence[Work]:
    """Planted bug: the statement that looks up also claims, so its snapshot is the older one."""

    async def match(db: Db) -> None:
        await db.execute(CLAIM)
        rows = await db.fetch(
            """
            -- test.claim_and_look_up
            SELECT claimed.signal_id, other.signal_id AS partner
              FROM pg_temp.claim() AS claimed (signal_id)
              JOIN matching.token AS mine ON mine.signal_id = claimed.signal_id
              JOIN matching.token AS other ON other.token = mine.token
            """
        )
        await with_candidates(db, [(row["signal_id"], row["partner"]) for row in rows])
        await db.execute("DROP FUNCTION pg_temp.claim")

    return as_built(new)[0], match


def matching_before_the_commit(new: Registration) -> Sequence[Work]:
    """Planted bug: register and match in one transaction."""

    async def both(db: Db) -> None:
        await register_batch(db, [new], SECRETS, NOW)
        await match_batch(db, 10, NOW)

    return (both,)


async def with_candidates(db: Db, pairs: Sequence[tuple[SignalId, SignalId]]) -> None:
    """Decide on given pairs as the matcher does."""
    signals = await matching_store.lock_signals(db, {each for pair in pairs for each in pair})
    apart = [(signals[one], signals[other]) for one, other in pairs if one != other]
    drafts = [
        MadeMatch(id=MatchId(uuid4()), number=number.draw(), match=match)
        for match in find_matches(apart, Policy(), {})
    ]
    await matching_store.insert_matches(db, drafts, NOW)


@pytest.fixture
async def reporters(db: Db) -> list[Somebody]:
    await make_region(db)
    return await make_reporters(db, 2)


@pytest.fixture
async def connections(pool: "Pool[Record]") -> AsyncIterator[list[Db]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(pool.acquire()) for _ in range(2)]


async def missed(
    db: Db,
    connections: Sequence[Db],
    reporters: Sequence[Somebody],
    plan: Plan,
    orders: Sequence[Sequence[int]],
) -> int:
    """How many of these interleavings end without exactly one match, known to both sides."""
    wrong, observer = 0, Observer(db)
    for child, order in zip(count(1), orders, strict=False):
        sessions = [
            Session(connection, STOPS, plan(registration(reporter, child)), observer)
            for connection, reporter in zip(connections, reporters, strict=True)
        ]
        await play(order, sessions)
        wrong += await outcome(db) != (1, 2, 0)
        await anew(db)
    return wrong


async def anew(db: Db) -> None:
    """Forget what happened; a statement each, since truncating costs far more."""
    for table in ("matching.match", "matching.signal", "notify.notice"):
        await db.execute(f"DELETE FROM {table}")  # noqa: S608


async def outcome(db: Db) -> tuple[int, ...]:
    """Matches, sides with a notice, signals still queued."""
    row = await db.fetchrow(
        """
        SELECT (SELECT count(*) FROM matching.match),
               (SELECT count(*) FROM matching.match_side),
               (SELECT count(*) FROM matching.match_queue)
        """
    )
    assert row is not None
    return tuple(row)


async def test_m10_no_interleaving_misses_or_doubles_a_match(
    db: Db, connections: list[Db], reporters: list[Somebody]
) -> None:
    orders = list(schedules(STEPS))

    assert len(orders) == 462
    assert await missed(db, connections, reporters, as_built, orders) == 0


@pytest.mark.parametrize("bug", [looking_up_while_claiming, matching_before_the_commit])
async def test_m10_the_interleavings_catch_a_planted_bug(
    db: Db, connections: list[Db], reporters: list[Somebody], bug: Plan
) -> None:
    orders = list(schedules(STEPS))[::7]

    assert await missed(db, connections, reporters, bug, orders) > 0
