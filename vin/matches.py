"""Use cases on matches: claim and match, list, read, and tell an administrator their story."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from uuid import UUID, uuid4

from matching import history_store, hub_store, number, store
from matching.model import (
    Kind,
    MadeMatch,
    MatchId,
    OrganisationId,
    Policy,
    ReporterId,
    Signal,
    SignalId,
    Status,
)
from matching.rules import find_history, find_matches
from notify import ledger
from notify.ledger import NewNotice
from schemas.database import Db
from schemas.dates import local_date
from vin import (
    audit,
    follow_up,
    match_store,
    outcome_store,
    registry,
    relation_store,
    relations,
    webhook_store,
)
from vin.audit import Entry, Event
from vin.contacts import Contact
from vin.crypto.seal import DataKeys
from vin.errors import AmbiguousSideError, NotFoundError
from vin.match_store import Side, SideKey
from vin.outcome_store import Said
from vin.registry import SealedContact
from vin.signals import reference_binding

MATCHER = "matcher"


async def match_batch(db: Db, limit: int, now: datetime) -> int:
    """Claim waiting signals, find their matches, and write a notice for each side.

    Returns how many signals were claimed. The order of statements is what M10 rests on: see
    `matching.store`. Who waits longest decides whether the turn is on families or on matches;
    the others keep their places, so nothing that comes later keeps anyone waiting (M12).
    """
    claimed = await store.claim_queued(db, limit)
    if not claimed:
        return 0
    outdated = await relation_store.select_outdated(db, claimed)
    if next(iter(claimed)) in outdated:
        done: Sequence[UUID] = await relations.renew_waiting(db, claimed, now)
    else:
        done = await match_claimed(db, [each for each in claimed if each not in outdated], now)
    await store.delete_queued(db, [row for each in done for row in claimed[SignalId(each)]])
    return len(claimed)


async def match_claimed(db: Db, claimed: Sequence[SignalId], now: datetime) -> list[SignalId]:
    """Match claimed signals. Those that it was done with: no more those whose family changed."""
    policy = await store.select_policy(db)
    await record_hubs(db, claimed, policy, now)
    pairs = await lock_pairs(db, claimed)
    # Whoever changes a family has its child's signals locked: only now is what he did in sight.
    outdated = set(await relation_store.select_outdated(db, claimed))
    done = [each for each in claimed if each not in outdated]
    pairs = [pair for pair in pairs if outdated.isdisjoint(each.id for each in pair)]
    made = await make_matches(db, pairs, policy, now)
    notices = notices_for(made, await webhook_store.select_enabled(db, organisations_of(made)))
    await store.mark_processed(db, done, now)
    into = await ledger.append(db, notices, now, await registry.select_digest(db))
    await follow_up.start(db, [each.id for each in made], now)
    await audit.append(db, now, match_entries(made, notices, into))
    return done


async def record_hubs(db: Db, claimed: Sequence[SignalId], policy: Policy, now: datetime) -> None:
    """M5: note household tokens that came to more children than the region's limit."""
    hubs = await hub_store.find_hubs(db, claimed, policy.hub_limit)
    if hubs:
        recorded = await hub_store.insert_hubs(db, hubs, now)
        await audit.append(db, now, [system_entry(Event.HUB_RECORDED, "hub")] * recorded)


async def lock_pairs(db: Db, claimed: Sequence[SignalId]) -> list[tuple[Signal, Signal]]:
    """Narrow in SQL, and keep others from changing what may match."""
    candidates = await store.select_candidates(db, claimed)
    signals = await store.lock_signals(db, {each for pair in candidates for each in pair})
    return [
        (signals[one], signals[other])
        for one, other in candidates
        if one in signals and other in signals
    ]


