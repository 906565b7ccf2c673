"""The decision: the one definition of a match, as pure functions over the model.

A hub is given as a mapping from its token to the instant from which on it needs a
second key, which is no hub (M5).
"""

from collections.abc import Iterable, Mapping
from datetime import datetime

from matching.model import (
    Hub,
    Kind,
    Link,
    Match,
    Member,
    Policy,
    Signal,
    SignalId,
    Status,
    Token,
)
from schemas.dates import ARCHIVE_YEARS, local_date, years_after

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
    link = find_link(a, b, policy, hubs)
    return link.kind if link and may_match(a, b, link.since) else None


def find_link(a: Signal, b: Signal, policy: Policy, hubs: Hubs) -> Link | None:
    """What two signals are to each other by their keys alone."""
    family = family_since(a, b, policy, hubs)
    if a.child is not None and b.child is not None:
        if a.child == b.child:
            return Link(Kind.CHILD, both_since(a, b, a.child))  # M1
        return Link(Kind.HOUSEHOLD, family) if family else None  # M2
    # M6: without both numbers it may be the same child, a brother or a sister.
    name = both_since(a, b, a.weak) if a.weak is not None and a.weak == b.weak else None
    since = min((at for at in (name, family) if at is not None), default=None)
    return Link(Kind.POSSIBLE, since) if since else None


def both_since(a: Signal, b: Signal, token: Token) -> datetime:
    """When the later of two signals that share a key got it."""
    return max(a.arrived_at(token), b.arrived_at(token))


def may_match(a: Signal, b: Signal, at: datetime) -> bool:
    """Two people of two match units (M1, M7), both live when the link came about (L4)."""
    return are_strangers(a, b) and is_live(a, at) and is_live(b, at)


def are_strangers(a: Signal, b: Signal) -> bool:
    """Two people (M7) of two match units (M1); an organisation may have several (M8)."""
    return (
        a.match_unit != b.match_unit
        and a.reporter != b.reporter
        and a.persons.isdisjoint(b.persons)
    )


def is_live(signal: Signal, at: datetime) -> bool:
    """L1, L4: neither ended nor past its local dates, however far the sweeper is."""
    return signal.live and within_dates(signal, at)


def within_dates(dated: Signal | Member, at: datetime) -> bool:
    """A signal ends at 00:00 local time of its date."""
    today = local_date(at)
    return today < dated.remove_on and today < dated.destroy_by


def status_at(match: Match, at: datetime) -> Status:
    """L5: a match that is made late, with a side that is over by then, is closed."""
    both = is_live(match.signal_a, at) and is_live(match.signal_b, at)
    return Status.OPEN if both else Status.CLOSED


def find_history(pairs: Iterable[tuple[Signal, Signal]]) -> dict[SignalId, set[SignalId]]:
    """L6: which new signals meet which signals in the archive."""
    found: dict[SignalId, set[SignalId]] = {}
    for new, old in pairs:
        if is_history(new, old):
            found.setdefault(new.id, set()).add(old.id)
    return found


def is_history(new: Signal, old: Signal) -> bool:
    """The same child by number, registered earlier by somebody else, and archived since."""
    if new.child is None or new.child != old.child:
        return False
    at = new.arrived_at(new.child)
    return (
        is_live(new, at)
        and old.registered_at < at
        and are_strangers(new, old)
        and is_archived(old, at)
    )


def is_archived(signal: Signal, at: datetime) -> bool:
    """L3: ended by its date or because the risk was gone, less than five years ago."""
    today = local_date(at)
    ends = years_after(signal.remove_on, ARCHIVE_YEARS) if signal.live else signal.archive_until
    over = not signal.live or signal.remove_on <= today
    return over and ends is not None and today < ends and today < signal.destroy_by


def family_since(a: Signal, b: Signal, policy: Policy, hubs: Hubs) -> datetime | None:
    """When two signals came to share a household: by a key that was no hub then (M2, M5).

    So a hub takes a second key, and another hub is none: who shares one shelter may share two.
    """
    shared = {token: both_since(a, b, token) for token in keys_in_common(a, b, policy)}
    linking = [at for token, at in shared.items() if token not in hubs or at < hubs[token]]
    return min(linking, default=None)


def keys_in_common(a: Signal, b: Signal, policy: Policy) -> frozenset[Token]:
    """Household keys that both carry and the region admits (M4); blank meets nothing (M3)."""
    shared: frozenset[Token] = frozenset()
    if policy.parent_rule:
        shared |= a.parents & b.parents
    if policy.address_rule and a.address is not None and a.address == b.address:
        shared |= {a.address} - policy.excluded
    return shared


def standing_hubs(a: Signal, b: Signal, hubs: Mapping[Token, Hub], matched_at: datetime) -> Hubs:
    """The hubs that weigh on a match that exists: none that it was made by and that came after."""
    shared = a.household & b.household & hubs.keys()
    return {
        token: hubs[token].since
        for token in shared
        if not both_since(a, b, token) <= matched_at < hubs[token].recorded_at
    }


def hub_since(members: Iterable[Member], limit: int) -> datetime | None:
    """M5: when a household token came to more than `limit` live children, if it did.

    It depends on when signals got their keys, not on when a matcher looked.
    """
    known = list(members)
    moments = {at for each in known for at in (each.arrived_at, each.found_at) if at}
    for at in sorted(moments):
        here = (each for each in known if each.arrived_at <= at and within_dates(each, at))
        if len({each.child_at(at) for each in here}) > limit:
            return at
    return None
