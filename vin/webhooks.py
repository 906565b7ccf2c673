"""Use cases on webhooks: where an organisation's own system is told of its matches."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from schemas.database import Db
from vin import audit, webhook_store
from vin.audit import Entry, Event
from vin.crypto import webhook
from vin.crypto.seal import DataKeys
from vin.errors import NotFoundError, WebhookLimitError
from vin.webhook_store import Form, WebhookRow, webhook_binding

MAX_WEBHOOKS: Final = 10
OVERLAP: Final = timedelta(hours=24)


@dataclass(frozen=True, slots=True, kw_only=True)
class Actor:
    """The client that asks, and the organisation that it acts for."""

    organisation: UUID
    client: str
    request_id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What an organisation says of one of its webhooks; without a secret it keeps its own."""

    name: str
    url: str = field(repr=False)
    form: Form
    secret: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Secret:
    """What an organisation and we share; `until` is set once another has taken its place."""

    value: bytes = field(repr=False)
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """A webhook, opened; the newest secret comes first."""

    id: UUID
    organisation: UUID
    name: str
    url: str = field(repr=False)
    form: Form
    secrets: Sequence[Secret]
    created_at: datetime
    disabled_at: datetime | None = None

    def secrets_at(self, now: datetime) -> list[bytes]:
        """What to sign with: for a day after a change, with the old secret too."""
        return [each.value for each in self.secrets if each.until is None or now < each.until]


async def put_webhook(
    db: Db, wanted: Wanted, actor: Actor, keys: DataKeys, now: datetime
) -> tuple[Webhook, bool, str | None]:
    """Add a webhook, or change and enable the one of that name.

    Gives what it is from now on, whether it is new, and the secret if one was made here, which
    is told this once. WebhookLimitError where the organisation has as many as it may.
    """
    await webhook_store.lock_organisation(db, actor.organisation)
    row = await webhook_store.select_webhook(db, actor.organisation, wanted.name)
    if row is None:
        added = await _add(db, wanted, actor, keys, now)
        made = None if wanted.secret else webhook.secret_text(added.secrets[0].value)
        return added, True, made
    before = open_webhook(row, keys)
    after = replace(
        before,
        url=wanted.url,
        form=wanted.form,
        secrets=_rotated(before.secrets, wanted.secret, now),
        disabled_at=None,
    )
    if after != before:
        await webhook_store.update_webhook(db, _sealed(after, keys))
        await audit.append(db, now, [_entry(Event.WEBHOOK_CHANGED, after.id, actor)])
    return after, False, None


async def _add(db: Db, wanted: Wanted, actor: Actor, keys: DataKeys, now: datetime) -> Webhook:
    if await webhook_store.count_webhooks(db, actor.organisation) >= MAX_WEBHOOKS:
        raise WebhookLimitError
    added = Webhook(
        id=uuid4(),
        organisation=actor.organisation,
        name=wanted.name,
        url=wanted.url,
        form=wanted.form,
        secrets=[Secret(wanted.secret or webhook.new_secret())],
        created_at=now,
    )
    await webhook_store.insert_webhook(db, _sealed(added, keys))
    await audit.append(db, now, [_entry(Event.WEBHOOK_ADDED, added.id, actor)])
    return added


def _rotated(secrets: Sequence[Secret], secret: bytes | None, now: datetime) -> Sequence[Secret]:
    if secret is None or secret == secrets[0].value:
        return secrets
    return [Secret(secret), replace(secrets[0], until=now + OVERLAP)]


async def read_webhook(db: Db, organisation: UUID, name: str, keys: DataKeys) -> Webhook:
    """One of the organisation's webhooks; NotFoundError where it has no such."""
    row = await webhook_store.select_webhook(db, organisation, name)
    if row is None:
        raise NotFoundError
    return open_webhook(row, keys)


async def list_webhooks(
    db: Db, organisation: UUID, after: tuple[datetime, UUID], limit: int, keys: DataKeys
) -> tuple[list[Webhook], bool]:
    """The next webhooks, oldest first, and whether more follow."""
    rows = await webhook_store.select_page(db, organisation, after, limit + 1)
    return [open_webhook(row, keys) for row in rows[:limit]], len(rows) > limit


async def remove_webhook(db: Db, name: str, actor: Actor, now: datetime) -> None:
    """Tell a webhook nothing more, not even what waits; NotFoundError where there is no such."""
    removed = await webhook_store.delete_webhook(db, actor.organisation, name)
    if removed is None:
        raise NotFoundError
    await audit.append(db, now, [_entry(Event.WEBHOOK_REMOVED, removed, actor)])


def open_webhook(row: WebhookRow, keys: DataKeys) -> Webhook:
    """Open a webhook's address and secrets; SealError where they were changed or moved."""
    address, secrets = (
        keys.open(box, webhook_binding(column, row.id, row.organisation))
        for column, box in (("address", row.address), ("secrets", row.secrets))
    )
    return Webhook(
        id=row.id,
        organisation=row.organisation,
        name=row.name,
        url=address.decode(),
        form=row.form,
        secrets=[
            Secret(base64.b64decode(value), datetime.fromisoformat(until) if until else None)
            for value, until in json.loads(secrets)
        ],
        created_at=row.created_at,
        disabled_at=row.disabled_at,
    )


def _sealed(opened: Webhook, keys: DataKeys) -> WebhookRow:
    secrets = [
        (base64.b64encode(each.value).decode(), each.until.isoformat() if each.until else None)
        for each in opened.secrets
    ]
    address, sealed = (
        keys.seal(plain.encode(), webhook_binding(column, opened.id, opened.organisation))
        for column, plain in (("address", opened.url), ("secrets", json.dumps(secrets)))
    )
    return WebhookRow(
        id=opened.id,
        organisation=opened.organisation,
        name=opened.name,
        form=opened.form,
        address=address,
        secrets=sealed,
        created_at=opened.created_at,
        disabled_at=opened.disabled_at,
    )


def _entry(event: Event, row: UUID, actor: Actor) -> Entry:
    return Entry(
        event=event,
        actor_kind="client",
        actor=actor.client,
        object_kind="webhook",
        object_id=row,
        request_id=actor.request_id,
        detail={"organisation": str(actor.organisation)},
    )
