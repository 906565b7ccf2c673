"""SQL of webhooks: where an organisation's own system is told of its matches."""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from schemas.database import Db
from vin.crypto.seal import Binding, Sealed

if TYPE_CHECKING:
    from asyncpg import Record


class Form(StrEnum):
    """How an event is written down."""

    STANDARD = "standard"
    CLOUDEVENTS = "cloudevents"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRow:
    """A webhook as stored; `address` and `secrets` are sealed for their own columns."""

    id: UUID
    organisation: UUID
    name: str
    form: Form
    address: Sealed = field(repr=False)
    secrets: Sealed = field(repr=False)
    created_at: datetime
    disabled_at: datetime | None = None


def webhook_binding(column: str, row: UUID, organisation: UUID) -> Binding:
    """Name the place of a webhook's address or secrets."""
    return Binding("registry.webhook", column, row, organisation)


async def select_enabled(db: Db, organisations: Collection[UUID]) -> dict[UUID, list[UUID]]:
    """The webhooks that are told of these organisations' matches.

    None of them can be removed until the caller's transaction ends.
    """
    rows = await db.fetch(
        """
        -- webhook_store.select_enabled
        SELECT organisation_id, id
          FROM registry.webhook
         WHERE organisation_id = ANY($1::uuid[])
           AND disabled_at IS NULL
         ORDER BY id
           FOR KEY SHARE
        """,
        list(organisations),
    )
    enabled: dict[UUID, list[UUID]] = {}
    for row in rows:
        enabled.setdefault(row["organisation_id"], []).append(row["id"])
    return enabled


async def lock_organisation(db: Db, organisation: UUID) -> None:
    """Keep others from changing the organisation's webhooks; matching goes on meanwhile."""
    await db.execute(
        """
        -- webhook_store.lock_organisation
        SELECT id
          FROM registry.organisation
         WHERE id = $1
           FOR NO KEY UPDATE
        """,
        organisation,
    )


async def count_webhooks(db: Db, organisation: UUID) -> int:
    count: int = await db.fetchval(
        """
        -- webhook_store.count_webhooks
        SELECT count(*)
          FROM registry.webhook
         WHERE organisation_id = $1
        """,
        organisation,
    )
    return count


async def insert_webhook(db: Db, row: WebhookRow) -> None:
    await db.execute(
        """
        -- webhook_store.insert_webhook
        INSERT INTO registry.webhook
               (id, organisation_id, name, form, address_epoch, address,
                secrets_epoch, secrets, created_at, disabled_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        """,
        row.id,
        row.organisation,
        row.name,
        row.form,
        row.address.epoch,
        row.address.box,
        row.secrets.epoch,
        row.secrets.box,
        row.created_at,
        row.disabled_at,
    )


async def update_webhook(db: Db, row: WebhookRow) -> None:
    """Store what may change of a webhook."""
    await db.execute(
        """
        -- webhook_store.update_webhook
        UPDATE registry.webhook
           SET form = $2, address_epoch = $3, address = $4,
               secrets_epoch = $5, secrets = $6, disabled_at = $7
         WHERE id = $1
        """,
        row.id,
        row.form,
        row.address.epoch,
        row.address.box,
        row.secrets.epoch,
        row.secrets.box,
        row.disabled_at,
    )


async def select_webhook(db: Db, organisation: UUID, name: str) -> WebhookRow | None:
    """Find one of an organisation's webhooks."""
    row = await db.fetchrow(
        """
        -- webhook_store.select_webhook
        SELECT id, organisation_id, name, form, address_epoch, address,
               secrets_epoch, secrets, created_at, disabled_at
          FROM registry.webhook
         WHERE organisation_id = $1
           AND name = $2
        """,
        organisation,
        name,
    )
    return _webhook(row) if row else None


async def select_page(
    db: Db, organisation: UUID, after: tuple[datetime, UUID], limit: int
) -> list[WebhookRow]:
    """The next webhooks of an organisation, oldest first."""
    rows = await db.fetch(
        """
        -- webhook_store.select_page
        SELECT id, organisation_id, name, form, address_epoch, address,
               secrets_epoch, secrets, created_at, disabled_at
          FROM registry.webhook
         WHERE organisation_id = $1
           AND (created_at, id) > ($2, $3)
         ORDER BY created_at, id
         LIMIT $4
        """,
        organisation,
        *after,
        limit,
    )
    return [_webhook(row) for row in rows]


async def hold_webhook(db: Db, webhook: UUID | None) -> None:
    """Keep a webhook as it is until the caller's transaction ends."""
    await db.execute(
        """
        -- webhook_store.hold_webhook
        SELECT id
          FROM registry.webhook
         WHERE id = $1
           FOR SHARE
        """,
        webhook,
    )


async def select_target(db: Db, webhook: UUID | None) -> WebhookRow | None:
    """Read a webhook that is to be told."""
    row = await db.fetchrow(
        """
        -- webhook_store.select_target
        SELECT id, organisation_id, name, form, address_epoch, address,
               secrets_epoch, secrets, created_at, disabled_at
          FROM registry.webhook
         WHERE id = $1
           AND disabled_at IS NULL
        """,
        webhook,
    )
    return _webhook(row) if row else None


async def disable_webhook(db: Db, row: WebhookRow, at: datetime) -> bool:
    """Tell a webhook no more; False if it was changed since it was read."""
    disabled = await db.fetchval(
        """
        -- webhook_store.disable_webhook
        UPDATE registry.webhook
           SET disabled_at = $4
         WHERE id = $1
           AND address_epoch = $2
           AND address = $3
           AND disabled_at IS NULL
        RETURNING true
        """,
        row.id,
        row.address.epoch,
        row.address.box,
        at,
    )
    return disabled is not None


async def delete_webhook(db: Db, organisation: UUID, name: str) -> UUID | None:
    """Remove a webhook and all deliveries to it; None where there is no such."""
    deleted: UUID | None = await db.fetchval(
        """
        -- webhook_store.delete_webhook
        DELETE FROM registry.webhook
         WHERE organisation_id = $1
           AND name = $2
        RETURNING id
        """,
        organisation,
        name,
    )
    return deleted


def _webhook(row: "Record") -> WebhookRow:
    return WebhookRow(
        id=row["id"],
        organisation=row["organisation_id"],
        name=row["name"],
        form=Form(row["form"]),
        address=Sealed(row["address_epoch"], row["address"]),
        secrets=Sealed(row["secrets_epoch"], row["secrets"]),
        created_at=row["created_at"],
        disabled_at=row["disabled_at"],
    )
