"""All interleavings of two acts in the life of a signal, statement by statement."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack
from itertools import combinations_with_replacement, count
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from schemas.database import Db
from tests import steps
from tests.acts import (
    NOW,
    Before,
    Case,
    Part,
    arriving,
    dying,
    erasing,
    expiring,
    finding,
    joining,
    make_cases,
    parting,
    purging,
    retracting,
    sending,
    sending_late,
    withdrawing,
)
from tests.interleave import Observer, Session, every_order, play
from tests.views import everything
from tests.world import Somebody, make_region, make_reporters, registration

if TYPE_CHECKING:
    from asyncpg import Pool, Record

Act = Callable[[Case], Part]

CASES = 25


class Court:
    """Two sessions on one database, and what must hold whatever their order was."""

    def __init__(self, db: Db, connections: Sequence[Db], reporters: Sequence[Somebody]) -> None:
        self.db = db
        self.connections = connections
        self.reporters = reporters

    async def hear(self, one: Act, other: Act) -> list[Case]:
        """Play one act against the other in all orders, each on a child of its own."""
        before = Before(
            met=arriving not in (one, other),
            doomed=purging in (one, other),
            named=finding in (one, other),
        )
        children = count(1)
        ready: list[Case] = []
        heard: list[Case] = []

        async def begin() -> list[Session]:
            if not ready:
                more = [next(children) for _ in range(CASES)]
                ready.extend(await make_cases(self.db, self.reporters, more, before))
            heard.append(ready.pop(0))
            return self.sessions(one(heard[-1]), other(heard[-1]))

        async for _ in every_order(begin, alike=one is other):
            pass
        return heard

    def sessions(self, *parts: Part) -> list[Session]:
        observer = Observer(self.db)
        return [
            Session(connection, part.stops, part.work, observer, part.then)
            for connection, part in zip(self.connections, parts, strict=False)
        ]

    async def check(self, cases: Sequence[Case]) -> None:
        """L7: no live match on an ended signal, and each match told once to each side."""
        odd = await self.db.fetch(
            """
            SELECT match.number
              FROM matching.match
              LEFT JOIN matching.signal AS a ON a.id = match.signal_a
              LEFT JOIN matching.signal AS b ON b.id = match.signal_b
             WHERE match.status = 'open' AND (a.status = 'live' AND b.status = 'live') IS NOT TRUE
                OR (SELECT count(*) FROM notify.notice_match WHERE match_id = match.id)
                <> (SELECT count(*) FROM matching.match_side WHERE match_id = match.id)
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
        yield Court(db, connections, await make_reporters(db, 3))


# On one and the same signal.
ENDS = (withdrawing, retracting, expiring, purging, erasing, dying)
PAIRS = [
    *((arriving, end) for end in (expiring, purging, erasing, dying)),
    *combinations_with_replacement(ENDS, 2),
    *((sending, end) for end in (withdrawing, retracting, erasing, dying)),
    *((sending_late, end) for end in (expiring, purging)),
    (sending, sending),
    (sending, joining),
    # On either side of a match.
    *((parting, each) for each in (*ENDS, sending)),
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
    ends = {"withdrawn", "erased", "died", "expired", "purged"}
    by_date = {"expired", "purged"} & {*case.story}
    return not by_date and not ends & {*case.story[: case.story.index("data")]}


async def outcome(court: Court, case: Case) -> tuple[list[str], bool]:
    """The matches on the child by their status, and whether `b` is told of history."""
    statuses = [
        side.status.value
        for side in await steps.sides_of(court.db, case.b, NOW)
        if side.signal == case.signals[case.b.id]
    ]
    own = await steps.look(court.db, case.signals[case.b.id], case.b, NOW)
    return statuses, own.history_notice_id is not None


@pytest.mark.parametrize(
    ("act", "status", "told"), [(withdrawing, "closed", True), (retracting, "void", False)]
)
async def test_l7_a_withdrawal_and_the_matcher_at_once_end_as_one_after_the_other(
    court: Court, act: Act, status: str, *, told: bool
) -> None:
    """Who commits first is first: the match that the matcher made ends, or none is made."""
    cases = await court.hear(arriving, act)

    await court.check(cases)
    outcomes = {tuple(case.story): set[tuple[str, bool]]() for case in cases}
    for case in cases:
        statuses, is_told = await outcome(court, case)
        outcomes[tuple(case.story)].add((" ".join(statuses), is_told))
    assert outcomes == {
        ("matched", "withdrawn"): {(status, False)},
        ("withdrawn", "matched"): {("", told)},
    }


async def test_s11_a_death_takes_all_signals_on_a_child_whose_number_is_found_meanwhile(
    court: Court,
) -> None:
    cases = await court.hear(dying, finding)

    for case in cases:
        if "refused" in case.story:
            await play([], court.sessions(dying(case)))
        left = await court.db.fetch(
            "SELECT id FROM matching.signal WHERE id = ANY($1)", list(case.signals.values())
        )
        survivors = [] if "found" in case.story else [case.signals[case.b.id]]
        assert [row["id"] for row in left] == survivors, case.story
    assert {"refused" in case.story for case in cases} == {True, False}


async def test_l4_a_notice_on_two_children_who_die_at_once_leaves_no_trace(court: Court) -> None:
    a, b, _ = court.reporters
    ids: list[UUID] = []

    async def begin() -> list[Session]:
        cases = [Case(child, a, b, a) for child in (1, 2)]
        wanted = [registration(by, case.child) for case in cases for by in (a, b)]
        ids[:] = await steps.register(court.db, *wanted)
        await steps.match_all(court.db)
        cases[0].signals[a.id], _, cases[1].signals[a.id], _ = ids
        ids.extend(row["id"] for row in await court.db.fetch("SELECT id FROM notify.notice"))
        return court.sessions(*(dying(case) for case in cases))

    async for _ in every_order(begin, alike=True):
        assert len(ids) == 6
        rows = await everything(court.db)
        assert [row for row in rows if any(str(each) in row for each in ids)] == []
