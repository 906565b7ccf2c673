"""Use case on the archive: a new reporter opens once what he was told of (L6)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from uuid import UUID

from schemas.database import Db
from schemas.dates import local_date
from vin import audit, registry
from vin.audit import Entry, Event
from vin.contacts import Contact
from vin.crypto.seal import DataKeys
from vin.errors import HistoryOpenedError, NotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """A request to see the archive once, with what for."""

    organisation: UUID
    client: str
    request_id: UUID
    notice: UUID
    purpose: str


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """The former reporters of a child, each with his organisation's name."""

    id: UUID
    opened_at: datetime
    contacts: Sequence[tuple[Contact, str]] = field(repr=False)


async def open_history(db: Db, opening: Opening, keys: DataKeys, now: datetime) -> History:
    """Show the former reporters' contact data, once; the former reporters hear nothing.

    While nobody can be reached for them it stays unopened.
    """
    row = await db.fetchrow(
        """
        -- history.lock
        SELECT notice.opened_at, notice.signal_id, signal.status, signal.remove_on
          FROM matching.history_notice AS notice
          JOIN matching.signal ON signal.id = notice.signal_id
         WHERE notice.id = $1
           AND signal.organisation_id = $2
           AND signal.destroy_by > $3
           FOR UPDATE OF notice
        """,
        opening.notice,
        opening.organisation,
        local_date(now),
    )
    if row is None:
        raise NotFoundError
    if row["opened_at"] or row["status"] == "ended" or row["remove_on"] <= local_date(now):
        raise HistoryOpenedError
    reporters = await select_former(db, opening.notice, local_date(now))
    if not reporters:
        raise NotFoundError
    today = local_date(now)
    takes_part = await registry.has_agreement(db, opening.organisation, today)
    found = await registry.select_contacts(db, set(reporters) if takes_part else (), today)
    # Each once: how often somebody registered is nobody's business.
    contacts = dict.fromkeys(
        (found[each].open(keys), found[each].organisation_name)
        for each in reporters
        if each in found
    )
    if contacts:
        await mark_opened(db, opening.notice, now)
    entry = opening_entry(opening, row["signal_id"], is_shown=bool(contacts))
    await audit.append(db, now, [entry])
    return History(id=opening.notice, opened_at=now, contacts=list(contacts))


async def select_former(db: Db, notice: UUID, today: date) -> list[UUID]:
    """The reporters of the archived signals that are still there, latest first."""
    rows = await db.fetch(
        """
        -- history.select_former
        SELECT signal.reporter_id
          FROM matching.history_signal
          JOIN matching.signal ON signal.id = history_signal.signal_id
         WHERE history_signal.history_notice_id = $1
           AND signal.destroy_by > $2
           AND (signal.archive_until > $2
                OR signal.archive_until IS NULL
               AND signal.remove_on > $2::date - interval '5 years')
         ORDER BY signal.registered_at DESC, signal.id
        """,
        notice,
        today,
    )
    return [row["reporter_id"] for row in rows]


async def mark_opened(db: Db, notice: UUID, now: datetime) -> None:
    """Note when it was opened; it opens no more."""
    await db.execute(
        """
        -- history.mark_opened
        UPDATE matching.history_notice
           SET opened_at = $2
         WHERE id = $1
        """,
        notice,
        now,
    )


def opening_entry(opening: Opening, signal: UUID, *, is_shown: bool) -> Entry:
    """The log of who opened the archive, when and what for."""
    return Entry(
        event=Event.HISTORY_OPENED,
        actor_kind="client",
        actor=opening.client,
        object_kind="history_notice",
        object_id=opening.notice,
        result="done" if is_shown else "nobody",
        purpose=opening.purpose,
        request_id=opening.request_id,
        detail={"signal": str(signal)},
    )
