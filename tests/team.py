"""A team of reporters who come and go (W3), with what they and another organisation see."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from uuid import UUID, uuid4

from notify.letters import MatchLetter
from schemas.database import Db
from tests.interleave import Work
from tests.world import SECRETS, Somebody, make_region, make_reporter, registration
from vin.clock import Clock
from vin.contacts import Contact
from vin.matches import OwnMatch, Reader, list_matches, match_batch
from vin.matches import Wanted as WantedMatches
from vin.notices import NoticeComposer
from vin.reporters import Actor, Designation, designate_reporter
from vin.signals import OwnSignal, Registered, list_signals, register_batch
from vin.signals import Wanted as WantedSignals
from vin.succession import Departure, end_reporter

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
TODAY = date(2026, 11, 22)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NIL = UUID(int=0)
KEYS = (SECRETS.contact, SECRETS.index)


async def make_team(db: Db) -> "Team":
    await make_region(db)
    first = await make_reporter(db, 1)
    colleagues = [first, *[await make_reporter(db, n, first.organisation) for n in (2, 3)]]
    return Team(db, colleagues, await make_reporter(db, 4))


class Team:
    """Three colleagues of one organisation, and somebody of another who matches with them."""

    def __init__(self, db: Db, colleagues: Sequence[Somebody], other: Somebody) -> None:
        self.db = db
        self.one, self.two, self.three = colleagues
        self.other = other
        self.organisation = colleagues[0].organisation
        self.composer = NoticeComposer(SECRETS.contact, Clock())

    @property
    def actor(self) -> Actor:
        return Actor(organisation=self.organisation, client="client", request_id=uuid4())

    async def register(self, reporter: Somebody, child: int, reference: str = "D-1") -> UUID:
        request = registration(reporter, child, reference=reference)
        async with self.db.transaction():
            (answer,) = await register_batch(self.db, [request], SECRETS, NOW)
        assert isinstance(answer, Registered)
        return answer.signal.id

    async def match(self) -> None:
        async with self.db.transaction():
            await match_batch(self.db, 100, NOW)

    async def end(self, reporter: Somebody, successor: Somebody | None = None) -> None:
        named = successor.reporter_id if successor else None
        departure = Departure(reporter.reporter_id, named)
        async with self.db.transaction():
            await self.ending(departure)(self.db)

    def ending(self, departure: Departure) -> Work:
        """What ends a designation, in whatever transaction it is done."""

        async def end(db: Db) -> None:
            await end_reporter(db, departure, self.actor, NOW)

        return end

    async def designate(self, reporter: Somebody, email: str) -> bool:
        contact = Contact(name="R", function="Teacher", email=email, phone="0612345678")
        unit = await self.db.fetchval(
            "SELECT code FROM registry.unit WHERE match_unit_id = $1", reporter.match_unit
        )
        wanted = Designation(reporter_id=reporter.reporter_id, unit=unit, contact=contact)
        async with self.db.transaction():
            return (await designate_reporter(self.db, wanted, self.actor, KEYS, NOW))[1]

    async def signals(self, reporter: Somebody) -> list[OwnSignal]:
        wanted = WantedSignals(
            organisation=reporter.organisation,
            reporter_id=reporter.reporter_id,
            after=(EPOCH, NIL),
            limit=50,
        )
        return (await list_signals(self.db, wanted, SECRETS.contact, NOW))[0]

    async def matches(self, reporter: Somebody) -> list[OwnMatch]:
        wanted = WantedMatches(reporter_id=reporter.reporter_id, after=(EPOCH, NIL, NIL), limit=50)
        reader = Reader(organisation=reporter.organisation, client="client", request_id=uuid4())
        return (await list_matches(self.db, wanted, reader, SECRETS.contact, NOW))[0]

    async def seen_by_other(self) -> list[str | None]:
        """The addresses that the other organisation sees in its matches."""
        return [match.other and match.other[0].email for match in await self.matches(self.other)]

    async def addresses(self) -> set[str | None]:
        """Where the undelivered notices of the team go."""
        rows = await self.db.fetch(
            "SELECT id FROM notify.notice WHERE reporter_id <> $1", self.other.id
        )
        return {await self.composer.recipient(self.db, row["id"]) for row in rows}

    async def letters(self) -> list[tuple[str, str]]:
        """To whom the team's letters are addressed, and whom they name."""
        rows = await self.db.fetch(
            "SELECT id FROM notify.notice WHERE reporter_id <> $1", self.other.id
        )
        written = []
        for row in rows:
            async with self.db.transaction():
                letter = await self.composer.compose(self.db, row["id"])
            if letter:
                assert isinstance(letter, MatchLetter)
                written += [(letter.recipient, item.email) for item in letter.items]
        return written
