"""What may race in the life of a signal, each on one child: sessions for `tests/interleave.py`."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from notify import attempts, ledger
from notify.attempts import Claim
from notify.carrier import UndeliveredError
from schemas.database import Db
from schemas.dates import local_midnight
from tests import changing, steps
from tests.interleave import Work
from tests.life import Stopped
from tests.world import SECRETS, Somebody, registration
from vin.changes import find_child
from vin.errors import NotFoundError, StartError, VinError
from vin.matches import match_batch
from vin.notices import NoticeComposer
from vin.retention import Ending, destroy_batch, end_by_operator, expire_batch
from vin.signals import Registration, Withdrawal, register_batch, withdraw

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
FIRST_END = date(2026, 12, 1)
FAR = date(2028, 11, 22)
MINUTE = timedelta(minutes=1)
# Before each statement that reads or locks what the other may change, and before each commit.
# Once a session has locked all that it goes on to touch, where it stops makes no difference; the
# one stop in between is there to find a lock that is missing.
STOPS = frozenset(
    {
        "matching.claim_queued",
        "matching.select_candidates",
        "matching.lock_signals",
        "store.end_matches",
        "retention_store.leave_matches",
        "retention_store.lock_queued",
        "retention_store.lock_signals",
        "retention_store.delete_matches",
        "change_store.lock_own",
        "match_store.share_legs",
        "attempts.mark_data",
        "start",
        "commit",
    }
)


@dataclass(slots=True)
class Case:
    """One child, on whom `a` registered; `b` did too, or will, and `c` may come later.

    `story` is in the order of commits.
    """

    child: int
    a: Somebody
    b: Somebody
    c: Somebody
    signals: dict[UUID, UUID] = field(default_factory=dict)
    mail: Claim | None = None
    story: list[str] = field(default_factory=list)

    @property
    def ends_on(self) -> date:
        """A day of its own, so that a sweep takes this case and none that comes after."""
        return FIRST_END + timedelta(days=self.child)

    @property
    def past_the_end(self) -> datetime:
        return local_midnight(self.ends_on) + MINUTE


@dataclass(frozen=True, slots=True)
class Part:
    """What one session does, and what it notes when the last of it is committed."""

    work: Sequence[Work]
    then: Callable[[], None]
    stops: frozenset[str] = STOPS


def arriving(case: Case, by: Somebody | None = None) -> Part:
    """`b` registers the child, and the matcher looks."""
    who = by or case.b

    async def register(db: Db) -> None:
        (answer,) = await register_batch(db, [asked(case, who)], SECRETS, NOW)
        assert not isinstance(answer, VinError)
        case.signals[who.id] = answer.signal.id

    async def match(db: Db) -> None:
        await match_batch(db, 10, NOW)

    # To register reads nothing of another's.
    return Part([register, match], lambda: case.story.append("matched"), STOPS - {"start"})


def joining(case: Case) -> Part:
    """`c` does, later; to a match that is there it makes a difference only by what it locks."""
    return replace(arriving(case, case.c), stops=frozenset({"matching.lock_signals", "commit"}))


def withdrawing(case: Case, ground: str = "risk_gone", by: Somebody | None = None) -> Part:
    who = by or case.a

    async def end(db: Db) -> None:
        request = Withdrawal(
            organisation=who.organisation,
            client="client",
            request_id=UUID(int=case.child),
            signal=case.signals[who.id],
            ground=ground,
        )
        with suppress(VinError):
            await withdraw(db, request, NOW)

    return Part([end], lambda: case.story.append("withdrawn"))


def retracting(case: Case) -> Part:
    return withdrawing(case, "unjustified")


def parting(case: Case) -> Part:
    """`b` withdraws."""
    return withdrawing(case, by=case.b)


def expiring(case: Case) -> Part:
    async def expire(db: Db) -> None:
        await expire_batch(db, case.past_the_end)

    return Part([expire], lambda: case.story.append("expired"))


def purging(case: Case) -> Part:
    async def purge(db: Db) -> None:
        await destroy_batch(db, case.past_the_end)

    return Part([purge], lambda: case.story.append("purged"))


def erasing(case: Case) -> Part:
    async def erase(db: Db) -> None:
        with suppress(NotFoundError):
            await end_by_operator(db, ordered(case, "erased"), NOW)

    return Part([erase], lambda: case.story.append("erased"))


def ordered(case: Case, ground: str) -> Ending:
    """What an operator asks."""
    return Ending(signal=case.signals[case.a.id], ground=ground, purpose="order", operator="o")


def dying(case: Case) -> Part:
    """The operator is asked to try again if the signal was changed meanwhile."""
    refused: list[str] = []

    async def die(db: Db) -> None:
        try:
            with suppress(NotFoundError):
                await end_by_operator(db, ordered(case, "deceased"), NOW)
        except StartError:
            refused.append("refused")

    return Part([die], lambda: case.story.extend(refused or ["died"]))


def finding(case: Case) -> Part:
    """`a` learns the number of the child."""
    found: list[str] = []

    async def find(db: Db) -> None:
        with suppress(VinError):
            asked = changing.child_found(case.signals[case.a.id], case.a, case.child)
            await find_child(db, asked, NOW)
            found.append("found")

    return Part([find], lambda: case.story.extend(found))


def sending(case: Case, at: datetime = NOW) -> Part:
    """The notice to `a`: put together and marked in one transaction, then DATA."""
    composer = NoticeComposer(SECRETS.contact, Stopped(at=at))
    held = case.mail
    written: list[str] = []

    async def compose(db: Db) -> None:
        if held is not None:
            with suppress(UndeliveredError):
                letter = await composer.compose(db, held.notice_id)
                if letter is not None and await attempts.mark_data(db, held):
                    written.append("data")

    return Part([compose], lambda: case.story.extend(written))


def sending_late(case: Case) -> Part:
    return sending(case, case.past_the_end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Before:
    """What is so before a case is played."""

    met: bool
    doomed: bool
    named: bool


async def make_cases(
    db: Db, reporters: Sequence[Somebody], children: Sequence[int], before: Before
) -> list[Case]:
    """Children on whom `a` registered; if they `met`, `b` did, and the mails are ready to go.

    `a`'s signals end on a day of their own, and are destroyed on it if `doomed`. If `named`,
    `a` knows the child by name only.
    """
    a, b, c = reporters
    cases = {child: Case(child, a, b, c) for child in children}
    wanted = [each for case in cases.values() for each in requests(case, before)]
    ids = await steps.register(db, *wanted, now=NOW - MINUTE)
    by_name = {each.reporter_id: each.id for each in reporters}
    for signal, request in zip(ids, wanted, strict=True):
        case = cases[int(request.reference.removeprefix("D-"))]
        case.signals[by_name[request.reporter_id]] = signal
    await steps.match_all(db, 2 if before.met else len(cases), NOW - MINUTE)
    claims = await claim_mails(db)
    for case in cases.values():
        case.mail = claims.get(case.signals[a.id])
    return list(cases.values())


def requests(case: Case, before: Before) -> list[Registration]:
    number = None if before.named else case.child
    first = replace(
        registration(case.a, number, weak=case.child, reference=f"D-{case.child}"),
        remove_on=case.ends_on,
        destroy_by=case.ends_on if before.doomed else None,
    )
    return [first, replace(asked(case, case.b), remove_on=FAR)] if before.met else [first]


def asked(case: Case, by: Somebody) -> Registration:
    """What `b` or `c` asks."""
    return registration(by, case.child, reference=f"D-{case.child}")


async def claim_mails(db: Db) -> dict[UUID, Claim]:
    """Take all mails as a worker does; each by the signal of its reader."""
    queued = await ledger.mark_queued(db, 10_000)
    claims = {each.notice_id: each for each in await attempts.claim(db, queued, "worker")}
    told = await db.fetch("SELECT notice_id, signal_id FROM notify.notice_match")
    return {
        row["signal_id"]: claims[row["notice_id"]] for row in told if row["notice_id"] in claims
    }
