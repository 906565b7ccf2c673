"""Use cases on reporters: designate, read, list (W1)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID, uuid4

from schemas.database import Db
from vin import audit, reporter_store
from vin.audit import Entry, Event
from vin.contacts import Contact, reporter_binding, seal_contact
from vin.crypto.pseudonym import IndexKeys
from vin.crypto.seal import DataKeys
from vin.errors import Fault, InvalidBodyError, NotFoundError
from vin.reporter_store import ReporterRow

UNKNOWN_UNIT = Fault("unit", "unknown", "The organisation has no such unit.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The client that asks, and the organisation that it acts for."""

    organisation: UUID
    client: str
    request_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Designation:
    """What an organisation says of one of its reporters; `unit` is the unit's code."""

    reporter_id: str
    unit: str
    contact: Contact = field(repr=False)
    id: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """A reporter as his own organisation sees him."""

    id: UUID
    reporter_id: str
    unit: str
    designated_at: datetime
    contact: Contact = field(repr=False)


async def is_unit(db: Db, organisation: UUID, code: str) -> bool:
    return await reporter_store.select_unit(db, organisation, code) is not None


async def designate_reporter(
    db: Db,
    wanted: Designation,
    actor: Actor,
    keys: tuple[DataKeys, IndexKeys],
    now: datetime,
) -> tuple[Reporter, bool]:
    """Designate a reporter or change what is known of him; true where he is new, or is back.

    Saying the same again changes nothing. Another unit holds for later signals only: each
    signal keeps the match unit that it was registered under.
    """
    contact_keys, index_keys = keys
    unit = await reporter_store.select_unit(db, actor.organisation, wanted.unit)
    if unit is None:
        raise InvalidBodyError([UNKNOWN_UNIT])
    row = _row(wanted, actor.organisation, contact_keys, now)
    stored = await reporter_store.claim_reporter(db, row, unit)
    is_new = stored.left or stored.id == row.id
    known = stored.open(contact_keys)
    is_changed = (stored.unit, known) != (wanted.unit, wanted.contact)
    if is_changed:
        binding = reporter_binding(stored.id, actor.organisation)
        sealed = seal_contact(contact_keys, wanted.contact, binding)
        await reporter_store.update_reporter(db, stored.id, unit, sealed)
    if stored.left:
        await reporter_store.renew_reporter(db, stored.id, now)
    if stored.left or known.email != wanted.contact.email:
        await reporter_store.clear_mailbox(db, stored.id)
    if is_new or is_changed:
        await reporter_store.upsert_person(db, stored.id, person_keys(wanted.contact, index_keys))
        event = Event.REPORTER_DESIGNATED if is_new else Event.REPORTER_CHANGED
        await audit.append(db, now, [_entry(event, stored.id, actor)])
    reporter = Reporter(
        id=stored.id,
        reporter_id=wanted.reporter_id,
        unit=wanted.unit,
        designated_at=now if is_new else stored.designated_at,
        contact=wanted.contact,
    )
    return reporter, is_new


def _row(wanted: Designation, organisation: UUID, keys: DataKeys, now: datetime) -> ReporterRow:
    return ReporterRow(
        id=wanted.id,
        organisation=organisation,
        reporter_id=wanted.reporter_id,
        unit=wanted.unit,
        designated_at=now,
        sealed=seal_contact(keys, wanted.contact, reporter_binding(wanted.id, organisation)),
    )


def person_keys(contact: Contact, keys: IndexKeys) -> list[UUID]:
    """Keyed hashes of what one person has everywhere he works (M7).

    Reporters who share any of these are one person. Blanks in a registration number are
    left out, since they are written in many ways.
    """
    values = [f"email:{contact.email.lower()}"]
    if contact.registration_number is not None:
        values.append(f"number:{''.join(contact.registration_number.lower().split())}")
    return [keys.person(value) for value in values]


async def read_reporter(
    db: Db, reporter_id: str, actor: Actor, keys: DataKeys, now: datetime
) -> Reporter:
    """Open one of the organisation's reporters; NotFoundError where it has no such."""
    row = await reporter_store.select_reporter(db, actor.organisation, reporter_id)
    if row is None:
        raise NotFoundError
    return (await _open(db, [row], actor, keys, now))[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """A page of reporters: after which (designated at, id), and how many."""

    after: tuple[datetime, UUID]
    limit: int


async def list_reporters(
    db: Db, wanted: Wanted, actor: Actor, keys: DataKeys, now: datetime
) -> tuple[list[Reporter], bool]:
    """The next reporters in the order of designation, and whether more follow."""
    rows = await reporter_store.select_page(db, actor.organisation, wanted.after, wanted.limit + 1)
    reporters = await _open(db, rows[: wanted.limit], actor, keys, now)
    return reporters, len(rows) > wanted.limit


async def _open(
    db: Db, rows: Sequence[ReporterRow], actor: Actor, keys: DataKeys, now: datetime
) -> list[Reporter]:
    """Open contact data, each with a line in the log (D5)."""
    await audit.append(db, now, [_entry(Event.CONTACT_OPENED, row.id, actor) for row in rows])
    return [
        Reporter(
            id=row.id,
            reporter_id=row.reporter_id,
            unit=row.unit,
            designated_at=row.designated_at,
            contact=row.open(keys),
        )
        for row in rows
    ]


def _entry(event: Event, reporter: UUID, actor: Actor) -> Entry:
    opened = event is Event.CONTACT_OPENED
    return Entry(
        event=event,
        actor_kind="client",
        actor=actor.client,
        object_kind="reporter",
        object_id=reporter,
        request_id=actor.request_id,
        detail={} if opened else {"organisation": str(actor.organisation)},
    )
