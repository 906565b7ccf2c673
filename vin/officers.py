"""Coordinators, follow-up officers and auditors, with their sealed contact data."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from schemas.database import Db
from vin.contacts import officer_binding, open_contact, seal_contact
from vin.crypto.seal import DataKeys, Sealed
from vin.region_rows import OfficerRow
from vin.registry import SealedContact, Style


async def apply_officers(db: Db, officers: Sequence[OfficerRow], keys: DataKeys) -> int:
    """Write the officers that differ from what is stored; how many those are.

    A box looks new each time it is sealed, so what is stored is opened to compare.
    """
    stored = await select_officers(db)
    changed = [officer for officer in officers if not _is_stored(officer, stored, keys)]
    await upsert_officers(db, changed, keys)
    return len(changed)


def _is_stored(officer: OfficerRow, stored: dict[UUID, Sealed], keys: DataKeys) -> bool:
    binding = officer_binding(officer.id, officer.organisation)
    return (
        officer.id in stored and open_contact(keys, stored[officer.id], binding) == officer.contact
    )


async def select_officers(db: Db) -> dict[UUID, Sealed]:
    rows = await db.fetch(
        """
        -- officers.select_officers
        SELECT id, contact_epoch, contact
          FROM registry.officer
        """
    )
    return {row["id"]: Sealed(row["contact_epoch"], row["contact"]) for row in rows}


async def upsert_officers(db: Db, officers: Sequence[OfficerRow], keys: DataKeys) -> None:
    sealed = [
        seal_contact(keys, each.contact, officer_binding(each.id, each.organisation))
        for each in officers
    ]
    await db.execute(
        """
        -- officers.upsert_officers
        INSERT INTO registry.officer
               (id, role, organisation_id, municipality, contact_epoch, contact)
        SELECT *
          FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::text[],
                      $5::integer[], $6::bytea[])
            ON CONFLICT (id) DO UPDATE
           SET contact_epoch = excluded.contact_epoch,
               contact = excluded.contact,
               mail_failed_at = NULL
        """,
        [each.id for each in officers],
        [each.role for each in officers],
        [each.organisation for each in officers],
        [each.municipality for each in officers],
        [box.epoch for box in sealed],
        [box.box for box in sealed],
    )


@dataclass(frozen=True, slots=True)
class FollowUp:
    """A follow-up officer, and how to reach him."""

    id: UUID
    contact: SealedContact
    unmailable: bool


async def select_follow_up(db: Db, municipality: str) -> FollowUp | None:
    """The follow-up officer of a municipality: always the same, whom mail reaches if it can."""
    row = await db.fetchrow(
        """
        -- officers.select_follow_up
        SELECT officer.id, officer.contact_epoch, officer.contact, municipality.name,
               officer.mail_failed_at IS NOT NULL AS unmailable
          FROM registry.officer
          JOIN registry.municipality ON municipality.code = officer.municipality
         WHERE officer.role = 'follow_up_officer'
           AND officer.municipality = $1
         ORDER BY officer.mail_failed_at IS NOT NULL, officer.id
         LIMIT 1
        """,
        municipality,
    )
    if row is None:
        return None
    box = (Sealed(row["contact_epoch"], row["contact"]), officer_binding(row["id"], None))
    contact = SealedContact(organisation_name=row["name"], style=Style(language="nl"), box=box)
    return FollowUp(row["id"], contact, row["unmailable"])


async def select_municipality(db: Db, code: str) -> str | None:
    """The name of a municipality of the region."""
    name: str | None = await db.fetchval(
        """
        -- officers.select_municipality
        SELECT name
          FROM registry.municipality
         WHERE code = $1
        """,
        code,
    )
    return name
