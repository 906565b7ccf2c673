"""All interleavings of two acts in the life of a signal, statement by statement (L4, L5, L7, M10)."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from schemas.database import Db
from tests import steps
from tests.acts import (
    NOW,
    STOPS,
    Case,
    arriving,
    dying,
    expiring,
    make_cases,
    purging,
    retracting,
    sending,
    sending_late,
    withdrawing,
)
from tests.interleave import Observer, Session, Work, orders, play
from tests.views import everything
from tests.world import Somebody, make_region, make_reporters

if TYPE_CHECKING:
    from asyncpg import Pool, Record

Act = Callable[[Case], Sequence[Work]]

# How many steps each takes to its end, from stop to stop.
STEPS: dict[Act, int] = {
    arriving: 6,
    withdrawing: 4,
    retracting: 4,
    expiring: 4,
    purging: 4,
    dying: 5,
    sending: 4,
    sending_late: 4,
}


class Court:
    """Two sessions on one database, and what must hold whatever their order was."""

    def __init__(self, db: Db, connections: Sequence[Db], reporters: Sequence[Somebody]) -> None:
        self.db = db
        self.connections = connections
        self.reporters = reporters
        self.observer = Observer(db)

    async def hear(self, one: Act, other: Act, every: int = 1) -> list[Case]:
        """Play one act against the other in all orders, or in every so-manieth."""
        schedules = orders(STEPS[one], STEPS[other])[::every]
        cases = await make_cases(
            self.db,
            *self.reporters[:2],
            len(schedules),
            met=arriving not in (one, other),
            doomed=purging in (one, other),
        )
        for case, order in zip(cases, schedules, strict=True):
            await self.play(order, one(case), other(case))
        return cases

    async def play(self, order: Sequence[int], *works: Sequence[Work]) -> None:
        sessions = [
            Session(connection, STOPS, work, self.observer)
            for connection, work in zip(self.connections, works, strict=True)
        ]
        await play(order, sessions)

    async def check(self, cases: Sequence[Case]) -> None:
        """L7: no live match on an ended signal, and each match told once to each side."""
        odd = await self.db.fetch(
            """
            SELECT match.number
              FROM matching.match
              LEFT JOIN matching.signal AS a ON a.id = match.signal_a
              LEFT JOIN matching.signal AS b ON b.id = match.signal_b
             WHERE match.status = 'open' AND (a.status = 'live' AND b.status = 'live') IS NOT TRUE
                OR (SELECT count(*) FROM notify.notice_match WHERE match_id = match.id) <> 2
            """
        )
        assert odd == []
        assert await self.db.fetchval("SELECT count(*) FROM matching.match_queue") == 0
        rows = await everything(self.db)
        there = {row["id"] for row in await self.db.fetch("SELECT id FROM matching.signal")}
        gone = {str(s) for case in cases for s in case.signals.values() if s not in there}
        assert [row for row in rows if any(signal in row for signal in gone)] == []


@pytest.fixture
async def court(pool: "Pool[Record]", db: Db) -> AsyncIterator[Court]:
    await make_region(db)
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(pool.acquire()) for _ in range(2)]
        yield Court(db, connections, await make_reporters(db, 2))


PAIRS: list[tuple[Act, Act, int]] = [
    (arriving, withdrawing, 1),
    (arriving, retracting, 1),
    (arriving, expiring, 1),
    (arriving, purging, 1),
    (arriving, dying, 1),
    (withdrawing, withdrawing, 1),
    (withdrawing, retracting, 1),
    (withdrawing, expiring, 1),
    (withdrawing, purging, 1),
    (withdrawing, dying, 1),
    (expiring, expiring, 1),
    (expiring, purging, 1),
    (expiring, dying, 1),
    (purging, purging, 1),
    (purging, dying, 1),
    (sending, withdrawing, 1),
    (sending, retracting, 1),
    (sending, dying, 1),
    (sending_late, expiring, 1),
    (sending_late, purging, 1),
    (sending, sending, 1),
]


@pytest.mark.parametrize(
    ("one", "other", "every"), PAIRS, ids=[f"{a.__name__}-{b.__name__}" for a, b, _ in PAIRS]
)
async def test_l7_whatever_the_order_nothing_is_left_half_done(
    court: Court, one: Act, other: Act, every: int
) -> None:
    cases = await court.hear(one, other, every)

    await court.check(cases)
    for case in cases:
        assert story_holds(case), case.story


def story_holds(case: Case) -> bool:
    """Decision 7: a mail goes out only if its last check came before the end was committed."""
    ends = [case.story.index(end) for end in ("withdrawn", "died") if end in case.story]
    if "expired" in case.story or "purged" in case.story:
        return "data" not in case.story
    return "data" not in case.story or case.story.index("data") < min(ends, default=99)
