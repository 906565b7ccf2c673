"""The decision: the one definition of a match, as pure functions over the model.

A hub is given as a mapping from its token to the instant from which on it needs a
second key (M5).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from matching.model import Kind, Match, Member, Policy, Signal, Token
from schemas.dates import local_date

Hubs = Mapping[Token, datetime]


def find_matches(pairs: Iterable[tuple[Signal, Signal]], policy: Policy, hubs: Hubs) -> list[Match]:
    """Decide on each pair; every match comes once, in canonical order."""
    found: dict[tuple[object, object], Match] = {}
    for one, other in pairs:
        kind = decide(one, other, policy, hubs)
        if kind is not None:
            a, b = sorted((one, other), key=lambda signal: signal.id)
            found[a.id, b.id] = Match(signal_a=a, signal_b=b, kind=kind)
    return sorted(found.values(), key=lambda match: (match.signal_a.id, match.signal_b.id))


def decide(a: Signal, b: Signal, policy: Policy, hubs: Hubs) -> Kind | None:
    """Tell what two signals are to each other, from these two alone (M2: never transitive)."""
    if not may_match(a, b):
        return None
    family = share_household(a, b, policy, hubs)
    if a.child is not None and b.child is not None:
        if a.child == b.child:
            return Kind.CHILD  # M1
        return Kind.HOUSEHOLD if family else None  # M2
    # M6: without both numbers it may be the same child, a brother or a sister.
    same_name = a.weak is not None and a.weak == b.weak
    return Kind.POSSIBLE if same_name or family else None


def may_match(a: Signal, b: Signal) -> bool:
    """Two people of two match units (M1, M7), both live when the later one registered (L4)."""
    later = max(a.registered_at, b.registered_at)
    return (
        a.match_unit != b.match_unit
        and a.reporter != b.reporter
        and a.persons.isdisjoint(b.persons)
        and is_live(a, later)
        and is_live(b, later)
    )


def is_live(signal: Signal, at: datetime) -> bool:
    """L1, L4: neither ended nor past its local dates, however far the sweeper is."""
    return signal.live and within_dates(signal, at)


def within_dates(dated: Signal | Member, at: datetime) -> bool:
    """A signal ends at 00:00 local time of its date."""
    today = local_date(at)
    return today < dated.remove_on and today < dated.destroy_by


def share_household(a: Signal, b: Signal, policy: Policy, hubs: Hubs) -> bool:
    """One key in common suffices, unless it is a hub: then two (M2, M5)."""
    later = max(a.registered_at, b.registered_at)
    shared = keys_in_common(a, b, policy)
    suffices_alone = any(token not in hubs or later < hubs[token] for token in shared)
    return suffices_alone or len(shared) > 1


def keys_in_common(a: Signal, b: Signal, policy: Policy) -> frozenset[Token]:
    """Household keys that both carry and the region admits (M4); blank meets nothing (M3)."""
    shared: frozenset[Token] = frozenset()
    if policy.parent_rule:
        shared |= a.parents & b.parents
    if policy.address_rule and a.address is not None and a.address == b.address:
        shared |= {a.address}
    return shared


def hub_since(members: Iterable[Member], limit: int) -> datetime | None:
    """M5: when a household token came to more than `limit` live children, if it did.

    It goes by when these signals registered, not by when a matcher looked.
    """
    arrived: list[Member] = []
    for member in sorted(members, key=lambda each: each.registered_at):
        arrived.append(member)
        live = (each for each in arrived if within_dates(each, member.registered_at))
        if len({each.child for each in live}) > limit:
            return member.registered_at
    return None
