"""The service beside the law: the same steps on real PostgreSQL, and a comparison of all that shows."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from schemas.database import Db
from tests.law import Law, Match, Notice, Signal, all_keys, years_later
from tests.strategies import uuid_of
from tests.world import SECRETS, Somebody, registration
from vin import history, matches, retention, signals, sweeper
from vin.clock import Clock
from vin.errors import HistoryOpenedError
from vin.history import Opening
from vin.matches import Reader
from vin.notices import NoticeComposer
from vin.retention import Ending
from vin.signals import Registered, Withdrawal

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NIL = UUID(int=0)
FAMILIES = {"child": 1, "name": 2, "parent": 3, "address": 4}
NUMBERS = range(1, 4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stopped(Clock):
    """A clock that stands still."""

    at: datetime

    async def now(self, db: Db) -> datetime:
        del db
        return self.at


@dataclass(slots=True)
class Life:
    """A region's database, with the ids under which it knows what the law speaks of."""

    db: Db
    reporters: Sequence[Somebody]
    law: Law
    ids: dict[Signal, UUID] = field(default_factory=dict)
    matches: dict[Match, UUID] = field(default_factory=dict)
    notices: dict[Notice, UUID] = field(default_factory=dict)
    openings: dict[Signal, list[str]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    async def register(self, wishes: Sequence[Signal]) -> None:
        """Register in one batch; who has the child already gets that signal."""
        batch = [self.request(wish) for wish in wishes]
        async with self.db.transaction():
            answers = await signals.register_batch(self.db, batch, SECRETS, self.law.now)
        for wish, answer in zip(wishes, answers, strict=True):
            assert isinstance(answer, Registered)
            led = self.law.register(wish)
            assert answer.created is (led is wish)
            assert self.ids.setdefault(led, answer.signal.id) == answer.signal.id
            assert answer.signal.remove_on == led.remove_on
            led.registered_at = answer.signal.registered_at

    def request(self, wish: Signal) -> signals.Registration:
        today = self.law.today
        return replace(
            registration(
                self.reporters[wish.reporter],
                wish.child,
                weak=wish.name,
                parents=sorted(wish.parents),
                address=wish.address,
                reference=wish.file,
            ),
            remove_on=wish.remove_on if wish.remove_on != years_later(today, 2) else None,
            destroy_by=wish.destroy_by if wish.destroy_by != years_later(today, 7) else None,
        )

    async def match(self, limit: int) -> None:
        async with self.db.transaction():
            await matches.match_batch(self.db, limit, self.law.now)
        self.law.match(limit)
        await self.learn_matches()
        await self.learn_notices()

    async def learn_matches(self) -> None:
        """The new matches are those that the law makes, of the kinds that it says."""
        legs = {frozenset((self.ids[leg]) for leg in m.legs): m for m in self.law.matches}
        rows = await self.db.fetch(
            "SELECT id, signal_a, signal_b, kind FROM matching.match WHERE id <> ALL($1)",
            list(self.matches.values()),
        )
        for row in rows:
            match = legs.get(frozenset({row["signal_a"], row["signal_b"]}))
            assert match is not None, "a match that the law does not know"
            assert match not in self.matches, "a second match of one pair"
            self.matches[match] = row["id"]
        missed = [match for match in self.law.matches if match not in self.matches]
        assert not missed, "a match that the service missed"

    async def learn_notices(self) -> None:
        """M9: each reporter has one notice on what this turn found, under an id of its own."""
        rows = await self.db.fetch(
            """
            SELECT notice.id, reporter_id, array_agg(ARRAY[match_id, signal_id]) AS tells,
                   (SELECT count(*) FROM notify.delivery WHERE notice_id = notice.id) AS mails
              FROM notify.notice
              JOIN notify.notice_match ON notice_id = notice.id
             GROUP BY notice.id
            """
        )
        found = {
            (row["reporter_id"], frozenset((match, leg) for match, leg in row["tells"])): row
            for row in rows
        }
        assert len(found) == len(rows)
        said = {self.told(notice): notice for notice in self.law.notices if notice.tells}
        assert found.keys() == said.keys(), "notices differ from the law's"
        for told, row in found.items():
            assert row["mails"] == 1
            assert self.notices.setdefault(said[told], row["id"]) == row["id"]

    def told(self, notice: Notice) -> tuple[UUID, frozenset[tuple[UUID, UUID]]]:
        tells = frozenset((self.matches[match], self.ids[leg]) for match, leg in notice.tells)
        return self.reporters[notice.reporter].id, tells

    async def withdraw(self, signal: Signal, ground: str) -> None:
        request = Withdrawal(
            organisation=self.reporters[signal.reporter].organisation,
            client="client",
            request_id=uuid4(),
            signal=self.ids[signal],
            ground=ground,
        )
        async with self.db.transaction():
            await signals.withdraw(self.db, request, self.law.now)
        self.law.withdraw(signal, ground)

    async def sweep(self) -> None:
        """Turns of the sweeper until nothing is due."""
        done = 1
        while done:
            done = 0
            for step in sweeper.STEPS:
                async with self.db.transaction():
                    done += await step(self.db, self.law.now)
        await retention.forget_old(self.db)
        await self.forget(self.law.sweep())

    async def end(self, signal: Signal, ground: str) -> None:
        order = Ending(signal=self.ids[signal], ground=ground, purpose="p", operator="o")
        async with self.db.transaction():
            count = await retention.end_by_operator(self.db, order, self.law.now)
        ended = self.law.die(signal) if ground == "deceased" else self.law.erase(signal)
        assert count == len(ended)
        await self.forget(ended)

    async def forget(self, destroyed: Sequence[Signal]) -> None:
        """From here on nothing may tell of these, nor of what came from them."""
        for signal in destroyed:
            self.gone |= {str(self.ids.pop(signal)), *self.openings.pop(signal, [])}
        for match in self.matches.keys() - set(self.law.matches):
            self.gone.add(str(self.matches.pop(match)))
        for notice in [each for each in self.notices if not each.tells]:
            self.gone.add(str(self.notices.pop(notice)))

    async def open_history(self, signal: Signal) -> None:
        """L6: once, by a live signal's own side; the archive as far as it is there."""
        law, owner = self.law, self.reporters[signal.reporter].organisation
        own = await signals.read_signal(
            self.db, self.ids[signal], owner, SECRETS.contact, law.now
        )
        assert own.history_notice_id is not None
        purpose = f"purpose-{uuid4()}"
        opening = Opening(
            organisation=owner,
            client="client",
            request_id=uuid4(),
            notice=own.history_notice_id,
            purpose=purpose,
        )
        shown: list[str] | None = None
        try:
            async with self.db.transaction():
                opened = await history.open_history(self.db, opening, SECRETS.contact, law.now)
            shown = sorted(contact.email for contact, _ in opened.contacts)
            self.openings[signal] = [purpose]
        except HistoryOpenedError:
            pass
        archive = [old for old in signal.history or () if law.today < old.archive_ends_on]
        said = sorted(self.reporters[old.reporter].email for old in archive)
        assert shown == (None if signal.opened or not law.is_live(signal) else said)
        signal.opened = True

    async def read_letter(self, notice: Notice) -> None:
        """L5, D2: a mail tells of the matches that are open at this moment."""
        law = self.law
        composer = NoticeComposer(SECRETS.contact, Stopped(at=law.now))
        async with self.rolled_back():
            letter = await composer.compose(self.db, self.notices[notice])
        said = sorted(
            (own.file, match.kind, self.reporters[other].email)
            for match, own in notice.tells
            if law.is_shown(match) and (other := law.contact(match, own)) is not None
        )
        items = letter.items if letter else []
        assert sorted((item.reference, item.kind, item.email) for item in items) == said
        assert letter is None or letter.recipient == self.reporters[notice.reporter].email

    @asynccontextmanager
    async def rolled_back(self) -> AsyncIterator[None]:
        """Looking leaves lines in the log, which would drown the rest."""
        transaction = self.db.transaction()
        await transaction.start()
        try:
            yield
        finally:
            await transaction.rollback()

    async def compare(self) -> None:
        """What every organisation sees, and what the whole database holds."""
        async with self.rolled_back():
            for organisation, owner in enumerate(dict.fromkeys(r.organisation for r in self.reporters)):
                await self.compare_signals(organisation, owner)
                await self.compare_matches(organisation, owner)
        await self.compare_traces()

    async def compare_signals(self, organisation: int, owner: UUID) -> None:
        wanted = signals.Wanted(
            organisation=owner, reporter_id=None, after=(EPOCH, NIL), limit=200
        )
        shown, _ = await signals.list_signals(self.db, wanted, SECRETS.contact, self.law.now)
        seen = [(each.id, each.status, each.history_notice_id is not None) for each in shown]
        said = [
            (self.ids[s], "live" if self.law.is_live(s) else "ended", s.history is not None)
            for s in self.law.signals
            if self.law.is_visible(s)
            and self.law.reporters[s.reporter].organisation == organisation
        ]
        assert seen == said, "own signals"

    async def compare_matches(self, organisation: int, owner: UUID) -> None:
        wanted = matches.Wanted(reporter_id=None, after=(EPOCH, NIL, NIL), limit=200)
        reader = Reader(organisation=owner, client="client", request_id=NIL)
        shown, _ = await matches.list_matches(
            self.db, wanted, reader, SECRETS.contact, self.law.now
        )
        seen = {
            (each.id, each.signal): (each.kind, each.status, each.other and each.other[0].email)
            for each in shown
        }
        said = {}
        for match, own in self.law.sides(organisation):
            other = self.law.contact(match, own)
            email = None if other is None else self.reporters[other].email
            said[self.matches[match], self.ids[own]] = (match.kind, self.law.status(match), email)
        assert seen == said, "own matches"

    async def compare_traces(self) -> None:
        """L3, L4: what was destroyed is nowhere, nor a token that nobody carries any more."""
        carried = {
            uuid_of(FAMILIES[family], number)
            for signal in self.ids
            if signal.ground != "unjustified"
            for family, number in {signal.best_key, *all_keys(signal)}
        }
        tokens = {uuid_of(f, number) for f in FAMILIES.values() for number in NUMBERS}
        traces = self.gone | {str(each) for each in tokens - carried}
        found = [row for row in await everything(self.db) if any(each in row for each in traces)]
        assert found == [], "traces of what is gone"


async def everything(db: Db) -> list[str]:
    """All rows of all tables as text, each with its table."""
    query = await db.fetchval(
        """
        SELECT string_agg(
                   format('SELECT %L || t::text AS row FROM %I.%I AS t', tablename, schemaname, tablename),
                   ' UNION ALL ')
          FROM pg_tables
         WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
        """
    )
    return [row["row"] for row in await db.fetch(query)]
