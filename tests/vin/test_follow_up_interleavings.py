"""All interleavings of two acts on a match that waits for contact, statement by statement."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from notify import attempts, ledger
from notify.attempts import Claim
from notify.carrier import UndeliveredError
from schemas.database import Db
from schemas.dates import local_date
from tests.following import LINKS, MATCHED, MINUTE, REMINDED, Pair, make_pair, told
from tests.interleave import Observer, Session, Work, orders, play
from tests.life import Stopped
from tests.world import SECRETS, Somebody, make_region, make_reporters
from vin import links, outcomes
from vin.contact_clock import Outcome
from vin.errors import VinError
from vin.follow_up import follow_batch
from vin.notices import NoticeComposer
from vin.outcomes import Saying
from vin.retention import Ending, destroy_batch, end_by_operator
from vin.signals import Withdrawal, withdraw

if TYPE_CHECKING:
    from asyncpg import Pool, Record

# For whoever destroys it is a day later: who comes first decides, not the date.
NEXT_DAY = REMINDED + timedelta(days=1)
STOPS = frozenset(
    {
        "start",
        "commit",
        "match_store.share_legs",
        "outcome_store.lock_match",
        "outcome_store.share_matches",
        "link_store.use",
        "follow_up_store.lock_due",
        "steps.insert_mailboxes",
        "link_store.insert_links",
        "store.end_matches",
        "retention_store.close_matches",
        "retention_store.delete_sides",
        "retention_store.delete_matches",
        "attempts.mark_data",
    }
)
SAYING = Saying(
    outcome=Outcome.SPOKEN,
    new_to_me=True,
    via="api",
    actor_kind="client",
    actor="client",
    request_id=UUID(int=1),
)


@dataclass(slots=True)
class Case:
    """One match, with the reminder on it that is on its way if there is one."""

    pair: Pair
    mail: Claim | None = None
    story: list[str] = field(default_factory=list)

    def side(self, place: int) -> tuple[UUID, UUID]:
        return self.pair.match, self.pair.signals[place]

    def note(self, what: str) -> Work:
        async def write(_db: Db) -> None:
            self.story.append(what)

        return write


Act = Callable[[Case], Sequence[Work]]


def following(_case: Case) -> Sequence[Work]:
    """The contact clock comes to the reminder."""

    async def follow(db: Db) -> None:
        await follow_batch(db, REMINDED)

    return (follow,)


def saying(case: Case, place: int = 0, outcome: Outcome = Outcome.SPOKEN) -> Sequence[Work]:
    async def say(db: Db) -> None:
        with suppress(VinError):
            said = replace(SAYING, outcome=outcome)
            await outcomes.say(db, case.side(place), said, REMINDED - MINUTE)

    return say, case.note("said")


def one_is_unreachable(case: Case) -> Sequence[Work]:
    return saying(case, 0, Outcome.NOT_REACHABLE)


def other_is_unreachable(case: Case) -> Sequence[Work]:
    return saying(case, 1, Outcome.NOT_REACHABLE)


def answering(case: Case) -> Sequence[Work]:
    """By the link of a mail that went out before."""
    taken: list[bool] = []

    async def answer(db: Db) -> None:
        link = await db.fetchval(
            "SELECT id FROM followup.link WHERE match_id = $1 AND signal_id = $2", *case.side(0)
        )
        taken.append(await links.answer(db, link, SAYING, REMINDED) is not None)

    async def note(_db: Db) -> None:
        case.story += ["said", "answered"] if any(taken) else []

    return answer, note


def reminding(case: Case) -> Sequence[Work]:
    """A reminder is put together and marked in one transaction, then sent."""
    composer = NoticeComposer(SECRETS.contact, Stopped(at=REMINDED), LINKS)
    written: list[str] = []

    async def compose(db: Db) -> None:
        assert case.mail
        with suppress(UndeliveredError):
            letter = await composer.compose(db, case.mail.notice_id)
            if letter is not None and await attempts.mark_data(db, case.mail):
                written.append(letter.recipient)

    async def data(_db: Db) -> None:
        if written:
            case.story.append("data")

    return compose, data


def withdrawing(case: Case) -> Sequence[Work]:
    async def end(db: Db) -> None:
        request = Withdrawal(
            organisation=case.pair.b.organisation,
            client="client",
            request_id=uuid4(),
            signal=case.pair.signals[1],
            ground="unjustified",
        )
        with suppress(VinError):
            await withdraw(db, request, REMINDED - MINUTE)

    return end, case.note("ended")


def destroying(case: Case, place: int = 1) -> Sequence[Work]:
    """What somebody holds is left to the next sweep."""

    async def destroy(db: Db) -> None:
        await destroy_batch(db, NEXT_DAY)

    async def note(db: Db) -> None:
        signal = case.pair.signals[place]
        if not await db.fetchval("SELECT true FROM matching.signal WHERE id = $1", signal):
            case.story.append("ended")

    return destroy, note


def destroying_own(case: Case) -> Sequence[Work]:
    """The leg of the side that speaks, not the other's."""
    return destroying(case, 0)


