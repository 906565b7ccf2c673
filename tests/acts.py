"""What may race in the life of a signal, each on one child: sessions for `tests/interleave.py`."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from notify import attempts, ledger
from notify.attempts import Claim
from notify.carrier import UndeliveredError
from schemas.database import Db
from schemas.dates import local_midnight
from tests import steps
from tests.interleave import Work
from tests.life import Stopped
from tests.world import SECRETS, Somebody, registration
from vin.errors import VinError
from vin.matches import match_batch
from vin.notices import NoticeComposer
from vin.retention import Ending, destroy_batch, end_by_operator, expire_batch
from vin.signals import Registration, Withdrawal, register_batch, withdraw

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
FIRST_END = date(2026, 12, 1)
FAR = date(2028, 11, 22)
MINUTE = timedelta(minutes=1)
STOPS = frozenset(
    {
        "matching.select_candidates",
        "matching.lock_signals",
        "store.end_signal",
        "store.end_matches",
        "retention_store.expire",
        "retention_store.close_matches",
        "retention_store.lock_same_child",
        "retention_store.delete_matches",
        "retention_store.delete_signal_rows",
        "match_store.share_legs",
        "attempts.mark_data",
        "start",
        "commit",
    }
)


@dataclass(slots=True)
class Case:
    """One child, on whom `a` registered; `b` did too, or will. `story` is in order of commits."""

    child: int
    a: Somebody
    b: Somebody
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

    def note(self, what: str) -> Work:
        """Written down as soon as the work before it has committed."""

        async def write(_db: Db) -> None:
            self.story.append(what)

        return write


def arriving(case: Case) -> Sequence[Work]:
    """`b` registers the child, and the matcher looks."""

    async def register(db: Db) -> None:
        (answer,) = await register_batch(db, [asked_by_b(case)], SECRETS, NOW)
        assert not isinstance(answer, VinError)
        case.signals[case.b.id] = answer.signal.id

    async def match(db: Db) -> None:
        await match_batch(db, 10, NOW)

    return register, match, case.note("matched")


def withdrawing(case: Case, ground: str = "risk_gone") -> Sequence[Work]:
    async def end(db: Db) -> None:
        request = Withdrawal(
            organisation=case.a.organisation,
            client="client",
            request_id=UUID(int=case.child),
            signal=case.signals[case.a.id],
            ground=ground,
        )
        with suppress(VinError):
            await withdraw(db, request, NOW)

    return end, case.note("withdrawn")


def retracting(case: Case) -> Sequence[Work]:
    return withdrawing(case, "unjustified")


def expiring(case: Case) -> Sequence[Work]:
    async def expire(db: Db) -> None:
        await expire_batch(db, case.past_the_end)

    return expire, case.note("expired")


def purging(case: Case) -> Sequence[Work]:
    async def purge(db: Db) -> None:
        await destroy_batch(db, case.past_the_end)

    return purge, case.note("purged")


def dying(case: Case) -> Sequence[Work]:
    async def die(db: Db) -> None:
        order = Ending(
            signal=case.signals[case.a.id], ground="deceased", purpose="order", operator="o"
        )
        with suppress(VinError):
            await end_by_operator(db, order, NOW)

    return die, case.note("died")


def sending(case: Case, at: datetime = NOW) -> Sequence[Work]:
    """The notice to `a`: put together and marked in one transaction, then DATA."""
    composer = NoticeComposer(SECRETS.contact, Stopped(at=at))
    held = case.mail
    written: list[str] = []

    async def compose(db: Db) -> None:
        if held is not None:
            with suppress(UndeliveredError):
                letter = await composer.compose(db, held.notice_id)
                if letter is not None and await attempts.mark_data(db, held):
                    written.append(letter.recipient)

    async def data(_db: Db) -> None:
        if written:
            case.story.append("data")

    return compose, data


def sending_late(case: Case) -> Sequence[Work]:
    return sending(case, case.past_the_end)


async def make_cases(
    db: Db, a: Somebody, b: Somebody, count: int, *, met: bool, doomed: bool
) -> list[Case]:
    """Children on whom `a` registered; if `met`, `b` did, and the mails are ready to go.

    `a`'s signals end on a day of their own, and are destroyed on it if `doomed`.
    """
    cases = [Case(child, a, b) for child in range(1, count + 1)]
    asked = [each for case in cases for each in requests(case, met=met, doomed=doomed)]
    ids = await steps.register(db, *asked, now=NOW - MINUTE)
    reporters = {a.reporter_id: a.id, b.reporter_id: b.id}
    for signal, request in zip(ids, asked, strict=True):
        case = cases[int(request.reference.removeprefix("D-")) - 1]
        case.signals[reporters[request.reporter_id]] = signal
    await steps.match_all(db, 2 if met else count, NOW - MINUTE)
    claims = await claim_mails(db)
    for case in cases:
        case.mail = claims.get(case.signals[a.id])
    return cases


def requests(case: Case, *, met: bool, doomed: bool) -> list[Registration]:
    first = replace(
        registration(case.a, case.child, reference=f"D-{case.child}"),
        remove_on=case.ends_on,
        destroy_by=case.ends_on if doomed else None,
    )
    return [first, replace(asked_by_b(case), remove_on=FAR)] if met else [first]


def asked_by_b(case: Case) -> Registration:
    """What `b` asks."""
    return registration(case.b, case.child, reference=f"D-{case.child}")


async def claim_mails(db: Db) -> dict[UUID, Claim]:
    """Take all mails as a worker does; each by the signal of its reader."""
    queued = await ledger.mark_queued(db, 10_000)
    claims = {each.notice_id: each for each in await attempts.claim(db, queued, "worker")}
    told = await db.fetch("SELECT notice_id, signal_id FROM notify.notice_match")
    return {row["signal_id"]: claims[row["notice_id"]] for row in told}
