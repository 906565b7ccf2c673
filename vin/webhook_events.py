"""What a webhook is told of a match: written, signed, and checked again just before it goes."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from aiohttp import hdrs

from matching.model import Status
from notify import ledger
from notify.attempts import Claim
from notify.carrier import UndeliveredError
from notify.retry import Outcome, Result
from notify.webhook import Call
from schemas.database import Db
from schemas.dates import instant_text, local_date
from vin import audit, match_store, webhook_store
from vin.audit import Entry, Event
from vin.clock import Clock
from vin.crypto.seal import DataKeys
from vin.crypto.webhook import WebhookKey, signed_content
from vin.match_store import Side
from vin.webhook_store import Form
from vin.webhooks import open_webhook

TYPE: Final = "nl.vin.match.created"
CONTENT_TYPES: Final[Mapping[Form, str]] = {
    Form.STANDARD: "application/json",
    Form.CLOUDEVENTS: "application/cloudevents+json; charset=utf-8",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookComposer:
    """Fills `notify.webhook.Composer`; `source` is who tells, in a CloudEvent."""

    data_keys: DataKeys
    key: WebhookKey
    clock: Clock
    source: str

    async def compose(self, db: Db, held: Claim) -> Call | None:
        """The call on a match that is open now and still of the webhook's organisation.

        UndeliveredError while an organisation in it has no agreement (W2).
        """
        side = await self._select_open(db, held)
        await webhook_store.hold_webhook(db, held.webhook_id)
        row = await webhook_store.select_target(db, held.webhook_id)
        if side is None or row is None or side.organisation != row.organisation:
            return None
        now = await self.clock.now(db)
        if await match_store.select_waiting(db, [side.match], local_date(now)):
            raise UndeliveredError(Outcome(Result.NOBODY))
        webhook = open_webhook(row, self.data_keys)
        # Receivers compare the second with their own clocks, which know no demo's offset.
        second = int((now - self.clock.offset).timestamp())
        body = self._body(webhook.form, held, side)
        signed = signed_content(str(held.delivery_id), second, body)
        return Call(
            url=webhook.url,
            headers={
                hdrs.CONTENT_TYPE: CONTENT_TYPES[webhook.form],
                "webhook-id": str(held.delivery_id),
                "webhook-timestamp": str(second),
                "webhook-signature": self.key.sign(signed, webhook.secrets_at(now)),
            },
            body=body,
        )

    async def _select_open(self, db: Db, held: Claim) -> Side | None:
        """The side that the delivery is on, if its match is open; it cannot end meanwhile."""
        told = await ledger.select_matches(db, held.notice_id)
        keys = [key for key in told if key[0] == held.match_id]
        await match_store.share_legs(db, [match for match, _ in keys])
        sides = await match_store.select_sides(db, keys, await self.clock.now(db))
        return next((side for side in sides if side.status is Status.OPEN), None)

    def _body(self, form: Form, held: Claim, side: Side) -> bytes:
        """The same at every attempt, so that receivers can tell attempts from events."""
        if form is Form.STANDARD:
            return _json({"type": TYPE, "matchNumber": side.number})
        return _json(
            {
                "specversion": "1.0",
                "id": str(held.delivery_id),
                "source": self.source,
                "type": TYPE,
                "time": instant_text(side.matched_at),
                "datacontenttype": "application/json",
                "data": {"matchNumber": side.number},
            }
        )

    async def disable(self, db: Db, held: Claim, url: str) -> None:
        """Tell the webhook no more: who answered at this URL is gone for good."""
        row = await webhook_store.select_target(db, held.webhook_id)
        if row is None or open_webhook(row, self.data_keys).url != url:
            return
        now = await self.clock.now(db)
        if await webhook_store.disable_webhook(db, row, now):
            entry = Entry(
                event=Event.WEBHOOK_DISABLED,
                actor_kind="system",
                actor="notifier",
                object_kind="webhook",
                object_id=row.id,
                detail={"organisation": str(row.organisation)},
            )
            await audit.append(db, now, [entry])


def _json(document: Mapping[str, object]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
