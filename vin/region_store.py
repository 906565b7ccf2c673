"""SQL that makes the registry equal to a region file.

Each `apply_` function returns how many rows it wrote. Rows travel as one JSON array, so
that a table without rows is no special case.
"""

import json
from collections.abc import Mapping, Sequence
from uuid import UUID

from schemas.database import Db
from vin.region import Region
from vin.region_rows import Row, Rows


async def lock_region(db: Db) -> str | None:
    """Let no other apply a region file meanwhile; the code of the one applied before."""
    await db.execute(
        """
        -- region_store.lock_region
        LOCK TABLE registry.region IN SHARE ROW EXCLUSIVE MODE
        """
    )
    code: str | None = await db.fetchval(
        """
        -- region_store.select_region_code
        SELECT code
          FROM registry.region
        """
    )
    return code


async def apply_region(db: Db, region: Region) -> int:
    clock = region.policies.contact_clock
    done = await db.execute(
        """
        -- region_store.apply_region
        INSERT INTO registry.region AS r
               (code, name, parent_rule, address_rule, hub_limit, digest_seconds,
                remind_after_days, overdue_after_days, escalate_after_days)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            ON CONFLICT (only_one) DO UPDATE
           SET name = excluded.name,
               parent_rule = excluded.parent_rule,
               address_rule = excluded.address_rule,
               hub_limit = excluded.hub_limit,
               digest_seconds = excluded.digest_seconds,
               remind_after_days = excluded.remind_after_days,
               overdue_after_days = excluded.overdue_after_days,
               escalate_after_days = excluded.escalate_after_days
         WHERE (r.name, r.parent_rule, r.address_rule, r.hub_limit, r.digest_seconds,
                r.remind_after_days, r.overdue_after_days, r.escalate_after_days)
               IS DISTINCT FROM
               (excluded.name, excluded.parent_rule, excluded.address_rule, excluded.hub_limit,
                excluded.digest_seconds, excluded.remind_after_days, excluded.overdue_after_days,
                excluded.escalate_after_days)
        """,
        region.region.code,
        region.region.name,
        region.policies.parent_rule,
        region.policies.address_rule,
        region.policies.hub_limit,
        region.policies.digest_seconds,
        clock.remind_after_days,
        clock.overdue_after_days,
        clock.escalate_after_days,
    )
    return _rows(done)


async def set_holder(db: Db, organisation: UUID | None, reporter: UUID | None) -> int:
    """Name who takes over when an agreement ends (W2), or nobody."""
    done = await db.execute(
        """
        -- region_store.set_holder
        UPDATE registry.region
           SET holder_organisation_id = $1, holder_reporter_id = $2
         WHERE (holder_organisation_id, holder_reporter_id) IS DISTINCT FROM ($1, $2)
        """,
        organisation,
        reporter,
    )
    return _rows(done)


async def apply_municipalities(db: Db, rows: Sequence[Row]) -> int:
    done = await db.execute(
        """
        -- region_store.apply_municipalities
        INSERT INTO registry.municipality AS m (code, name)
        SELECT code, name
          FROM jsonb_to_recordset($1) AS w (code text, name text)
            ON CONFLICT (code) DO UPDATE
           SET name = excluded.name
         WHERE m IS DISTINCT FROM excluded
        """,
        _json(rows),
    )
    return _rows(done)


async def apply_categories(db: Db, rows: Sequence[Row]) -> int:
    done = await db.execute(
        """
        -- region_store.apply_categories
        INSERT INTO registry.category AS c (code, name, valid_from, valid_to, role)
        SELECT code, name, valid_from, valid_to, role
          FROM jsonb_to_recordset($1)
            AS w (code text, name text, valid_from date, valid_to date, role text)
            ON CONFLICT (code) DO UPDATE
           SET name = excluded.name,
               valid_from = excluded.valid_from,
               valid_to = excluded.valid_to,
               role = excluded.role
         WHERE c IS DISTINCT FROM excluded
        """,
        _json(rows),
    )
    return _rows(done)


async def apply_organisations(db: Db, rows: Sequence[Row]) -> int:
    done = await db.execute(
        """
        -- region_store.apply_organisations
        INSERT INTO registry.organisation AS o
               (id, code, name, category, municipality, language, mail_mode,
                match_url, smime_certificate, shielded, broker_name)
        SELECT id, code, name, category, municipality, language, mail_mode,
               match_url, smime_certificate, shielded, broker_name
          FROM jsonb_to_recordset($1)
            AS w (id uuid, code text, name text, category text, municipality text,
                  language text, mail_mode text, match_url text, smime_certificate bytea,
                  shielded boolean, broker_name text)
            ON CONFLICT (id) DO UPDATE
           SET name = excluded.name,
               category = excluded.category,
               municipality = excluded.municipality,
               language = excluded.language,
               mail_mode = excluded.mail_mode,
               match_url = excluded.match_url,
               smime_certificate = excluded.smime_certificate,
               shielded = excluded.shielded,
               broker_name = excluded.broker_name
         WHERE o IS DISTINCT FROM excluded
        """,
        _json(rows),
    )
    return _rows(done)


