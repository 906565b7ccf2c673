"""Use cases on signals: register (batched), read, withdraw."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID, uuid4

from matching.model import Role
from schemas.database import Db
from schemas.dates import ARCHIVE_YEARS, DESTROY_YEARS, LIVE_YEARS, local_date, years_after
from vin import audit, carried, registry, store
from vin.audit import Entry, Event
from vin.crypto.pseudonym import IndexKeys, Token
from vin.crypto.seal import Binding, DataKeys
from vin.crypto.sign import Permit
from vin.errors import (
    Fault,
    IdempotencyConflictError,
    InvalidBodyError,
    NotEntitledError,
    NotFoundError,
    PermitRefusedError,
    PermitSpentError,
    SignalEndedError,
    UnavailableError,
    VinError,
)
from vin.registry import Entitled
from vin.store import NewSignal, Remembered, SignalRow


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A request to register, checked as far as that goes without the database.

    `permit` is the permit, or why it was refused: a retry is recognised first. `child_key`
    is what makes it the same child for the same reporter (M7).
    """

    organisation: UUID
    client: str
    request_id: UUID
    idempotency_key: UUID
    fingerprint: bytes = field(repr=False)
    reporter_id: str
    reference: str = field(repr=False)
    child_key: UUID = field(repr=False)
    tokens: Sequence[tuple[Role, Token]] = field(repr=False)
    remove_on: date | None
    destroy_by: date | None
    permit: Permit | PermitRefusedError = field(repr=False)
    signal: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnSignal:
    """A signal as its own side sees it."""

    id: UUID
    reporter_id: str
    reference: str = field(repr=False)
    status: str
    registered_at: datetime
    remove_on: date
    processed_at: datetime | None
    history_notice_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Led:
    """Where a request led: to which signal, and whether the request created it."""

    signal: UUID
    created: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """The answer to a request that was not refused."""

    signal: OwnSignal
    created: bool


Outcome = Led | VinError


@dataclass(frozen=True, slots=True)
class Secrets:
    """What registering needs to seal; opened by wiring."""

    index: IndexKeys
    contact: DataKeys


async def register_batch(
    db: Db, batch: Sequence[Registration], secrets: Secrets, now: datetime
) -> list[Registered | VinError]:
    """Register many at once, each with an answer of its own; nothing of a refused one stays.

    The checks come in this order: idempotency key, reporter and dates, permit, duplicate.
    """
    outcomes: dict[UUID, Outcome] = {}
    fresh = await recognise_retries(db, batch, outcomes)
    reporters = await check_entitled(db, fresh, outcomes, now)
    paid = await spend_permits(db, [each for each in fresh if each.signal in reporters], outcomes)
    new = await claim_children(db, paid, reporters, outcomes, now)
    signals = new_signals(new, reporters, secrets.contact, now)
    await store.insert_signals(db, signals)
    await audit.append(db, now, entries(paid, reporters, outcomes))
    refused = [key for key, outcome in outcomes.items() if isinstance(outcome, VinError)]
    await store.release_keys(db, refused)
    return await answers(db, batch, outcomes, secrets.contact, now)


async def answers(
    db: Db,
    batch: Sequence[Registration],
    outcomes: Mapping[UUID, Outcome],
    contact: DataKeys,
    now: datetime,
) -> list[Registered | VinError]:
    """Each request's answer: its error, or the signal that it led to as it is now."""
    ends = [follow(outcomes, each.signal) for each in batch]
    led = {end.signal for end in ends if isinstance(end, Led)}
    signals = await open_signals(db, led, contact, now)
    return [answer(end, signals) for end in ends]


def answer(end: Outcome, signals: Mapping[UUID, OwnSignal]) -> Registered | VinError:
    """One request's answer; what a retry led to may be past its `destroy_by` (L4)."""
    if isinstance(end, VinError):
        return end
    if end.signal not in signals:
        return UnavailableError()
    return Registered(signal=signals[end.signal], created=end.created)


def follow(outcomes: Mapping[UUID, Outcome], signal: UUID) -> Outcome:
    """An outcome that leads to another request of the same batch shares what became of that."""
    outcome = outcomes[signal]
    if isinstance(outcome, VinError):
        return outcome
    origin = outcomes.get(outcome.signal, outcome)
    if isinstance(origin, VinError):
        return origin
    return Led(signal=origin.signal, created=outcome.created and origin.created)


async def recognise_retries(
    db: Db, batch: Sequence[Registration], outcomes: dict[UUID, Outcome]
) -> list[Registration]:
    """Answer what was asked before; the rest, whose idempotency keys are now taken."""
    claimed = await store.claim_keys(
        db,
        [
            (each.organisation, each.idempotency_key, each.fingerprint, each.signal)
            for each in batch
        ],
    )
    again = [each for each in batch if each.signal not in claimed]
    if again:
        known = await store.select_keys(
            db, {(each.organisation, each.idempotency_key) for each in again}
        )
        for each in again:
            earlier = known.get((each.organisation, each.idempotency_key))
            outcomes[each.signal] = repeated(each, earlier)
    return [each for each in batch if each.signal in claimed]


