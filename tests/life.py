"""The service beside the law: the same acts on real PostgreSQL and on the docket."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID, uuid4

from notify.carrier import UndeliveredError
from notify.letters import MatchLetter
from schemas.database import Db
from tests import changing, steps
from tests.docket import Docket
from tests.law import Key, Match, Notice, Signal, years_later
from tests.world import SECRETS, Somebody, registration
from vin import history, matches, retention, signals, succession, sweeper
from vin.clock import Clock
from vin.errors import DuplicateSignalError, HistoryOpenedError, OtherChildError
from vin.history import Opening
from vin.notices import NoticeComposer
from vin.reporters import Actor
from vin.retention import Ending
from vin.signals import Registered, Registration
from vin.succession import Departure

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
    """A region's database, with the ids under which it knows what is on record."""

    db: Db
    reporters: Sequence[Somebody]
    docket: Docket
    ids: dict[Signal, UUID] = field(default_factory=dict)
    matches: dict[Match, UUID] = field(default_factory=dict)
    notices: dict[Notice, UUID] = field(default_factory=dict)
    openings: dict[Signal, list[str]] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)

    @property
    def now(self) -> datetime:
        return self.docket.now

    def owner(self, signal: Signal) -> Somebody:
        return self.reporters[signal.reporter]

    def email(self, reporter: int | None) -> str | None:
        return None if reporter is None else self.reporters[reporter].email

    async def register(self, wishes: Sequence[Signal]) -> None:
        """Register in one batch; who has the child already gets that signal."""
        batch = [self.request(wish) for wish in wishes]
        async with self.db.transaction():
            answers = await signals.register_batch(self.db, batch, SECRETS, self.now)
        for wish, answer in zip(wishes, answers, strict=True):
            assert isinstance(answer, Registered)
            led = self.docket.register(wish)
            assert answer.created is (led is wish)
            assert self.ids.setdefault(led, answer.signal.id) == answer.signal.id
            assert answer.signal.remove_on == led.remove_on
            led.registered_at = answer.signal.registered_at

    def request(self, wish: Signal) -> Registration:
        """What the law fixes is left out."""
        today = self.docket.today
        asked = registration(
            self.owner(wish),
            wish.child,
            weak=wish.name,
            parents=parents_of(wish.household),
            address=address_of(wish.household),
            reference=wish.file,
        )
        return replace(
            asked,
            remove_on=wish.remove_on if wish.remove_on != years_later(today, 2) else None,
            destroy_by=wish.destroy_by if wish.destroy_by != years_later(today, 7) else None,
        )

    async def match(self, limit: int) -> None:
        """One turn of the matcher."""
        async with self.db.transaction():
            await matches.match_batch(self.db, limit, self.now)
        self.docket.match(limit)
        await self.learn_matches()

    async def learn_matches(self) -> None:
        """The new matches are those that the law makes."""
        legs = {frozenset(self.ids[leg] for leg in m.legs): m for m in self.docket.matches}
        rows = await self.db.fetch(
            "SELECT id, signal_a, signal_b FROM matching.match WHERE id <> ALL($1)",
            list(self.matches.values()),
        )
        for row in rows:
            match = legs.get(frozenset({row["signal_a"], row["signal_b"]}))
            assert match is not None, "a match that the law does not know"
            assert match not in self.matches, "a second match of one pair"
            self.matches[match] = row["id"]
        assert not set(self.docket.matches) - self.matches.keys(), "a missed match"

    async def learn_queue(self) -> None:
        """What waits for the matcher, and in which order, which the law leaves open."""
        rows = await self.db.fetch("SELECT signal_id FROM matching.match_queue ORDER BY id")
        known = {self.ids[signal]: signal for signal in self.docket.waiting}
        queued = [row["signal_id"] for row in rows]
        assert Counter(queued) == Counter(self.ids[signal] for signal in self.docket.waiting)
        self.docket.waiting = [known[each] for each in queued]

    async def find_child(self, signal: Signal, child: int) -> None:
        found = True
        try:
            await changing.find(self.db, self.ids[signal], self.owner(signal), child, now=self.now)
        except (DuplicateSignalError, OtherChildError):
            found = False
        assert self.docket.find_child(signal, child) is found

    async def replace_family(self, signal: Signal, family: frozenset[Key]) -> None:
        await changing.rehouse(
            self.db,
            self.ids[signal],
            self.owner(signal),
            parents_of(family),
            address_of(family),
            now=self.now,
        )
        self.docket.replace_family(signal, family)

    async def register_tells(self, child: int, family: frozenset[Key]) -> None:
        told = changing.relation(child, parents_of(family), address_of(family))
        await changing.relate(self.db, told, self.now)
        self.docket.register_tells(child, family)

    async def leave(self, who: int, successor: int | None) -> None:
        departure = Departure(
            self.reporters[who].reporter_id,
            None if successor is None else self.reporters[successor].reporter_id,
        )
        actor = Actor(
            organisation=self.reporters[who].organisation, client="client", request_id=uuid4()
        )
        async with self.db.transaction():
            await succession.end_reporter(self.db, departure, actor, self.now)
        self.docket.leave(who, successor)

    async def withdraw(self, signal: Signal, ground: str) -> None:
        await steps.end(self.db, self.ids[signal], self.owner(signal), ground, self.now)
        self.docket.withdraw(signal, ground)

    async def sweep(self) -> None:
        """Turns of the sweeper until nothing is due."""
        done = 1
        while done:
            done = 0
            for step in sweeper.STEPS:
                async with self.db.transaction():
                    done += await step(self.db, self.now)
        self.forget(self.docket.sweep())

    async def end(self, signal: Signal, ground: str) -> None:
        """By an operator."""
        order = Ending(signal=self.ids[signal], ground=ground, purpose="order", operator="o")
        async with self.db.transaction():
            count = await retention.end_by_operator(self.db, order, self.now)
        ended = self.docket.die(signal) if ground == "deceased" else self.docket.erase(signal)
        assert count == len(ended)
        self.forget(ended)

    def forget(self, destroyed: Sequence[Signal]) -> None:
        """From here on nothing may tell of these, nor of what came from them."""
        for signal in destroyed:
            self.gone |= {str(self.ids.pop(signal)), *self.openings.pop(signal, [])}
        for signal in [each for each in self.openings if each.history is None]:
            self.gone |= {*self.openings.pop(signal)}
        for match in self.matches.keys() - set(self.docket.matches):
            self.gone.add(str(self.matches.pop(match)))
        for notice in [each for each in self.notices if not each.tells]:
            self.gone.add(str(self.notices.pop(notice)))

    async def open_history(self, signal: Signal) -> None:
        """L6: once, by a live signal's own side; the archive as far as it is there."""
        docket, owner = self.docket, self.owner(signal)
        notice = (await steps.look(self.db, self.ids[signal], owner, self.now)).history_notice_id
        assert notice is not None
        purpose = f"purpose-{notice}"
        opening = Opening(
            organisation=owner.organisation,
            client="client",
            request_id=uuid4(),
            notice=notice,
            purpose=purpose,
        )
        shown: list[str] | None = None
        try:
            async with self.db.transaction():
                opened = await history.open_history(self.db, opening, SECRETS.contact, self.now)
            shown = sorted(contact.email for contact, _ in opened.contacts)
            self.openings[signal] = [str(notice), purpose]
        except HistoryOpenedError:
            pass
        archive = [old for old in signal.history or () if docket.is_archived(old)]
        former = {docket.standing(old.reporter) for old in archive}
        said = sorted(self.reporters[each].email for each in former if each is not None)
        assert shown == (None if signal.opened or not docket.is_live(signal) else said)
        signal.opened = signal.opened or bool(shown)

    async def read_letter(self, notice: Notice) -> None:
        """L5, D2, W3: a mail tells of what is open now, to who is there, or it waits."""
        docket = self.docket
        composer = NoticeComposer(SECRETS.contact, Stopped(at=self.now))
        told = [
            (own.file, match.kind, self.email(docket.contact(match, own)))
            for match, own in notice.tells
            if docket.is_shown(match) and docket.status(match) == "open"
        ]
        recipient = self.email(docket.standing(notice.reporter))
        items, addressee = [], None
        try:
            async with self.rolled_back():
                letter = await composer.compose(self.db, self.notices[notice])
        except UndeliveredError:
            assert told
            assert None in (recipient, *(email for _, _, email in told))
            return
        if letter is not None:
            assert isinstance(letter, MatchLetter)
            items = [(item.reference, item.kind, item.email) for item in letter.items]
            addressee = letter.recipient
        assert Counter(items) == Counter(told)
        assert addressee == (recipient if told else None)

    @asynccontextmanager
    async def rolled_back(self) -> AsyncIterator[None]:
        """Looking leaves lines in the log, which would drown the rest."""
        transaction = self.db.transaction()
        await transaction.start()
        try:
            yield
        finally:
            await transaction.rollback()


def parents_of(family: frozenset[Key]) -> list[int]:
    return sorted(number for kind, number in family if kind == "parent")


def address_of(family: frozenset[Key]) -> int | None:
    return next((number for kind, number in family if kind == "address"), None)