def erasing_own(case: Case) -> Sequence[Work]:
    """An operator destroys the leg, and the match stays void in sight of the other side."""

    async def erase(db: Db) -> None:
        order = Ending(signal=case.pair.signals[0], ground="erased", purpose="order", operator="o")
        with suppress(VinError):
            await end_by_operator(db, order, REMINDED - MINUTE)

    return erase, case.note("ended")


class Court:
    """Two sessions on one database, and what must hold whatever their order was."""

    def __init__(self, db: Db, connections: Sequence[Db], reporters: Sequence[Somebody]) -> None:
        self.db = db
        self.connections = connections
        self.reporters = reporters
        self.observer = Observer(db)

    async def hear(self, one: Act, other: Act) -> list[Case]:
        """Play one act against the other in all orders, each on a match of its own."""
        cases = []
        for child, order in enumerate(orders(3, 4), 1):
            case = await self.make_case(child, (one, other))
            works = one(case), other(case)
            sessions = [
                Session(connection, STOPS, work, self.observer)
                for connection, work in zip(self.connections, works, strict=True)
            ]
            await play(order, sessions)
            cases.append(case)
        return cases

    async def make_case(self, child: int, acts: Sequence[Act]) -> Case:
        await self.db.execute("DELETE FROM followup.clock")
        case = Case(await make_pair(self.db, child, of=self.reporters))
        if reminding in acts:
            async with self.db.transaction():
                await follow_batch(self.db, REMINDED)
            case.mail = await self.claim(case)
        if answering in acts:
            # What is on its way may have arrived before: its link is the same.
            notice = case.mail.notice_id if case.mail else uuid4()
            await LINKS.offer(self.db, notice, [case.side(0)], MATCHED)
        for act, place in ((destroying_own, 0), (destroying, 1)):
            if act in acts:
                await self.db.execute(
                    "UPDATE matching.signal SET destroy_by = $2 WHERE id = $1",
                    case.pair.signals[place],
                    local_date(NEXT_DAY),
                )
        return case

    async def claim(self, case: Case) -> Claim:
        """The reminder to the first of the two, on its way."""
        await self.db.execute("UPDATE notify.delivery SET next_at = clock_timestamp()")
        async with self.db.transaction():
            due = await ledger.mark_queued(self.db, 100)
            claims = await attempts.claim(self.db, due, "worker")
        wanted = await self.db.fetchval(
            "SELECT notice_id FROM notify.notice_step WHERE match_id = $1 AND signal_id = $2",
            *case.side(0),
        )
        return next(claim for claim in claims if claim.notice_id == wanted)


@pytest.fixture
async def court(pool: "Pool[Record]", db: Db) -> AsyncIterator[Court]:
    await make_region(db)
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(pool.acquire()) for _ in range(2)]
        yield Court(db, connections, await make_reporters(db, 2))


PAIRS = [
    (following, following),
    (following, saying),
    (following, answering),
    (following, withdrawing),
    (following, destroying),
    (following, destroying_own),
    (following, erasing_own),
    (saying, answering),
    (saying, withdrawing),
    (saying, destroying),
    (saying, destroying_own),
    (saying, erasing_own),
    (answering, withdrawing),
    (answering, destroying),
    (answering, destroying_own),
    (answering, answering),
    (reminding, saying),
    (reminding, answering),
    (reminding, withdrawing),
    (reminding, destroying),
    (reminding, destroying_own),
    (reminding, erasing_own),
    (reminding, following),
    (one_is_unreachable, other_is_unreachable),
]


@pytest.mark.parametrize(("one", "other"), PAIRS)
async def test_a2_whatever_the_order_nothing_is_said_or_told_after_the_end(
    court: Court, one: Act, other: Act
) -> None:
    cases = await court.hear(one, other)

    for case in cases:
        await check(court.db, case)
    if all({"said", "ended"} & {*case.story} for case in cases):
        assert await told(court.db, REMINDED) == []


async def check(db: Db, case: Case) -> None:
    """What is destroyed is nowhere; who answered is not reminded; nothing twice."""
    there = {row["id"] for row in await db.fetch("SELECT id FROM matching.signal")}
    for table in ("followup.outcome", "followup.link", "notify.notice_step"):
        rows = await db.fetch(f"SELECT signal_id FROM {table}")  # noqa: S608
        assert {row["signal_id"] for row in rows} <= there
    assert case.story.count("answered") <= 1
    if "data" in case.story and "ended" in case.story:
        assert case.story.index("data") < case.story.index("ended")
    if "data" in case.story and "said" in case.story:
        assert case.story.index("data") < case.story.index("said")
    steps = await db.fetch(
        "SELECT signal_id FROM notify.notice_step WHERE match_id = $1", case.pair.match
    )
    assert len({row["signal_id"] for row in steps}) == len(steps)
    notices = await db.fetchval("SELECT count(*) FROM notify.notice WHERE kind = 'reminder'")
    delivered = await db.fetchval(
        """
        SELECT count(*) FROM notify.notice
         WHERE kind = 'reminder'
           AND EXISTS (SELECT FROM notify.notice_step WHERE notice_id = notice.id)
        """
    )
    assert notices == delivered
