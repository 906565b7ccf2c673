"""SQL of reporters as their organisation designates them (W1)."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from schemas.database import Db
from vin.contacts import Contact, open_contact, reporter_binding
from vin.crypto.seal import DataKeys, Sealed

if TYPE_CHECKING:
    from asyncpg import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class ReporterRow:
    """A reporter as stored: `unit` is the unit's code; `left` once his designation ended."""

    id: UUID
    organisation: UUID
    reporter_id: str
    unit: str
    designated_at: datetime
    left: bool = False
    sealed: Sealed = field(repr=False)

    def open(self, keys: DataKeys) -> Contact:
        binding = reporter_binding(self.id, self.organisation)
        return open_contact(keys, self.sealed, binding)


async def select_unit(db: Db, organisation: UUID, code: str) -> UUID | None:
    """Find one of an organisation's units."""
    found: UUID | None = await db.fetchval(
        """
        -- reporter_store.select_unit
        SELECT id
          FROM registry.unit
         WHERE organisation_id = $1 AND code = $2
        """,
        organisation,
        code,
    )
    return found


async def claim_reporter(db: Db, row: ReporterRow, unit: UUID) -> ReporterRow:
    """Add a reporter, or take the one of that name to change him.

    Comes back with the row as stored, under another id where it was there already. Other
    writers wait until the caller's transaction ends; registering signals goes on meanwhile,
    since no column of a key is set.
    """
    rows = await db.fetch(
        """
        -- reporter_store.claim_reporter
        INSERT INTO registry.reporter AS r
               (id, organisation_id, reporter_id, unit_id, contact_epoch, contact, designated_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT ON CONSTRAINT reporter_reporter_id DO UPDATE
           SET contact_epoch = r.contact_epoch
        RETURNING id, organisation_id, reporter_id, designated_at, ended_at,
                  contact_epoch, contact,
                  (SELECT code FROM registry.unit AS u WHERE u.id = r.unit_id)
        """,
        row.id,
        row.organisation,
        row.reporter_id,
        unit,
        row.sealed.epoch,
        row.sealed.box,
        row.designated_at,
    )
    return _reporter(rows[0])


async def update_reporter(db: Db, reporter: UUID, unit: UUID, contact: Sealed) -> None:
    await db.execute(
        """
        -- reporter_store.update_reporter
        UPDATE registry.reporter
           SET unit_id = $2, contact_epoch = $3, contact = $4
         WHERE id = $1
        """,
        reporter,
        unit,
        contact.epoch,
        contact.box,
    )


async def clear_mailbox(db: Db, reporter: UUID) -> None:
    """Let mail go to a reporter again who has another address (W3)."""
    await db.execute(
        """
        -- reporter_store.clear_mailbox
        UPDATE registry.reporter
           SET mail_failed_at = NULL
         WHERE id = $1
           AND mail_failed_at IS NOT NULL
        """,
        reporter,
    )


async def lock_reporters(
    db: Db, organisation: UUID, reporter_ids: Collection[str]
) -> dict[str, UUID]:
    """Keep registrations off those of these reporters who have not left."""
    rows = await db.fetch(
        """
        -- reporter_store.lock_reporters
        SELECT id, reporter_id
          FROM registry.reporter
         WHERE organisation_id = $1
           AND reporter_id = ANY($2::text[])
           AND ended_at IS NULL
         ORDER BY id
           FOR UPDATE
        """,
        organisation,
        list(reporter_ids),
    )
    return {row["reporter_id"]: row["id"] for row in rows}


async def end_reporter(db: Db, reporter: UUID, successor: UUID | None, at: datetime) -> None:
    await db.execute(
        """
        -- reporter_store.end_reporter
        UPDATE registry.reporter
           SET ended_at = $3, successor_id = $2
         WHERE id = $1
        """,
        reporter,
        successor,
        at,
    )


async def renew_reporter(db: Db, reporter: UUID, at: datetime) -> None:
    """Designate anew who had left; what moved to a successor stays there."""
    await db.execute(
        """
        -- reporter_store.renew_reporter
        UPDATE registry.reporter
           SET ended_at = NULL, successor_id = NULL, designated_at = $2
         WHERE id = $1
        """,
        reporter,
        at,
    )


async def upsert_person(db: Db, reporter: UUID, keys: Sequence[UUID]) -> None:
    """Keep what tells whether two reporters are one person (M7)."""
    await db.execute(
        """
        -- reporter_store.upsert_person
        INSERT INTO matching.person (reporter_id, keys)
        VALUES ($1, $2)
            ON CONFLICT (reporter_id) DO UPDATE
           SET keys = excluded.keys
         WHERE person.keys <> excluded.keys
        """,
        reporter,
        sorted(keys),
    )


async def select_reporter(db: Db, organisation: UUID, reporter_id: str) -> ReporterRow | None:
    row = await db.fetchrow(
        """
        -- reporter_store.select_reporter
        SELECT r.id, r.organisation_id, r.reporter_id, u.code, r.designated_at, r.ended_at,
               r.contact_epoch, r.contact
          FROM registry.reporter AS r
          JOIN registry.unit AS u ON u.id = r.unit_id
         WHERE r.organisation_id = $1 AND r.reporter_id = $2 AND r.ended_at IS NULL
        """,
        organisation,
        reporter_id,
    )
    return None if row is None else _reporter(row)


async def select_page(
    db: Db, organisation: UUID, after: tuple[datetime, UUID], limit: int
) -> list[ReporterRow]:
    """The next reporters of an organisation, in the order of their designation."""
    rows = await db.fetch(
        """
        -- reporter_store.select_page
        SELECT r.id, r.organisation_id, r.reporter_id, u.code, r.designated_at, r.ended_at,
               r.contact_epoch, r.contact
          FROM registry.reporter AS r
          JOIN registry.unit AS u ON u.id = r.unit_id
         WHERE r.organisation_id = $1
           AND r.ended_at IS NULL
           AND (r.designated_at, r.id) > ($2, $3)
         ORDER BY r.designated_at, r.id
         LIMIT $4
        """,
        organisation,
        *after,
        limit,
    )
    return [_reporter(row) for row in rows]


def _reporter(row: "Record") -> ReporterRow:
    return ReporterRow(
        id=row["id"],
        organisation=row["organisation_id"],
        reporter_id=row["reporter_id"],
        unit=row["code"],
        designated_at=row["designated_at"],
        left=row["ended_at"] is not None,
        sealed=Sealed(row["contact_epoch"], row["contact"]),
    )