def repeated(again: Registration, earlier: Remembered | None) -> Outcome:
    """The answer to a request whose key was used before."""
    if earlier is None:
        return UnavailableError()  # the earlier signal was destroyed this very moment
    if earlier.fingerprint != again.fingerprint:
        return IdempotencyConflictError()
    return Led(signal=earlier.signal, created=earlier.created)


async def check_entitled(
    db: Db, batch: Sequence[Registration], outcomes: dict[UUID, Outcome], now: datetime
) -> dict[UUID, Entitled]:
    """W1: category, agreement and designation hold now; and the dates keep L1 and L4."""
    today = local_date(now)
    known = await registry.entitle(
        db, [(each.organisation, each.reporter_id) for each in batch], today
    )
    reporters: dict[UUID, Entitled] = {}
    for each in batch:
        reporter = known.get((each.organisation, each.reporter_id))
        faults = date_faults(each, today)
        if reporter is None:
            faults.insert(0, Fault("reporterId", "unknown", "No such reporter."))
        if faults:
            outcomes[each.signal] = InvalidBodyError(faults)
        elif reporter is None or not reporter.entitled:
            outcomes[each.signal] = NotEntitledError()
        else:
            reporters[each.signal] = reporter
    return reporters


def date_faults(registration: Registration, today: date) -> list[Fault]:
    """L1, L4: both dates lie ahead, and no further than the law or the contract lets them."""
    limits = (
        ("removeOn", registration.remove_on, years_after(today, LIVE_YEARS)),
        ("destroyBy", registration.destroy_by, years_after(today, DESTROY_YEARS)),
    )
    return [
        Fault(name, "out-of-range", f"Must be after today and not after {latest}.")
        for name, day, latest in limits
        if day is not None and not today < day <= latest
    ]


async def spend_permits(
    db: Db, batch: Sequence[Registration], outcomes: dict[UUID, Outcome]
) -> list[Registration]:
    """Spend each permit once, ever; those that could pay."""
    good = {
        each.permit.id: each.permit.expires_at
        for each in batch
        if not isinstance(each.permit, PermitRefusedError)
    }
    spent = await store.spend_permits(db, list(good.items()))
    paid = []
    for each in batch:
        if isinstance(each.permit, PermitRefusedError):
            outcomes[each.signal] = each.permit
        elif each.permit.id in spent:
            spent.remove(each.permit.id)
            paid.append(each)
        else:
            outcomes[each.signal] = PermitSpentError()
    return paid


async def claim_children(
    db: Db,
    batch: Sequence[Registration],
    reporters: Mapping[UUID, Entitled],
    outcomes: dict[UUID, Outcome],
    now: datetime,
) -> list[Registration]:
    """M7: the same reporter on the same child gets his live signal back; the rest is new."""
    keys = {each.signal: (reporters[each.signal].reporter, each.child_key) for each in batch}
    waiting = list(batch)
    while waiting:
        claimed = await store.claim_children(
            db, [(*keys[each.signal], each.signal) for each in waiting], local_date(now)
        )
        known = [each for each in waiting if each.signal not in claimed]
        live = await store.select_children(db, {keys[each.signal] for each in known})
        returned = {
            each.signal: live[keys[each.signal]] for each in known if keys[each.signal] in live
        }
        await store.point_keys(db, list(returned.items()))
        outcomes |= {new: Led(signal=old, created=False) for new, old in returned.items()}
        outcomes |= {new: Led(signal=new, created=True) for new in claimed}
        # A signal withdrawn between the two statements is in neither: its child is free now.
        waiting = [each for each in known if each.signal not in returned]
    return [each for each in batch if is_new(outcomes[each.signal])]


def is_new(outcome: Outcome) -> bool:
    return isinstance(outcome, Led) and outcome.created


def new_signals(
    batch: Sequence[Registration],
    reporters: Mapping[UUID, Entitled],
    contact: DataKeys,
    now: datetime,
) -> list[NewSignal]:
    """Signals as they are written; a microsecond apart, so that their order is total (M5)."""
    today = local_date(now)
    return [
        NewSignal(
            id=each.signal,
            organisation=each.organisation,
            reporter=reporters[each.signal].reporter,
            match_unit=reporters[each.signal].match_unit,
            registered_at=now + timedelta(microseconds=place),
            remove_on=each.remove_on or years_after(today, LIVE_YEARS),
            destroy_by=each.destroy_by or years_after(today, DESTROY_YEARS),
            reference=contact.seal(
                each.reference.encode(),
                reference_binding(each.signal, each.organisation),
            ),
            tokens=each.tokens,
        )
        for place, each in enumerate(batch)
    ]


