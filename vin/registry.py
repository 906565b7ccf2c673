"""SQL of who takes part, as registering, matching and notices ask for it."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal
from uuid import UUID

from schemas.database import Db
from vin.contacts import Contact, open_contact, reporter_binding
from vin.crypto.seal import DataKeys, Sealed

ReporterKey = tuple[UUID, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entitled:
    """A reporter, and whether W1 lets him register on the day that was asked for."""

    reporter: UUID
    unit: UUID
    match_unit: UUID
    entitled: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedContact:
    """A reporter's contact data as stored, with what else a notice tells of him."""

    reporter: UUID
    organisation: UUID
    organisation_name: str = field(repr=False)
    language: Literal["nl", "en"]
    sealed: Sealed = field(repr=False)

    def open(self, keys: DataKeys) -> Contact:
        binding = reporter_binding(self.reporter, self.organisation)
        return open_contact(keys, self.sealed, binding)


async def entitle(db: Db, wanted: Sequence[ReporterKey], on: date) -> dict[ReporterKey, Entitled]:
    """Tell for each known reporter whether W1 holds on that local date.

    No reporter found can be removed until the caller's transaction ends. The rows are
    locked in the order of their ids, so that two batches never wait in a circle.
    """
    rows = await db.fetch(
        """
        -- registry.entitle
        SELECT r.id, r.organisation_id, r.reporter_id, r.unit_id, u.match_unit_id,
               c.valid_from <= $3 AND (c.valid_to IS NULL OR c.valid_to >= $3)
               AND EXISTS (
                   SELECT FROM registry.agreement AS a
                    WHERE a.organisation_id = r.organisation_id
                      AND a.valid_from <= $3
                      AND (a.valid_to IS NULL OR a.valid_to >= $3)) AS entitled
          FROM registry.reporter AS r
          JOIN registry.unit AS u ON u.id = r.unit_id
          JOIN registry.organisation AS o ON o.id = r.organisation_id
          JOIN registry.category AS c ON c.code = o.category
         WHERE (r.organisation_id, r.reporter_id) IN (
               SELECT * FROM unnest($1::uuid[], $2::text[]))
         ORDER BY r.id
           FOR KEY SHARE OF r
        """,
        [organisation for organisation, _ in wanted],
        [reporter_id for _, reporter_id in wanted],
        on,
    )
    return {
        (row["organisation_id"], row["reporter_id"]): Entitled(
            reporter=row["id"],
            unit=row["unit_id"],
            match_unit=row["match_unit_id"],
            entitled=row["entitled"],
        )
        for row in rows
    }


async def select_contacts(db: Db, reporters: Collection[UUID]) -> dict[UUID, SealedContact]:
    """Take the sealed contact data of reporters, for a notice or for their matches."""
    rows = await db.fetch(
        """
        -- registry.select_contacts
        SELECT r.id, r.organisation_id, o.name, o.language, r.contact_epoch, r.contact
          FROM registry.reporter AS r
          JOIN registry.organisation AS o ON o.id = r.organisation_id
         WHERE r.id = ANY($1::uuid[])
        """,
        list(reporters),
    )
    return {
        row["id"]: SealedContact(
            reporter=row["id"],
            organisation=row["organisation_id"],
            organisation_name=row["name"],
            language=row["language"],
            sealed=Sealed(row["contact_epoch"], row["contact"]),
        )
        for row in rows
    }


async def select_reporter_ids(db: Db, reporters: Collection[UUID]) -> dict[UUID, str]:
    """Name reporters as their organisations do."""
    rows = await db.fetch(
        """
        -- registry.select_reporter_ids
        SELECT id, reporter_id
          FROM registry.reporter
         WHERE id = ANY($1::uuid[])
        """,
        list(reporters),
    )
    return {row["id"]: row["reporter_id"] for row in rows}


async def select_reporter(db: Db, organisation: UUID, reporter_id: str) -> UUID | None:
    """Find a reporter by the name that his organisation gave him."""
    found: UUID | None = await db.fetchval(
        """
        -- registry.select_reporter
        SELECT id
          FROM registry.reporter
         WHERE organisation_id = $1 AND reporter_id = $2
        """,
        organisation,
        reporter_id,
    )
    return found
