"""SQL of the key holder's own database: clients, epochs and the day's usage."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from schemas.database import Db


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """A program that may ask; its quotas count elements a local day."""

    id: str
    organisation_id: UUID
    organisation: str
    active: bool
    domains: tuple[str, ...]
    reporter_quota: int
    organisation_quota: int


@dataclass(frozen=True, slots=True)
class Period:
    """How long the keys of an epoch are meant to be used."""

    not_before: datetime
    not_after: datetime


async def upsert_client(db: Db, client: Client) -> bool:
    """Write a client; false where it was already so."""
    written = await db.fetchval(
        """
        -- keyholder.upsert_client
        INSERT INTO keyholder.client AS c
               (id, organisation_id, organisation, active, domains,
                reporter_quota, organisation_quota)
        VALUES ($1, $2, $3, $4, $5, $6, $7)
            ON CONFLICT ON CONSTRAINT client_pk DO UPDATE
           SET organisation_id = excluded.organisation_id,
               organisation = excluded.organisation,
               active = excluded.active,
               domains = excluded.domains,
               reporter_quota = excluded.reporter_quota,
               organisation_quota = excluded.organisation_quota
         WHERE c IS DISTINCT FROM excluded
        RETURNING true
        """,
        client.id,
        client.organisation_id,
        client.organisation,
        client.active,
        sorted(client.domains),
        client.reporter_quota,
        client.organisation_quota,
    )
    return written is not None


async def deactivate_others(db: Db, clients: Collection[str]) -> int:
    """Shut out every client but these; tells how many were active until now."""
    shut = await db.fetch(
        """
        -- keyholder.deactivate_others
        UPDATE keyholder.client
           SET active = false
         WHERE active AND id <> ALL($1::text[])
        RETURNING id
        """,
        list(clients),
    )
    return len(shut)


async def select_client(db: Db, client_id: str) -> Client | None:
    """Find a client while it is active."""
    row = await db.fetchrow(
        """
        -- keyholder.select_client
        SELECT id, organisation_id, organisation, active, domains,
               reporter_quota, organisation_quota
          FROM keyholder.client
         WHERE id = $1 AND active
        """,
        client_id,
    )
    if row is None:
        return None
    return Client(**{**row, "domains": tuple(row["domains"])})


async def select_domains(db: Db) -> list[str]:
    """Name the domains that any active client may use."""
    rows = await db.fetch(
        """
        -- keyholder.select_domains
        SELECT DISTINCT unnest(domains) AS domain
          FROM keyholder.client
         WHERE active
         ORDER BY domain
        """
    )
    return [row["domain"] for row in rows]


async def insert_epoch(db: Db, epoch: int, period: Period) -> None:
    """Note an epoch; one that is known keeps its period."""
    await db.execute(
        """
        -- keyholder.insert_epoch
        INSERT INTO keyholder.epoch (epoch, not_before, not_after)
        VALUES ($1, $2, $3)
            ON CONFLICT ON CONSTRAINT epoch_pk DO NOTHING
        """,
        epoch,
        period.not_before,
        period.not_after,
    )


async def select_periods(db: Db) -> dict[int, Period]:
    """Find the period of each epoch that was ever used."""
    rows = await db.fetch(
        """
        -- keyholder.select_periods
        SELECT epoch, not_before, not_after
          FROM keyholder.epoch
        """
    )
    return {row["epoch"]: Period(row["not_before"], row["not_after"]) for row in rows}
