"""What should match, by brute force over numbers: a second definition, which shares no code.

A fact is what a test registered: who, when (its place in the list), and plain numbers for
child, name, parents and address.
"""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One signal as the test knows it."""

    reporter: Hashable
    person: Hashable
    match_unit: Hashable
    child: int | None = None
    name: int | None = None
    parents: frozenset[int] = frozenset()
    address: int | None = None


def expected(
    facts: Sequence[Fact], *, hub_limit: int = 12, address_rule: bool = False
) -> dict[tuple[int, int], str]:
    """The kind of match of each pair of places that should match."""
    hubs = hub_starts(facts, hub_limit)
    found = {}
    for (i, a), (j, b) in combinations(enumerate(facts), 2):
        if a.reporter == b.reporter or a.person == b.person or a.match_unit == b.match_unit:
            continue
        kind = relation(a, b, j, hubs, address_rule=address_rule)
        if kind:
            found[i, j] = kind
    return found


def relation(
    a: Fact, b: Fact, later: int, hubs: Mapping[object, int], *, address_rule: bool
) -> str | None:
    common: set[object] = {("parent", each) for each in a.parents & b.parents}
    if address_rule and a.address is not None and a.address == b.address:
        common.add(("address", a.address))
    strong = [key for key in common if later < hubs.get(key, len(hubs) + 10**9)]
    family = len(common) >= 2 or bool(strong)
    if a.child is not None and b.child is not None:
        if a.child == b.child:
            return "child"
        return "household" if family else None
    if a.name is not None and a.name == b.name:
        return "possible"
    return "possible" if family else None


def hub_starts(facts: Sequence[Fact], limit: int) -> dict[object, int]:
    """The place at which each household key came to more than `limit` children."""
    children: dict[object, set[object]] = {}
    starts: dict[object, int] = {}
    for place, fact in enumerate(facts):
        keys: list[object] = [("parent", each) for each in fact.parents]
        if fact.address is not None:
            keys.append(("address", fact.address))
        for key in keys:
            who = ("child", fact.child) if fact.child is not None else ("name", fact.name)
            children.setdefault(key, set()).add(who)
            if len(children[key]) > limit:
                starts.setdefault(key, place)
    return starts