async def make_matches(
    db: Db, pairs: Sequence[tuple[Signal, Signal]], policy: Policy, now: datetime
) -> list[MadeMatch]:
    """Decide in Python on locked pairs, and write."""
    signals = {each.id: each for pair in pairs for each in pair}
    await note_history(db, pairs, now)
    policy = await hub_store.with_excluded(db, policy, signals.values())
    hubs = await hub_store.select_hubs(db, signals.values())
    since = {token: hub.since for token, hub in hubs.items()}
    drafts = [
        MadeMatch(id=MatchId(uuid4()), number=number.draw(), match=match)
        for match in find_matches(pairs, policy, since)
    ]
    return await store.insert_matches(db, drafts, now)


async def note_history(db: Db, pairs: Sequence[tuple[Signal, Signal]], now: datetime) -> None:
    """L6: tell new reporters, and nobody else, that there is an archived signal.

    Who matched with a signal before it ended knows of it already.
    """
    history = find_history(pairs)
    if history:
        history = await history_store.leave_out_matched(db, history)
        noticed = await history_store.insert_history(db, history, now)
        entries = [system_entry(Event.HISTORY_NOTICED, "history_notice", each) for each in noticed]
        await audit.append(db, now, entries)


def organisations_of(made: Iterable[MadeMatch]) -> set[UUID]:
    """Whose signals matched."""
    return {
        signal.organisation
        for each in made
        for signal in (each.match.signal_a, each.match.signal_b)
    }


def notices_for(
    made: Iterable[MadeMatch], webhooks: Mapping[UUID, Sequence[UUID]]
) -> list[NewNotice]:
    """M9: one notice for each reporter, with all that this transaction found for him.

    His organisation's webhooks are told the same.
    """
    sides: dict[tuple[ReporterId, OrganisationId], list[tuple[UUID, UUID]]] = defaultdict(list)
    for each in made:
        for signal in (each.match.signal_a, each.match.signal_b):
            sides[signal.reporter, signal.organisation].append((each.id, signal.id))
    return [
        NewNotice(uuid4(), reporter, matches, party, webhooks.get(party, ()))
        for (reporter, party), matches in sorted(sides.items())
    ]


def match_entries(
    made: Iterable[MadeMatch], notices: Iterable[NewNotice], into: Mapping[UUID, UUID]
) -> list[Entry]:
    """The log of what was found, and of the notices that tell it."""
    telling = defaultdict(list)
    for notice in notices:
        for match, _ in notice.matches:
            telling[match].append(str(into[notice.id]))
    return [
        system_entry(
            Event.MATCH_MADE,
            "match",
            each.id,
            {
                "number": each.number,
                "kind": each.match.kind,
                "signals": [str(each.match.signal_a.id), str(each.match.signal_b.id)],
                "notices": telling[each.id],
            },
        )
        for each in made
    ]


