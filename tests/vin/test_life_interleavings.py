"""All interleavings of two acts in the life of a signal, statement by statement."""

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
    arriving: 5,
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

    async def hear(
        self, one: Act, other: Act, schedules: Sequence[Sequence[int]] | None = None
    ) -> list[Case]:
        """Play one act against the other in these orders, or in all."""
        schedules = schedules or orders(STEPS[one], STEPS[other])
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


LOCKS = pytest.mark.xfail(reason="a death locks its own signal before the others'", strict=True)
PAIRS = [
    (arriving, withdrawing),
    (arriving, retracting),
    (arriving, expiring),
    (arriving, purging),
    pytest.param(arriving, dying, marks=LOCKS),
    (withdrawing, withdrawing),
    (withdrawing, retracting),
    (withdrawing, expiring),
    (withdrawing, purging),
    (withdrawing, dying),
    (expiring, expiring),
    (expiring, purging),
    (expiring, dying),
    (purging, purging),
    (purging, dying),
    (sending, withdrawing),
    (sending, retracting),
    pytest.param(sending, dying, marks=LOCKS),
    (sending_late, expiring),
    (sending_late, purging),
    (sending, sending),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
async def test_l7_whatever_the_order_nothing_is_left_half_done(
    court: Court, one: Act, other: Act
) -> None:
    cases = await court.hear(one, other)

    await court.check(cases)
    for case in cases:
        assert story_holds(case), case.story


def story_holds(case: Case) -> bool:
    """Decision 7: a mail goes out only if its last check came before the end was committed."""
    if "data" not in case.story:
        return True
    ends = {"withdrawn", "died", "expired", "purged"}
    by_date = {"expired", "purged"} & {*case.story}
    return not by_date and not ends & {*case.story[: case.story.index("data")]}


async def outcome(court: Court, case: Case) -> tuple[list[str], bool]:
    """The matches on the child by their status, and whether `b` is told of history."""
    statuses = [side.status.value for side in await steps.sides_of(court.db, case.b, NOW)]
    own = await steps.look(court.db, case.signals[case.b.id], case.b, NOW)
    return statuses, own.history_notice_id is not None


# The acts up to a stop, and what is left of them: the matcher holds its locks at its last.
MATCHER_FIRST = [0, 0, 0, 0, 1, 0, 1, 1, 1]
WITHDRAWAL_FIRST = [1, 1, 1, 0, 0, 0, 0, 1, 0]
IN_BETWEEN = [0, 0, 0, 1, 1, 1, 1, 0, 0]


@pytest.mark.parametrize(("act", "status"), [(withdrawing, "closed"), (retracting, "void")])
async def test_l7_a_withdrawal_that_waits_for_the_matcher_ends_the_match_that_this_makes(
    court: Court, act: Act, status: str
) -> None:
    (case,) = await court.hear(arriving, act, [MATCHER_FIRST])

    assert case.story == ["matched", "withdrawn"]
    assert await outcome(court, case) == ([status], False)


@pytest.mark.parametrize(("act", "told"), [(withdrawing, True), (retracting, False)])
@pytest.mark.parametrize("order", [WITHDRAWAL_FIRST, IN_BETWEEN])
async def test_l7_a_matcher_that_waits_for_a_withdrawal_makes_no_match(
    court: Court, act: Act, order: Sequence[int], *, told: bool
) -> None:
    (case,) = await court.hear(arriving, act, [order])

    assert case.story == ["withdrawn", "matched"]
    assert await outcome(court, case) == ([], told)
