"""The rules of matching and of a signal's life, as a lawyer would state them.

A third definition, which shares no code with the service: reporters, children, names,
parents and addresses are plain numbers. The service must agree with it after every step.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from itertools import product
from zoneinfo import ZoneInfo

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
VOID_DAYS = timedelta(days=30)

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who a reporter is to the rules."""

    organisation: int
    match_unit: int
    person: int


@dataclass(eq=False, slots=True, kw_only=True)
class Signal:
    """A signal as its reporter knows it; `ground` is why it was withdrawn."""

    reporter: int
    child: int | None
    name: int | None
    file: str
    parents: frozenset[int]
    address: int | None
    registered_at: datetime
    remove_on: date
    destroy_by: date
    ground: str | None = None
    withdrawn_at: datetime | None = None
    destroyed: bool = False
    history: "set[Signal] | None" = None
    opened: bool = False

    @property
    def ends_on(self) -> date:
        return min(self.remove_on, self.destroy_by)  # L1, L4

    @property
    def archive_ends_on(self) -> date:
        """L3: five years after the end at most; an unjustified signal is never archived."""
        withdrawn_on = dutch_date(self.withdrawn_at) if self.withdrawn_at else self.remove_on
        return min(years_later(withdrawn_on, 5), self.destroy_by)

    @property
    def best_key(self) -> Key:
        return ("child", self.child) if self.child is not None else ("name", self.name or 0)


@dataclass(eq=False, slots=True)
class Match:
    """Two signals; a leg that was erased is missing."""

    legs: list[Signal]
    kind: str
    status: str = "open"


@dataclass(eq=False, slots=True)
class Notice:
    """What one reporter is told at once: matches, each with his own leg."""

    reporter: int
    tells: set[tuple[Match, Signal]]


def dutch_date(at: datetime) -> date:
    return at.astimezone(AMSTERDAM).date()


def years_later(day: date, years: int) -> date:
    leap_day = (day.month, day.day) == (2, 29)
    return date(day.year + years, 3, 1) if leap_day else day.replace(year=day.year + years)


