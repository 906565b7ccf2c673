"""Who did what, when and why (G3): the event catalogue, and the one way to write an entry.

An entry holds internal ids only. What an event may tell beyond actor and object is its
allow-list in `FIELDS`; anything else is refused, so that no token, identifier or contact
detail can slip in through a new call.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from schemas.database import Db


class Event(StrEnum):
    """Everything that leaves a trace, in the words of the domain."""

    REGION_ONBOARDED = "region.onboarded"
    REPORTER_DESIGNATED = "reporter.designated"
    REPORTER_CHANGED = "reporter.changed"
    REPORTER_ENDED = "reporter.ended"
    SIGNAL_REGISTERED = "signal.registered"
    SIGNAL_RETURNED = "signal.returned"
    SIGNAL_WITHDRAWN = "signal.withdrawn"
    SIGNAL_CHILD_FOUND = "signal.child_found"
    SIGNAL_HOUSEHOLD_REPLACED = "signal.household_replaced"
    SIGNALS_EXPIRED = "signals.expired"
    SIGNALS_DESTROYED = "signals.destroyed"
    SIGNALS_HANDED_OVER = "signals.handed_over"
    SIGNAL_ENDED = "signal.ended"
    HISTORY_NOTICED = "history.noticed"
    HISTORY_OPENED = "history.opened"
    HUB_RECORDED = "hub.recorded"
    HUB_RELEASED = "hub.released"
    HUBS_AUDITED = "hubs.audited"
    MATCH_MADE = "match.made"
    MATCH_CHANGED = "match.changed"
    RELATION_APPLIED = "relation.applied"
    CONTACT_OPENED = "contact.opened"
    WEBHOOK_ADDED = "webhook.added"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_REMOVED = "webhook.removed"
    WEBHOOK_DISABLED = "webhook.disabled"
    OUTCOME_SAID = "outcome.said"
    STEP_TAKEN = "step.taken"
    FOLLOW_UP_LISTED = "follow_up.listed"
    DELIVERY_STARTED = "delivery.started"
    DELIVERY_FINISHED = "delivery.finished"
    DELIVERY_REPORTED = "delivery.reported"
    MAILBOX_FAILED = "mailbox.failed"
    MAILBOX_CLEARED = "mailbox.cleared"
    MAILBOXES_AUDITED = "mailboxes.audited"
    DELIVERIES_LISTED = "deliveries.listed"
    DELIVERY_SHOWN = "delivery.shown"
    DELIVERY_RETRIED = "delivery.retried"
    DELIVERY_RESOLVED = "delivery.resolved"
    CHANNEL_PAUSED = "channel.paused"
    CHANNEL_RESUMED = "channel.resumed"
    MATCHES_AUDITED = "matches.audited"


FIELDS: Mapping[Event, frozenset[str]] = {
    Event.REGION_ONBOARDED: frozenset({"changes"}),
    Event.REPORTER_DESIGNATED: frozenset({"organisation"}),
    Event.REPORTER_CHANGED: frozenset({"organisation"}),
    Event.REPORTER_ENDED: frozenset({"successor", "signals"}),
    Event.SIGNAL_REGISTERED: frozenset({"reporter"}),
    Event.SIGNAL_RETURNED: frozenset({"reporter"}),
    Event.SIGNAL_WITHDRAWN: frozenset({"ground", "matches"}),
    Event.SIGNAL_CHILD_FOUND: frozenset(),
    Event.SIGNAL_HOUSEHOLD_REPLACED: frozenset(),
    Event.SIGNALS_EXPIRED: frozenset({"signals", "matches"}),
    Event.SIGNALS_DESTROYED: frozenset({"signals", "matches"}),
    Event.SIGNALS_HANDED_OVER: frozenset({"holder", "signals"}),
    Event.SIGNAL_ENDED: frozenset({"ground", "signals"}),
    Event.HISTORY_NOTICED: frozenset(),
    Event.HISTORY_OPENED: frozenset({"signal"}),
    Event.HUB_RECORDED: frozenset(),
    Event.HUB_RELEASED: frozenset({"signals"}),
    Event.HUBS_AUDITED: frozenset({"hubs"}),
    Event.MATCH_MADE: frozenset({"number", "kind", "signals", "notices"}),
    Event.MATCH_CHANGED: frozenset({"number", "kind", "status"}),
    Event.RELATION_APPLIED: frozenset({"signals"}),
    Event.CONTACT_OPENED: frozenset({"signal"}),
    Event.WEBHOOK_ADDED: frozenset({"organisation"}),
    Event.WEBHOOK_CHANGED: frozenset({"organisation"}),
    Event.WEBHOOK_REMOVED: frozenset({"organisation"}),
    Event.WEBHOOK_DISABLED: frozenset({"organisation"}),
    Event.OUTCOME_SAID: frozenset({"signal", "outcome", "new_to_me", "via"}),
    Event.STEP_TAKEN: frozenset({"steps", "notices"}),
    Event.FOLLOW_UP_LISTED: frozenset({"municipality", "matches"}),
    Event.DELIVERY_STARTED: frozenset({"notice", "channel", "attempt"}),
    Event.DELIVERY_FINISHED: frozenset({"notice", "channel", "attempt", "code"}),
    Event.DELIVERY_REPORTED: frozenset({"notice", "attempt", "status"}),
    Event.MAILBOX_FAILED: frozenset(),
    Event.MAILBOX_CLEARED: frozenset(),
    Event.MAILBOXES_AUDITED: frozenset({"mailboxes"}),
    Event.DELIVERIES_LISTED: frozenset({"state", "channel", "organisation", "deliveries"}),
    Event.DELIVERY_SHOWN: frozenset(),
    Event.DELIVERY_RETRIED: frozenset({"channel"}),
    Event.DELIVERY_RESOLVED: frozenset({"channel"}),
    Event.CHANNEL_PAUSED: frozenset({"channel"}),
    Event.CHANNEL_RESUMED: frozenset({"channel"}),
    Event.MATCHES_AUDITED: frozenset({"number"}),
}


class UnlistedFieldError(Exception):
    """An event was to tell something that its allow-list does not name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of the log: `actor` is a client id, an operator's login name or a process."""

    event: Event
    actor_kind: str
    actor: str
    object_kind: str
    object_id: UUID | None
    result: str = "done"
    purpose: str | None = None
    request_id: UUID | None = None
    detail: Mapping[str, str | int | bool | list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        unlisted = self.detail.keys() - FIELDS[self.event]
        if unlisted:
            raise UnlistedFieldError(self.event, sorted(unlisted))


async def append(db: Db, at: datetime, entries: Sequence[Entry]) -> None:
    """Write the entries in the caller's transaction, so that act and entry commit together."""
    if not entries:
        return
    await db.execute(
        """
        -- audit.append
        INSERT INTO audit.entry
               (at, event, actor_kind, actor, object_kind, object_id,
                purpose, result, request_id, detail)
        SELECT $1, *
          FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::uuid[],
                      $7::text[], $8::text[], $9::uuid[], $10::jsonb[])
        """,
        at,
        [entry.event for entry in entries],
        [entry.actor_kind for entry in entries],
        [entry.actor for entry in entries],
        [entry.object_kind for entry in entries],
        [entry.object_id for entry in entries],
        [entry.purpose for entry in entries],
        [entry.result for entry in entries],
        [entry.request_id for entry in entries],
        [json.dumps(dict(entry.detail)) for entry in entries],
    )


async def forget_objects(db: Db, objects: Collection[UUID]) -> None:
    """Of entries on destroyed objects keep actor, action, time and result (G3)."""
    await db.execute(
        """
        -- audit.forget_objects
        UPDATE audit.entry
           SET object_id = NULL, purpose = NULL, request_id = NULL, detail = '{}'
         WHERE object_id = ANY($1)
        """,
        list(objects),
    )


async def forget_outcomes(db: Db, signal: UUID) -> None:
    """Of what a destroyed signal's side said, keep in the log only that it said something (D6)."""
    await db.execute(
        """
        -- audit.forget_outcomes
        UPDATE audit.entry
           SET detail = '{}'
         WHERE event = 'outcome.said'
           AND detail ->> 'signal' = $1
           AND object_id IN (SELECT match_id FROM matching.match_side WHERE signal_id = $2)
        """,
        str(signal),
        signal,
    )


async def forget_details(db: Db, signal: UUID) -> None:
    """Take a destroyed signal, and its notice, out of the entries on matches that outlive it."""
    await db.execute(
        """
        -- audit.forget_details
        UPDATE audit.entry
           SET detail = detail - 'signals' - 'signal' - 'notices'
         WHERE object_id IN (SELECT match_id FROM matching.match_side WHERE signal_id = $1)
        """,
        signal,
    )