async def apply_agreements(db: Db, rows: Sequence[Row]) -> int:
    done = await db.execute(
        """
        -- region_store.apply_agreements
        INSERT INTO registry.agreement AS a (organisation_id, valid_from, valid_to)
        SELECT organisation_id, valid_from, valid_to
          FROM jsonb_to_recordset($1)
            AS w (organisation_id uuid, valid_from date, valid_to date)
            ON CONFLICT (organisation_id, valid_from) DO UPDATE
           SET valid_to = excluded.valid_to
         WHERE a IS DISTINCT FROM excluded
        """,
        _json(rows),
    )
    return _rows(done)


async def apply_units(db: Db, rows: Sequence[Row]) -> int:
    done = await db.execute(
        """
        -- region_store.apply_units
        INSERT INTO registry.unit AS u
               (id, organisation_id, code, name, match_unit_id)
        SELECT id, organisation_id, code, name, match_unit_id
          FROM jsonb_to_recordset($1)
            AS w (id uuid, organisation_id uuid, code text, name text,
                  match_unit_id uuid)
            ON CONFLICT (id) DO UPDATE
           SET name = excluded.name,
               match_unit_id = excluded.match_unit_id
         WHERE u IS DISTINCT FROM excluded
        """,
        _json(rows),
    )
    return _rows(done)


async def apply_clients(db: Db, rows: Sequence[Row]) -> int:
    done = await db.execute(
        """
        -- region_store.apply_clients
        INSERT INTO registry.client AS c (id, organisation_id, active, scopes, jwks)
        SELECT id, organisation_id, active, scopes, jwks
          FROM jsonb_to_recordset($1)
            AS w (id text, organisation_id uuid, active boolean, scopes text[],
                  jwks jsonb)
            ON CONFLICT (id) DO UPDATE
           SET organisation_id = excluded.organisation_id,
               active = excluded.active,
               scopes = excluded.scopes,
               jwks = excluded.jwks
         WHERE c IS DISTINCT FROM excluded
        """,
        _json(rows),
    )
    return _rows(done)


async def select_used_units(db: Db, rows: Rows) -> list[str]:
    """Name the units that are not in `rows` any more but still have reporters."""
    used = await db.fetch(
        """
        -- region_store.select_used_units
        SELECT o.code AS organisation, u.code AS unit
          FROM registry.unit AS u
          JOIN registry.organisation AS o ON o.id = u.organisation_id
         WHERE u.id <> ALL ($1::uuid[])
           AND EXISTS (SELECT FROM registry.reporter AS r WHERE r.unit_id = u.id)
         ORDER BY o.code, u.code
        """,
        [row["id"] for row in rows.units],
    )
    return [f"{row['organisation']}/{row['unit']}" for row in used]


async def delete_others(db: Db, rows: Rows) -> Mapping[str, int]:
    """Remove what is not in `rows`, in one statement: foreign keys are checked at its end."""
    deleted = await db.fetchrow(
        """
        -- region_store.delete_others
          WITH a AS (
               DELETE FROM registry.agreement AS a
                WHERE NOT EXISTS (
                      SELECT FROM unnest($1::uuid[], $2::date[]) AS w (id, valid_from)
                       WHERE w.id = a.organisation_id AND w.valid_from = a.valid_from)
               RETURNING 1),
               c AS (
               DELETE FROM registry.client WHERE id <> ALL ($3::text[]) RETURNING 1),
               f AS (
               DELETE FROM registry.officer WHERE id <> ALL ($4::uuid[]) RETURNING 1),
               u AS (
               DELETE FROM registry.unit WHERE id <> ALL ($5::uuid[]) RETURNING 1),
               o AS (
               DELETE FROM registry.organisation WHERE id <> ALL ($6::uuid[])
               RETURNING 1),
               m AS (
               DELETE FROM registry.municipality WHERE code <> ALL ($7::text[])
               RETURNING 1),
               k AS (
               DELETE FROM registry.category WHERE code <> ALL ($8::text[])
               RETURNING 1)
        SELECT (SELECT count(*) FROM a) AS agreement,
               (SELECT count(*) FROM c) AS client,
               (SELECT count(*) FROM f) AS officer,
               (SELECT count(*) FROM u) AS unit,
               (SELECT count(*) FROM o) AS organisation,
               (SELECT count(*) FROM m) AS municipality,
               (SELECT count(*) FROM k) AS category
        """,
        [row["organisation_id"] for row in rows.agreements],
        [row["valid_from"] for row in rows.agreements],
        [row["id"] for row in rows.clients],
        [row.id for row in rows.officers],
        [row["id"] for row in rows.units],
        [row["id"] for row in rows.organisations],
        [row["code"] for row in rows.municipalities],
        [row["code"] for row in rows.categories],
    )
    return {} if deleted is None else dict(deleted.items())


def _json(rows: Sequence[Row]) -> str:
    return json.dumps(rows, default=str)


def _rows(done: str) -> int:
    """Read the number of rows from what PostgreSQL says it has done."""
    return int(done.rpartition(" ")[2])
