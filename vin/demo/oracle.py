"""What must match, counted pair by pair from the truth; shares nothing with the matcher."""

from collections.abc import Iterable
from itertools import combinations

from vin.demo.truth import Child, Involvement

Key = tuple[str, ...]
Pair = frozenset[Key]


def signal_key(involvement: Involvement) -> Key:
    """Tell signals apart: a reporter has one per number, and one per file without a number (M7)."""
    child, reporter = involvement.child, involvement.reporter.id
    if involvement.by_name:
        return (reporter, *name_of(child), involvement.reference)
    return (reporter, child.number)


def name_of(child: Child) -> tuple[str, str, str]:
    """Give all that is known of a child without a number."""
    return child.surname, child.birth_date.isoformat(), child.sex


def expected_matches(involvements: Iterable[Involvement]) -> dict[Pair, str]:
    """Give the kind of each pair of signals that matches."""
    signals = {signal_key(each): each for each in involvements}
    kinds = {
        frozenset((one, other)): kind_of(signals[one], signals[other])
        for one, other in combinations(signals, 2)
    }
    return {pair: kind for pair, kind in kinds.items() if kind is not None}


def kind_of(one: Involvement, other: Involvement) -> str | None:
    """Tell what two signals are to each other (M1, M2, M3, M6, M7)."""
    if one.reporter.unit == other.reporter.unit or one.reporter.person == other.reporter.person:
        return None
    related = not set(one.parents).isdisjoint(other.parents)
    if one.by_name or other.by_name:
        same_name = one.by_name and other.by_name and name_of(one.child) == name_of(other.child)
        return "possible" if related or same_name else None
    if one.child.number == other.child.number:
        return "child"
    return "household" if related else None


def most_children_of_one_parent(involvements: Iterable[Involvement]) -> int:
    """Count what makes a hub (M5): with at most 12 there is none, and kind_of need not know it."""
    children: dict[str, set[Key]] = {}
    for each in involvements:
        identity = name_of(each.child) if each.by_name else (each.child.number,)
        for parent in each.parents:
            children.setdefault(parent, set()).add(identity)
    return max(map(len, children.values()), default=0)
