"""Mailboxes that mail comes back from (W3): who is passed over, and until when."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from schemas.database import Db
from vin import audit
from vin.audit import Entry, Event
from vin.contacts import officer_binding, reporter_binding
from vin.crypto.seal import Sealed
from vin.errors import NotFoundError
from vin.registry import Box


@dataclass(frozen=True, slots=True)
class Mailbox:
    """Somebody whom a notice may have gone to."""

    kind: str
    id: UUID
    box: Box = field(repr=False)


async def select_line(db: Db, notice: UUID) -> list[Mailbox]:
    """Everybody whom W3 could have a notice go to."""
    rows = await db.fetch(
        """
        -- mailboxes.select_line
        WITH RECURSIVE whose (id) AS (
             SELECT reporter_id FROM notify.notice WHERE id = $1
              UNION
             SELECT side.reporter_id
               FROM notify.notice_step
               JOIN matching.match_side AS side USING (match_id, signal_id)
              WHERE notice_id = $1
        ), chain (id, successor_id, organisation_id) AS (
             SELECT reporter.id, successor_id, organisation_id
               FROM registry.reporter
               JOIN whose USING (id)
              UNION
             SELECT r.id, r.successor_id, r.organisation_id
               FROM chain
               JOIN registry.reporter AS r ON r.id = chain.successor_id
        ), place (municipality) AS (
             SELECT municipality
               FROM registry.organisation
              WHERE id IN (SELECT organisation_id FROM chain)
              UNION
             SELECT municipality
               FROM registry.officer
               JOIN whose USING (id))
        SELECT 'reporter' AS kind, id, organisation_id, contact_epoch, contact
          FROM registry.reporter
         WHERE id IN (SELECT id FROM chain)
         UNION ALL
        SELECT 'officer', id, organisation_id, contact_epoch, contact
          FROM registry.officer
         WHERE role = 'coordinator' AND organisation_id IN (SELECT organisation_id FROM chain)
            OR role = 'follow_up_officer' AND municipality IN (SELECT municipality FROM place)
         ORDER BY kind, id
        """,
        notice,
    )
    bindings = {"reporter": reporter_binding, "officer": officer_binding}
    return [
        Mailbox(
            kind=row["kind"],
            id=row["id"],
            box=(
                Sealed(row["contact_epoch"], row["contact"]),
                bindings[row["kind"]](row["id"], row["organisation_id"]),
            ),
        )
        for row in rows
    ]


async def mark_dead(db: Db, mailbox: Mailbox, at: datetime) -> bool:
    """Write that mail to somebody comes back; False when it was, or he has another address."""
    statements = {
        "reporter": """
            -- mailboxes.mark_reporter
            UPDATE registry.reporter
               SET mail_failed_at = $3
             WHERE id = $1
               AND contact = $2
               AND mail_failed_at IS NULL
            RETURNING true
            """,
        "officer": """
            -- mailboxes.mark_officer
            UPDATE registry.officer
               SET mail_failed_at = $3
             WHERE id = $1
               AND contact = $2
               AND mail_failed_at IS NULL
            RETURNING true
            """,
    }
    sealed, _ = mailbox.box
    marked = await db.fetchval(statements[mailbox.kind], mailbox.id, sealed.box, at)
    return marked is not None


def dead_entry(mailbox: Mailbox) -> Entry:
    """The log of a mailbox that W3 passes over from now on."""
    return Entry(
        event=Event.MAILBOX_FAILED,
        actor_kind="system",
        actor="bounces",
        object_kind=mailbox.kind,
        object_id=mailbox.id,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadMailbox:
    """Whom mail does not reach: `name` is the reporter's id, or the officer's role."""

    id: UUID
    place: str
    name: str
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Clearing:
    """That an operator has mail go to somebody again, since his address is right after all."""

    mailbox: UUID
    operator: str
    purpose: str


async def list_dead(db: Db, operator: str, now: datetime) -> list[DeadMailbox]:
    """All mailboxes that are passed over, without their addresses."""
    rows = await db.fetch(
        """
        -- mailboxes.list_dead
        SELECT reporter.id, organisation.code AS place, reporter_id AS name,
               mail_failed_at AS since
          FROM registry.reporter
          JOIN registry.organisation ON organisation.id = organisation_id
         WHERE mail_failed_at IS NOT NULL
           AND ended_at IS NULL
         UNION ALL
        SELECT officer.id, coalesce(organisation.code, officer.municipality), role, mail_failed_at
          FROM registry.officer
          LEFT JOIN registry.organisation ON organisation.id = organisation_id
         WHERE mail_failed_at IS NOT NULL
         ORDER BY since, id
        """
    )
    found = [DeadMailbox(**dict(row)) for row in rows]
    await audit.append(db, now, [listed_entry(operator, len(found))])
    return found


async def clear(db: Db, order: Clearing, now: datetime) -> None:
    """Let mail go to a mailbox again; NotFoundError where it is not passed over."""
    kind = await db.fetchval(
        """
        -- mailboxes.clear
        WITH reporter AS (
             UPDATE registry.reporter
                SET mail_failed_at = NULL
              WHERE id = $1
                AND mail_failed_at IS NOT NULL
             RETURNING 'reporter' AS kind
        ), officer AS (
             UPDATE registry.officer
                SET mail_failed_at = NULL
              WHERE id = $1
                AND mail_failed_at IS NOT NULL
             RETURNING 'officer' AS kind
        )
        SELECT kind FROM reporter
         UNION ALL
        SELECT kind FROM officer
        """,
        order.mailbox,
    )
    if kind is None:
        raise NotFoundError
    await audit.append(db, now, [cleared_entry(order, kind)])


def listed_entry(operator: str, count: int) -> Entry:
    """The log of who looked."""
    return Entry(
        event=Event.MAILBOXES_AUDITED,
        actor_kind="operator",
        actor=operator,
        object_kind="mailboxes",
        object_id=None,
        detail={"mailboxes": count},
    )


def cleared_entry(order: Clearing, kind: str) -> Entry:
    """The log of a mailbox that gets mail again."""
    return Entry(
        event=Event.MAILBOX_CLEARED,
        actor_kind="operator",
        actor=order.operator,
        object_kind=kind,
        object_id=order.mailbox,
        purpose=order.purpose,
    )
