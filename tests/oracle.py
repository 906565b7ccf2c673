"""What should match, by brute force over numbers: a second definition, which shares no code.

A fact is what a test registered: who, when (its place in the list), and plain numbers for
child, name, parents and address. A course is facts whose numbers change.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations

Key = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One signal as the test knows it; `came` has the step of each key that came later."""

    reporter: Hashable
    person: Hashable
    match_unit: Hashable
    child: int | None = None
    name: int | None = None
    parents: frozenset[int] = frozenset()
    address: int | None = None
    at: int | None = None
    came: Mapping[Key, int] = field(default_factory=dict)

    @property
    def keys(self) -> set[Key]:
        address = {("address", self.address)} if self.address is not None else set()
        return {("parent", each) for each in self.parents} | address


def expected(
    facts: Sequence[Fact], *, hub_limit: int = 12, address_rule: bool = False
) -> dict[tuple[int, int], str]:
    """The kind of match of each pair of places that should match."""
    placed = [replace(fact, at=place) for place, fact in enumerate(facts)]
    return pairs(placed, hub_starts(placed, hub_limit), address_rule=address_rule)


def pairs(
    facts: Sequence[Fact],
    hubs: Mapping[Key, int],
    *,
    address_rule: bool,
    excluded: frozenset[int] = frozenset(),
) -> dict[tuple[int, int], str]:
    found = {}
    for (i, a), (j, b) in combinations(enumerate(facts), 2):
        if a.reporter == b.reporter or a.person == b.person or a.match_unit == b.match_unit:
            continue
        common = a.keys & b.keys - {("address", each) for each in excluded}
        if not address_rule:
            common = {key for key in common if key[0] != "address"}
        kind = relation(a, b, common, hubs)
        if kind:
            found[i, j] = kind
    return found


def relation(a: Fact, b: Fact, common: set[Key], hubs: Mapping[Key, int]) -> str | None:
    strong = [
        key for key in common if key not in hubs or max(came(a, key), came(b, key)) < hubs[key]
    ]
    if a.child is not None and b.child is not None:
        if a.child == b.child:
            return "child"
        return "household" if strong else None
    if a.name is not None and a.name == b.name:
        return "possible"
    return "possible" if strong else None


def came(fact: Fact, key: Key) -> int:
    return fact.came.get(key, fact.at or 0)


def hub_starts(facts: Sequence[Fact], limit: int) -> dict[Key, int]:
    """The step at which each household key came to more than `limit` children."""
    starts: dict[Key, int] = {}
    for key in {key for fact in facts for key in fact.keys}:
        carriers = [fact for fact in facts if key in fact.keys]
        for step in sorted({came(fact, each) for fact in carriers for each in (key, who(fact))}):
            children = {who_then(fact, step) for fact in carriers if came(fact, key) <= step}
            if len(children) > limit:
                starts.setdefault(key, step)
    return starts


def who(fact: Fact) -> Key:
    return ("child", fact.child) if fact.child is not None else ("name", fact.name or 0)


def who_then(fact: Fact, step: int) -> Key:
    """By name, as long as the number was not found."""
    is_named = fact.name is not None and came(fact, who(fact)) > step
    return ("name", fact.name or 0) if is_named else who(fact)


@dataclass
class Course:
    """Facts, and what the population register told, as they are after so many steps."""

    hub_limit: int
    address_rule: bool
    excluded: frozenset[int]
    facts: list[Fact] = field(default_factory=list)
    told: dict[int, Fact] = field(default_factory=dict)
    hubs: dict[Key, int] = field(default_factory=dict)
    step: int = 0

    def register(self, fact: Fact) -> bool:
        """False when the reporter has that child already (M7)."""
        self.step += 1
        if self.has(fact.reporter, fact.child):
            return False
        if fact.child in self.told:
            family = self.told[fact.child]
            fact = replace(fact, parents=family.parents, address=family.address)
        self.facts.append(replace(fact, at=self.step))
        return True

    def find(self, place: int, child: int) -> bool:
        """False when the signal has a number, or the reporter has that child already (M11)."""
        self.step += 1
        fact = self.facts[place]
        if fact.child is not None or self.has(fact.reporter, child):
            return fact.child == child
        self.facts[place] = replace(
            fact, child=child, came={**fact.came, ("child", child): self.step}
        )
        if child in self.told:
            self.change(place, self.told[child])
        return True

    def rehouse(self, place: int, family: Fact) -> None:
        """What the register told stands above it (M12)."""
        self.step += 1
        if self.facts[place].child not in self.told:
            self.change(place, family)

    def tell(self, child: int, family: Fact) -> None:
        """What the register tells of a child with signals (M12)."""
        self.step += 1
        places = [place for place, fact in enumerate(self.facts) if fact.child == child]
        if places:
            self.told[child] = family
        for place in places:
            self.change(place, family)

    def change(self, place: int, family: Fact) -> None:
        """Give a signal a family; the keys that stay came when they came."""
        fact = self.facts[place]
        kept = {key: came(fact, key) for key in fact.keys}
        self.facts[place] = replace(
            fact,
            parents=family.parents,
            address=family.address,
            came={
                **{key: step for key, step in fact.came.items() if key[0] == "child"},
                **{key: kept.get(key, self.step) for key in family.keys},
            },
        )

    def has(self, reporter: Hashable, child: int | None) -> bool:
        return child is not None and any(
            (fact.reporter, fact.child) == (reporter, child) for fact in self.facts
        )

    def expected(self) -> dict[tuple[int, int], str]:
        """What is matched now; a hub is one from the first step on that it was counted."""
        self.hubs = {
            key: step
            for key, step in (hub_starts(self.facts, self.hub_limit) | self.hubs).items()
            if key[0] == "parent" or key[1] not in self.excluded
        }
        return pairs(self.facts, self.hubs, address_rule=self.address_rule, excluded=self.excluded)