def system_entry(
    event: Event,
    object_kind: str,
    object_id: UUID | None = None,
    detail: dict[str, str | int | bool | list[str]] | None = None,
) -> Entry:
    """An entry of which the matcher is the actor."""
    return Entry(
        event=event,
        actor_kind="system",
        actor=MATCHER,
        object_kind=object_kind,
        object_id=object_id,
        detail=detail or {},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnMatch:
    """A match as one side sees it; `other` is whom to contact, of which organisation (L5).

    Of what the other side said nothing is known of a void match.
    """

    id: UUID
    number: str
    kind: Kind
    signal: UUID
    reference: str = field(repr=False)
    matched_at: datetime
    status: Status
    other: tuple[Contact, str] | None = field(repr=False)
    own_outcome: Said | None = None
    other_outcome: Said | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """Who reads contact data, for the log."""

    organisation: UUID
    client: str
    request_id: UUID


async def read_match(
    db: Db, number: str, signal: UUID | None, reader: Reader, keys: DataKeys, now: datetime
) -> OwnMatch:
    """One side of a match; AmbiguousSideError when both are the reader's own and none is named."""
    side = await own_side(db, number, signal, reader)
    shown = await open_sides(db, [side], reader, keys, now)
    if not shown:
        raise NotFoundError
    return shown[0]


async def own_side(db: Db, number: str, signal: UUID | None, reader: Reader) -> SideKey:
    """Which side of a match is the reader's own, or the one that he names."""
    sides = await match_store.select_by_number(db, reader.organisation, number)
    named = [side for side in sides if signal in (None, side[1])]
    if not named:
        raise NotFoundError
    if len(named) > 1:
        raise AmbiguousSideError
    return named[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A page of matches: after which (matched at, match, signal), and how many."""

    reporter_id: str | None
    after: tuple[datetime, UUID, UUID]
    limit: int


async def list_matches(
    db: Db, wanted: Wanted, reader: Reader, keys: DataKeys, now: datetime
) -> tuple[list[OwnMatch], bool]:
    """The next matches, oldest first, and whether more follow; an unknown reporter has none."""
    reporter = None
    if wanted.reporter_id is not None:
        reporter = await registry.select_reporter(db, reader.organisation, wanted.reporter_id)
        if reporter is None:
            return [], False
    while True:
        sides = await match_store.select_page(
            db, reader.organisation, reporter, wanted.after, wanted.limit + 1, now
        )
        items = await open_sides(db, sides[: wanted.limit], reader, keys, now)
        more = len(sides) > wanted.limit
        # Where all of a page was destroyed meanwhile, nothing would tell where the next begins.
        if items or not more:
            return items, more


async def open_sides(
    db: Db, page: Sequence[SideKey], reader: Reader, keys: DataKeys, now: datetime
) -> list[OwnMatch]:
    """Show own sides, with the others' contact data where open (L5); each opening is logged.

    None can be destroyed before the log is written: what is destroyed leaves the log too (G3).
    """
    await match_store.share_matches(db, {match for match, _ in page})
    sides = await match_store.select_sides(db, page, now)
    takes_part = await registry.has_agreement(db, reader.organisation, local_date(now))
    opened = [side for side in sides if takes_part and side.status is Status.OPEN]
    others = {side.other_reporter for side in opened if side.other_reporter is not None}
    contacts = await registry.select_contacts(db, others, local_date(now))
    await audit.append(db, now, [opening_entry(side, reader) for side in opened])
    outcomes = await outcome_store.select_outcomes(db, {side.match for side in sides})
    return [
        with_outcomes(show(side, contact_of(side, contacts), keys), side, outcomes)
        for side in sides
    ]


def with_outcomes(match: OwnMatch, side: Side, outcomes: Mapping[SideKey, Said]) -> OwnMatch:
    """Add what the sides said happened (A1)."""
    other = None
    if side.other_signal is not None and side.status is not Status.VOID:
        other = outcomes.get((side.match, side.other_signal))
    own = outcomes.get((side.match, side.signal))
    return replace(match, own_outcome=own, other_outcome=other)


def contact_of(side: Side, contacts: Mapping[UUID, SealedContact]) -> SealedContact | None:
    """Whom an open side may contact; nobody once the match has ended (L5)."""
    if side.status is not Status.OPEN or side.other_reporter is None:
        return None
    return contacts.get(side.other_reporter)


def show(side: Side, sealed: SealedContact | None, keys: DataKeys) -> OwnMatch:
    """Open what one side may see: its own reference, and the other's contact data if given."""
    reference = keys.open(side.reference, reference_binding(side.signal, side.organisation))
    return OwnMatch(
        id=side.match,
        number=side.number,
        kind=side.kind,
        signal=side.signal,
        reference=reference.decode(),
        matched_at=side.matched_at,
        status=side.status,
        other=(sealed.open(keys), sealed.organisation_name) if sealed else None,
    )


def opening_entry(side: Side, reader: Reader) -> Entry:
    """The log of one look at another's contact data."""
    return Entry(
        event=Event.CONTACT_OPENED,
        actor_kind="client",
        actor=reader.client,
        object_kind="match",
        object_id=side.match,
        request_id=reader.request_id,
        detail={"signal": str(side.signal)},
    )
