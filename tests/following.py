"""Matches between organisations, and what happens to them as days pass."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

from notify.letters import ReminderLetter
from schemas.database import Db
from schemas.dates import local_midnight
from tests import steps
from tests.life import Stopped
from tests.world import SECRETS, Somebody, make_region, make_reporters, registration
from vin.contact_clock import Outcome
from vin.crypto.link import LinkKey
from vin.follow_up import follow_batch
from vin.links import Links
from vin.matches import OwnMatch
from vin.notices import NoticeComposer
from vin.outcomes import Saying, say_by_client

# A Monday; what follows is the third, fifth and tenth working day, 3 and 12 months.
MATCHED = datetime(2026, 11, 23, 10, tzinfo=UTC)
REMINDED = local_midnight(date(2026, 11, 26))
OVERDUE = local_midnight(date(2026, 11, 30))
LISTED = local_midnight(date(2026, 12, 7))
AFTER_3_MONTHS = local_midnight(date(2027, 2, 23))
AFTER_A_YEAR = local_midnight(date(2027, 11, 23))
MINUTE = timedelta(minutes=1)
LINK_KEY = LinkKey(bytes(32))
LINKS = Links(key=LINK_KEY, api_url="https://vin.test")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two reporters who match on a child."""

    db: Db
    a: Somebody
    b: Somebody
    signals: Sequence[UUID]
    match: UUID
    number: str

    async def view(self, who: Somebody, at: datetime = MATCHED) -> OwnMatch:
        """The match as one of them sees it."""
        return next(
            each for each in await steps.sides_of(self.db, who, at) if each.signal in self.signals
        )

    async def says(
        self, who: Somebody, outcome: Outcome, at: datetime = MATCHED, *, new_to_me: bool = True
    ) -> None:
        saying = Saying(
            outcome=outcome,
            new_to_me=new_to_me,
            via="api",
            actor_kind="client",
            actor="client",
            request_id=uuid4(),
        )
        async with self.db.transaction():
            await say_by_client(self.db, self.number, None, steps.reader(who), saying, at)

    async def ends(self, who: Somebody, ground: str, at: datetime = MATCHED) -> None:
        signal = self.signals[[self.a, self.b].index(who)]
        await steps.end(self.db, signal, who, ground, at)


async def make_pair(
    db: Db, child: int = 1, *, of: Sequence[Somebody] = (), at: datetime = MATCHED
) -> Pair:
    """A match of two reporters, new ones in a new region unless named."""
    if not of:
        await make_region(db)
    a, b = of or await make_reporters(db, 2)
    signals = await steps.register(
        db,
        registration(a, child, reference=f"A-{child}"),
        registration(b, child, reference=f"B-{child}"),
        now=at,
    )
    await steps.match_all(db, now=at)
    made = await db.fetchrow(
        "SELECT id, number FROM matching.match WHERE signal_a = ANY($1) AND signal_b = ANY($1)",
        signals,
    )
    assert made
    return Pair(db, a, b, signals, made["id"], made["number"])


async def follow(db: Db, at: datetime, *more: datetime) -> None:
    """Let the contact clock work at these instants until nothing is due."""
    for instant in (at, *more):
        done = 1
        while done:
            async with db.transaction():
                done = await follow_batch(db, instant)


async def reminders(db: Db, at: datetime) -> list[ReminderLetter]:
    """The letters on steps as they would go out at an instant, by recipient."""
    composer = NoticeComposer(SECRETS.contact, Stopped(at=at), LINKS)
    written = []
    for row in await db.fetch(
        "SELECT id FROM notify.notice WHERE kind NOT IN ('match', 'moved') ORDER BY created_at"
    ):
        address = await composer.recipient(db, row["id"])
        async with db.transaction():
            letter = await composer.compose(db, row["id"])
        assert (letter.recipient if letter else None) == address
        if letter is not None:
            assert isinstance(letter, ReminderLetter)
            written.append(letter)
    return sorted(written, key=lambda letter: letter.recipient)


async def told(db: Db, at: datetime) -> list[tuple[str, str]]:
    """To whom which steps would go out."""
    return [(letter.recipient, letter.step) for letter in await reminders(db, at)]
