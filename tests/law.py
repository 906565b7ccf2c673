"""The rules of matching and of a signal's life, as a lawyer would state them.

A definition of its own, which shares no code with the service: reporters, children, names,
parents and addresses are plain numbers. The service must agree with it after every step.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

AMSTERDAM = ZoneInfo("Europe/Amsterdam")
VOID_KEPT = timedelta(days=30)

Key = tuple[str, int]
Link = tuple[str, datetime]
Hubs = dict[Key, tuple[datetime, datetime]]


@dataclass(frozen=True, slots=True)
class Reporter:
    """Who a reporter is to the rules."""

    organisation: int
    match_unit: int
    person: int


@dataclass(eq=False, slots=True, kw_only=True)
class Signal:
    """A signal as its reporter knows it; `added` tells which keys came later, and when."""

    reporter: int
    match_unit: int
    child: int | None
    name: int | None
    file: str
    household: frozenset[Key]
    registered_at: datetime
    remove_on: date
    destroy_by: date
    added: dict[Key, datetime] = field(default_factory=dict)
    ground: str | None = None
    withdrawn_at: datetime | None = None
    destroyed: bool = False
    history: "frozenset[Signal] | None" = None
    opened: bool = False

    @property
    def ends_on(self) -> date:
        return min(self.remove_on, self.destroy_by)  # L1, L4

    @property
    def archive_ends_on(self) -> date:
        """L3, L4: five years after the end, unless destruction comes first."""
        withdrawn_on = dutch_date(self.withdrawn_at) if self.withdrawn_at else self.remove_on
        return min(years_later(withdrawn_on, 5), self.destroy_by)

    @property
    def best_key(self) -> Key:
        return ("name", self.name or 0) if self.child is None else ("child", self.child)

    def best_key_at(self, at: datetime) -> Key:
        """M11: by name until the number was found."""
        number_came = self.has_since(self.best_key)
        return self.best_key if number_came <= at or self.name is None else ("name", self.name)

    @property
    def keys(self) -> set[Key]:
        known = {("name", self.name), ("child", self.child)}
        return {(kind, each) for kind, each in known if each is not None} | self.household

    def has_since(self, key: Key) -> datetime:
        return self.added.get(key, self.registered_at)

    def may_match_at(self, at: datetime) -> bool:
        """L4, L7: its dates had not come then, and nobody withdrew it since."""
        return self.ground is None and not self.destroyed and dutch_date(at) < self.ends_on


@dataclass(eq=False, slots=True)
class Match:
    """Two signals; a leg that was erased is missing."""

    legs: list[Signal]
    kind: str
    made_at: datetime
    status: str = "open"
    voided_at: datetime | None = None

    def void(self, now: datetime) -> None:
        """L5: what is void stays void, since when it was."""
        self.status, self.voided_at = "void", self.voided_at or now


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
class Rules:
    """What makes two signals match, on what a region decided and on which keys are hubs."""

    reporters: Sequence[Reporter]
    hub_limit: int = 12
    address_rule: bool = False
    excluded: frozenset[Key] = frozenset()
    hubs: Hubs = field(default_factory=dict)

    def are_strangers(self, a: Signal, b: Signal) -> bool:
        """M1, M7: other people, of other match units."""
        same_person = self.reporters[a.reporter].person == self.reporters[b.reporter].person
        return a.match_unit != b.match_unit and not same_person

    def link(self, a: Signal, b: Signal, hubs: Mapping[Key, datetime]) -> Link | None:
        """M1, M2, M6: what these two are, from them alone, never by way of a third; since when."""
        common = {key: max(a.has_since(key), b.has_since(key)) for key in a.keys & b.keys}
        family = self.family_since({k: at for k, at in common.items() if self.counts(k)}, hubs)
        if a.child is not None and b.child is not None:
            if a.child == b.child:
                return "child", common["child", a.child]
            return ("household", family) if family else None
        names = [at for (kind, _), at in common.items() if kind == "name"]
        since = min([*names, *([family] if family else [])], default=None)
        return ("possible", since) if since else None

    def counts(self, key: Key) -> bool:
        """M2, M4: parents do, addresses where the region says so and none excluded it."""
        return key[0] == "parent" or (
            key[0] == "address" and self.address_rule and key not in self.excluded
        )

    def family_since(
        self, common: Mapping[Key, datetime], hubs: Mapping[Key, datetime]
    ) -> datetime | None:
        """M2, M3, M5: one key in common suffices that is no hub."""
        linking = [at for key, at in common.items() if key not in hubs or at < hubs[key]]
        return min(linking, default=None)

    def new_hubs(self, keys: Iterable[Key], signals: Iterable[Signal]) -> dict[Key, datetime]:
        """M5: a key of more than so many live children is a hub from the one too many on."""
        found = {}
        for key in set(keys) - self.hubs.keys() - self.excluded:
            living = [s for s in signals if key in s.household and not s.destroyed and not s.ground]
            changes = {s.has_since(each) for s in living for each in (key, s.best_key)}
            for at in sorted(changes, reverse=True):
                here = [s for s in living if s.has_since(key) <= at and s.may_match_at(at)]
                if len({s.best_key_at(at) for s in here}) > self.hub_limit:
                    found[key] = at
        return found

    def standing(self, match: Match, hubs: Hubs) -> dict[Key, datetime]:
        """M5: matches made before a hub was noticed stay."""
        a, b = match.legs
        return {
            key: since
            for key, (since, noticed_at) in hubs.items()
            if not max(a.has_since(key), b.has_since(key)) <= match.made_at < noticed_at
        }

    def is_history(self, new: Signal, old: Signal) -> bool:
        """L3, L6: a new reporter of the same child by number is offered what others archived."""
        if new.child is None or new.child != old.child or not self.are_strangers(new, old):
            return False
        at = new.has_since(("child", new.child))
        is_over = old.ground == "risk_gone" or (not old.ground and old.remove_on <= dutch_date(at))
        return (
            not old.destroyed
            and is_over
            and new.may_match_at(at)
            and old.registered_at < at
            and dutch_date(at) < old.archive_ends_on
        )