@dataclass(slots=True)
class Law:
    """All that the rules need to know; every method is one rule, at the instant `now`."""

    reporters: Sequence[Reporter]
    now: datetime
    hub_limit: int = 12
    address_rule: bool = False
    signals: list[Signal] = field(default_factory=list)
    matches: list[Match] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    waiting: list[Signal] = field(default_factory=list)
    hubs: dict[Key, datetime] = field(default_factory=dict)

    @property
    def today(self) -> date:
        return dutch_date(self.now)

    def register(self, new: Signal) -> Signal:
        """M7: who registers the same child again gets his live signal back."""
        for own in self.signals:
            if own.reporter == new.reporter and self.is_live(own) and same_file(own, new):
                return own
        self.signals.append(new)
        self.waiting.append(new)
        return new

    def is_live(self, signal: Signal) -> bool:
        """L1, L2, L4: neither withdrawn nor at the end of its dates."""
        return not signal.destroyed and signal.ground is None and self.today < signal.ends_on

    def match(self, limit: int) -> None:
        """M9: what one turn finds is told to each reporter at once, and only once."""
        claimed = list(dict.fromkeys(self.waiting[:limit]))
        self.waiting = self.waiting[limit:]
        self.note_hubs(claimed)
        offered = {signal for signal in self.signals if signal.history is not None}
        found: list[Match] = []
        for new, other in product(claimed, [each for each in self.signals if not each.destroyed]):
            if new not in offered and self.is_history(new, other):
                new.history = {*(new.history or ()), other}
            found += self.match_pair(new, other)
        for reporter in {leg.reporter for match in found for leg in match.legs}:
            tells = {(m, leg) for m in found for leg in m.legs if leg.reporter == reporter}
            self.notices.append(Notice(reporter, tells))

    def match_pair(self, a: Signal, b: Signal) -> list[Match]:
        """M1, L4, L7: two strangers, both live when the later one came, and not withdrawn since."""
        later = max(a.registered_at, b.registered_at)
        both_live = all(s.ground is None and dutch_date(later) < s.ends_on for s in (a, b))
        known = any({*m.legs} == {a, b} and m.status != "void" for m in self.matches)
        kind = self.kind(a, b, later)
        if known or kind is None or not both_live or not self.are_strangers(a, b):
            return []
        self.matches.append(Match([a, b], kind))
        return self.matches[-1:]

    def are_strangers(self, a: Signal, b: Signal) -> bool:
        """M1, M7: other people, of other match units."""
        one, other = self.reporters[a.reporter], self.reporters[b.reporter]
        return one.match_unit != other.match_unit and one.person != other.person

    def kind(self, a: Signal, b: Signal, later: datetime) -> str | None:
        """M1, M2, M6: decided on these two alone, so never by way of a third."""
        common = set(self.family_keys(a)) & set(self.family_keys(b))
        strong = [key for key in common if key not in self.hubs or later < self.hubs[key]]
        family = len(common) >= 2 or bool(strong)  # M5
        if a.child is None or b.child is None:
            same_name = a.name is not None and a.name == b.name
            return "possible" if same_name or family else None
        if a.child == b.child:
            return "child"
        return "household" if family else None

    def family_keys(self, signal: Signal) -> list[Key]:
        """M2, M3, M4: known parents, and the address where the region says so."""
        keys = [("parent", parent) for parent in signal.parents]
        if self.address_rule and signal.address is not None:
            keys.append(("address", signal.address))
        return keys

    def note_hubs(self, claimed: Iterable[Signal]) -> None:
        """M5: a key of more than so many live children is a hub from the one too many on."""
        for key in {key for signal in claimed for key in all_keys(signal)} - self.hubs.keys():
            members = [s for s in self.signals if key in all_keys(s) and not s.destroyed]
            living = [s for s in members if s.ground is None]
            for last in sorted(living, key=lambda s: s.registered_at):
                then = dutch_date(last.registered_at)
                here = [s for s in living if s.registered_at <= last.registered_at]
                if len({s.best_key for s in here if then < s.ends_on}) > self.hub_limit:
                    self.hubs[key] = last.registered_at
                    break

    def is_history(self, new: Signal, old: Signal) -> bool:
        """L6: a new reporter of the same child by number is offered what others archived."""
        then = dutch_date(new.registered_at)
        return (
            new.child is not None
            and new.child == old.child
            and new.ground is None
            and old.registered_at < new.registered_at
            and self.are_strangers(new, old)
            and (old.ground == "risk_gone" or (old.ground is None and old.remove_on <= then))
            and then < old.archive_ends_on
        )

    def withdraw(self, signal: Signal, ground: str) -> None:
        """L2, L5: an unjustified leg voids the match, any other end closes it."""
        signal.ground, signal.withdrawn_at = ground, self.now
        for match in self.matches_of(signal):
            if ground == "unjustified":
                match.status = "void"
            elif match.status == "open":
                match.status = "closed"

    def matches_of(self, signal: Signal) -> list[Match]:
        return [match for match in self.matches if signal in match.legs]

    def sweep(self) -> list[Signal]:
        """L3, L4: destroy whose day came, what leaves the archive, and the void after 30 days."""
        return self.destroy([s for s in self.signals if not s.destroyed and self.is_due(s)])

    def is_due(self, signal: Signal) -> bool:
        if signal.ground == "unjustified" and signal.withdrawn_at:
            return signal.destroy_by <= self.today or signal.withdrawn_at < self.now - VOID_DAYS
        return signal.archive_ends_on <= self.today

    def destroy(self, signals: list[Signal]) -> list[Signal]:
        """L4: gone with their matches and with all that was to be told of them."""
        for signal in signals:
            for match in self.matches_of(signal):
                self.drop_match(match)
            self.forget(signal)
        return signals

    def erase(self, signal: Signal) -> list[Signal]:
        """L5: gone itself; the other side keeps a void match, without contact data."""
        for match in self.matches_of(signal):
            match.status = "void"
            match.legs.remove(signal)
            if not match.legs:
                self.drop_match(match)
        self.forget(signal)
        return [signal]

    def die(self, signal: Signal) -> list[Signal]:
        """S11: all signals on the child by number go; an unjustified one has no number any more."""
        same = [
            other
            for other in self.signals
            if not other.destroyed
            and (other is signal or signal.child is not None and other.child == signal.child)
            and (other is signal or "unjustified" not in (other.ground, signal.ground))
        ]
        return self.destroy(same)

    def drop_match(self, match: Match) -> None:
        self.matches.remove(match)
        for notice in self.notices:
            notice.tells = {tell for tell in notice.tells if tell[0] is not match}

    def forget(self, signal: Signal) -> None:
        signal.destroyed = True
        self.waiting = [each for each in self.waiting if each is not signal]
        for notice in self.notices:
            notice.tells = {tell for tell in notice.tells if tell[1] is not signal}
        for each in self.signals:
            if each.history is not None:
                each.history.discard(signal)

    def is_visible(self, signal: Signal) -> bool:
        return not signal.destroyed and self.today < signal.destroy_by  # L4

    def has_history(self, signal: Signal) -> bool:
        return signal.history is not None and self.is_visible(signal)

    def status(self, match: Match) -> str:
        """L1, L5: dates decide, however far the sweeper is."""
        over = any(leg.ends_on <= self.today for leg in match.legs)
        return "closed" if match.status == "open" and over else match.status

    def contact(self, match: Match, own: Signal) -> int | None:
        """L5, D2: the other reporter, as long as the match is open and no longer."""
        others = [leg.reporter for leg in match.legs if leg is not own]
        return others[0] if self.status(match) == "open" else None

    def sides(self, organisation: int) -> list[tuple[Match, Signal]]:
        """D4: an organisation sees its own sides of matches, and nothing else."""
        return [
            (match, leg)
            for match in self.matches
            for leg in match.legs
            if self.reporters[leg.reporter].organisation == organisation
            and self.is_shown(match)
        ]

    def is_shown(self, match: Match) -> bool:
        return all(self.is_visible(leg) for leg in match.legs)  # L4


def same_file(own: Signal, new: Signal) -> bool:
    """M7: the same child by number; by name only under the same file number, for twins."""
    if own.child is not None or new.child is not None:
        return own.child == new.child
    return (own.name, own.file) == (new.name, new.file)


def all_keys(signal: Signal) -> set[Key]:
    keys = {("parent", parent) for parent in signal.parents}
    return keys | ({("address", signal.address)} if signal.address is not None else set())