def reference_binding(signal: UUID, organisation: UUID) -> Binding:
    """Where a sealed reference belongs."""
    return Binding("matching.signal", "reference", signal, organisation)


def entries(
    batch: Sequence[Registration],
    reporters: Mapping[UUID, Entitled],
    outcomes: Mapping[UUID, Outcome],
) -> list[Entry]:
    """The log of what was registered and of what was returned."""
    lines = []
    for each in batch:
        outcome = outcomes[each.signal]
        if isinstance(outcome, Led):
            event = Event.SIGNAL_REGISTERED if outcome.created else Event.SIGNAL_RETURNED
            lines.append(
                Entry(
                    event=event,
                    actor_kind="client",
                    actor=each.client,
                    object_kind="signal",
                    object_id=outcome.signal,
                    request_id=each.request_id,
                    detail={"reporter": str(reporters[each.signal].reporter)},
                )
            )
    return lines


async def open_signals(
    db: Db, ids: Collection[UUID], contact: DataKeys, now: datetime
) -> dict[UUID, OwnSignal]:
    """Signals as their own sides see them, in the order asked for; gone ones are absent."""
    rows = await store.select_signals(db, ids, local_date(now))
    names = await registry.select_reporter_ids(db, {row.reporter for row in rows.values()})
    return {
        each: own_signal(rows[each], names[rows[each].reporter], contact)
        for each in ids
        if each in rows
    }


async def read_signal(
    db: Db, signal: UUID, organisation: UUID, contact: DataKeys, now: datetime
) -> OwnSignal:
    """One of the organisation's own signals (D4)."""
    if await store.select_organisation(db, signal) != organisation:
        raise NotFoundError
    found = await open_signals(db, [signal], contact, now)
    if signal not in found:
        raise NotFoundError
    return found[signal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A page of an organisation's signals: after which (registered at, id), and how many."""

    organisation: UUID
    reporter_id: str | None
    after: tuple[datetime, UUID]
    limit: int


async def list_signals(
    db: Db, wanted: Wanted, contact: DataKeys, now: datetime
) -> tuple[list[OwnSignal], bool]:
    """The next signals in order of registration, and whether more follow.

    An unknown reporter has none.
    """
    reporter = None
    if wanted.reporter_id is not None:
        reporter = await registry.select_reporter(db, wanted.organisation, wanted.reporter_id)
        if reporter is None:
            return [], False
    while True:
        ids = await store.select_page(
            db, wanted.organisation, reporter, wanted.after, wanted.limit + 1, local_date(now)
        )
        signals = await open_signals(db, ids[: wanted.limit], contact, now)
        more = len(ids) > wanted.limit
        # Where all of a page was destroyed meanwhile, nothing would tell where the next begins.
        if signals or not more:
            return list(signals.values()), more


def own_signal(row: SignalRow, reporter_id: str, contact: DataKeys) -> OwnSignal:
    """Open what is sealed of a signal for its own side."""
    reference = contact.open(row.reference, reference_binding(row.id, row.organisation))
    return OwnSignal(
        id=row.id,
        reporter_id=reporter_id,
        reference=reference.decode(),
        status=row.status,
        registered_at=row.registered_at,
        remove_on=row.remove_on,
        processed_at=row.processed_at,
        history_notice_id=row.history_notice_id,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """A request to end a signal, with its ground (L2)."""

    organisation: UUID
    client: str
    request_id: UUID
    signal: UUID
    ground: str


async def withdraw(db: Db, request: Withdrawal, now: datetime) -> None:
    """End a signal and its matches in one commit (L5, L7); once is as good as twice."""
    locked = await store.lock_signal(db, request.signal, request.organisation, local_date(now))
    if locked is None:
        raise NotFoundError
    status, ground = locked
    if status == "ended":
        if ground != request.ground:
            raise SignalEndedError
        return
    if request.ground == "unjustified":
        await store.end_signal(db, request.signal, request.ground, now, None)
        tokens = await store.delete_tokens(db, request.signal)  # L3: never found again
        matches = await store.end_matches(db, [request.signal], "void", now)
        await carried.forget_uncarried(db, tokens)
    else:
        archive_until = years_after(local_date(now), ARCHIVE_YEARS)
        await store.end_signal(db, request.signal, request.ground, now, archive_until)
        matches = await store.end_matches(db, [request.signal], "closed", now)
    entry = Entry(
        event=Event.SIGNAL_WITHDRAWN,
        actor_kind="client",
        actor=request.client,
        object_kind="signal",
        object_id=request.signal,
        request_id=request.request_id,
        detail={"ground": request.ground, "matches": matches},
    )
    await audit.append(db, now, [entry])
