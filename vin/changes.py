"""Use cases on a living signal's keys: the child's number is found, the household is another.

What changed is decided on anew in the same commit (M11, M12): a match that rests on nothing
any more is void, and the matcher looks for new ones. Locks go from signals to matches, each
kind in the order of ids, as the withdrawal takes them.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from matching import hub_store
from matching import store as matching_store
from matching.model import Hub, Link, Role, SignalId
from matching.rules import find_link, standing_hubs, within_dates
from schemas.database import Db
from schemas.dates import local_date
from vin import audit, carried, change_store, registry, relation_store, store
from vin.audit import Entry, Event
from vin.change_store import OpenMatch, OwnKeys
from vin.crypto.pseudonym import Token
from vin.crypto.sign import Permit
from vin.errors import (
    DuplicateSignalError,
    NotEntitledError,
    NotFoundError,
    OtherChildError,
    PermitRefusedError,
    PermitSpentError,
    SignalEndedError,
    UnavailableError,
)

PermitShown = Permit | PermitRefusedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """Who changes keys, for the log."""

    kind: Literal["client", "system"]
    name: str
    request_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildFound:
    """A request to add the number of the child to an own signal that was registered by name."""

    organisation: UUID
    actor: Actor
    signal: UUID
    child: Token = field(repr=False)
    permit: PermitShown = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HouseholdReplaced:
    """A request to replace all household keys of an own signal; none at all need no permit."""

    organisation: UUID
    actor: Actor
    signal: UUID
    household: Sequence[tuple[Role, Token]] = field(repr=False)
    permit: PermitShown | None = field(repr=False)


async def find_child(db: Db, request: ChildFound, now: datetime) -> None:
    """M11: add the number that was found; the signal's dates stay. Twice is as good as once."""
    own = await lock_changeable(db, request, now)
    if own.child == request.child.lookup:
        return
    if own.child is not None:
        raise OtherChildError
    claim = (own.reporter, request.child.lookup, own.signal)
    if not await store.claim_children(db, [claim], local_date(now)):
        raise DuplicateSignalError
    await change_store.insert_child(db, own.signal, request.child, now)
    lost = await relation_store.take_relations(db, [own.signal], now)
    await settle(db, [own.signal], lost, request.actor, now)
    await audit.append(db, now, [signal_entry(Event.SIGNAL_CHILD_FOUND, request)])


async def replace_household(db: Db, request: HouseholdReplaced, now: datetime) -> None:
    """M12: give a signal other household keys; what the register told of a child stands above."""
    own = await lock_changeable(db, request, now)
    if own.child is None or not await relation_store.is_known(db, own.child):
        lost = await change_store.replace_household(db, own.signal, request.household, now)
        await settle(db, [own.signal], lost, request.actor, now)
    await audit.append(db, now, [signal_entry(Event.SIGNAL_HOUSEHOLD_REPLACED, request)])


async def lock_changeable(
    db: Db, request: ChildFound | HouseholdReplaced, now: datetime
) -> OwnKeys:
    """Lock an own live signal of a reporter who may register (W1), and spend the permit.

    Reporters are locked before signals, as by who succeeds one (`vin.succession`); the signal
    that a colleague got meanwhile is asked for again.
    """
    today = local_date(now)
    reporter = await change_store.select_reporter(db, request.signal, request.organisation, today)
    if reporter is None:
        raise NotFoundError
    name = (await registry.select_reporter_ids(db, [reporter]))[reporter]
    key = (request.organisation, name)
    entitled = (await registry.entitle(db, [key], today)).get(key)
    own = await change_store.lock_own(db, request.signal, reporter, today)
    if own is None:
        raise UnavailableError
    if own.status == "ended":
        raise SignalEndedError
    if entitled is None or not entitled.entitled:
        raise NotEntitledError
    if request.permit is not None:
        await spend_permit(db, request.permit, name)
    return own


async def spend_permit(db: Db, permit: PermitShown, reporter_id: str) -> None:
    """Spend the reporter's own permit, once ever; undone with the caller's transaction."""
    if isinstance(permit, PermitRefusedError):
        raise permit
    if permit.reporter_id != reporter_id:
        message = "The permit is another's."
        raise PermitRefusedError(message)
    if not await store.spend_permits(db, [(permit.id, permit.expires_at)]):
        raise PermitSpentError


async def settle(
    db: Db, signals: Collection[UUID], lost: Collection[UUID], actor: Actor, now: datetime
) -> None:
    """Decide anew on the matches of locked signals whose keys changed, and have more looked for.

    `lost` are the tokens that they carry no more.
    """
    verdicts = await decide_again(db, signals, now)
    await change_store.update_matches(db, verdicts, now)
    await store.enqueue(db, signals)
    await audit.append(db, now, [match_entry(match, link, actor) for match, link in verdicts])
    await carried.forget_uncarried(db, lost)


async def decide_again(
    db: Db, signals: Collection[UUID], now: datetime
) -> list[tuple[OpenMatch, Link | None]]:
    """The open matches that the keys as they are now make another kind of, or none.

    Whether the two may match was settled when they did. A match with a side whose date has
    come is closed already, however far the sweeper is.
    """
    matches = await change_store.lock_open_matches(db, signals)
    if not matches:
        return []
    sides = {side for match in matches for side in (match.signal_a, match.signal_b)}
    legs = await matching_store.read_signals(db, sides)
    living = {SignalId(each.id): each for each in legs.values() if within_dates(each, now)}
    policy = await matching_store.select_policy(db)
    policy = await hub_store.with_excluded(db, policy, living.values())
    # The matcher records hubs; here they count from the moment that they are one.
    crowded = await hub_store.find_hubs(db, [SignalId(each) for each in signals], policy.hub_limit)
    hubs = {token: Hub(since, now) for token, since in crowded.items()}
    hubs |= await hub_store.select_hubs(db, living.values())
    verdicts: list[tuple[OpenMatch, Link | None]] = []
    for match in matches:
        if match.signal_a in living and match.signal_b in living:
            a, b = living[match.signal_a], living[match.signal_b]
            link = find_link(a, b, policy, standing_hubs(a, b, hubs, match.matched_at))
            if link is None or link.kind is not match.kind:
                verdicts.append((match, link))
    return verdicts


def match_entry(match: OpenMatch, link: Link | None, actor: Actor) -> Entry:
    """The log of a match that changed with its signals' keys."""
    return Entry(
        event=Event.MATCH_CHANGED,
        actor_kind=actor.kind,
        actor=actor.name,
        object_kind="match",
        object_id=match.id,
        request_id=actor.request_id,
        detail={
            "number": match.number,
            "kind": link.kind if link else match.kind,
            "status": "open" if link else "void",
        },
    )


def signal_entry(event: Event, request: ChildFound | HouseholdReplaced) -> Entry:
    """The log of one change; it tells of no key."""
    return Entry(
        event=event,
        actor_kind=request.actor.kind,
        actor=request.actor.name,
        object_kind="signal",
        object_id=request.signal,
        request_id=request.actor.request_id,
    )
