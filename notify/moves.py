"""SQL of notices that a child moved (G6): of whom, to which municipality, told to whom."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from notify import ledger
from schemas.database import Db


@dataclass(frozen=True, slots=True)
class NewMove:
    """A message to one recipient that the child of these signals moved.

    `party_id` is whom it counts for when organisations take turns.
    """

    id: UUID
    recipient: UUID
    signals: Sequence[UUID]
    municipality: str
    party_id: UUID | None = None


async def append(db: Db, notices: Sequence[NewMove], at: datetime) -> None:
    """Write notices, each with its delivery, in the caller's transaction."""
    told = [
        (notice.id, signal, notice.municipality) for notice in notices for signal in notice.signals
    ]
    await db.execute(
        """
        -- moves.append
        WITH notice AS (
             INSERT INTO notify.notice (id, reporter_id, party_id, kind, created_at)
             SELECT id, recipient, party_id, 'moved', $6
               FROM unnest($1::uuid[], $2::uuid[], $7::uuid[]) AS new (id, recipient, party_id)
        ), move AS (
             INSERT INTO notify.notice_move (notice_id, signal_id, municipality)
             SELECT * FROM unnest($3::uuid[], $4::uuid[], $5::text[])
        )
        INSERT INTO notify.delivery
               (id, notice_id, party_id, channel, state, next_at, created_at)
        SELECT gen_random_uuid(), id, party_id, 'mail', 'pending', clock_timestamp(), $6
          FROM unnest($1::uuid[], $7::uuid[]) AS new (id, party_id)
        """,
        [notice.id for notice in notices],
        [notice.recipient for notice in notices],
        [notice for notice, _, _ in told],
        [signal for _, signal, _ in told],
        [municipality for _, _, municipality in told],
        at,
        [notice.party_id for notice in notices],
    )


async def select_untold(db: Db, signals: Collection[UUID], municipality: str) -> list[UUID]:
    """Those of these signals of which the last that was told is not a move to there."""
    rows = await db.fetch(
        """
        -- moves.select_untold
        SELECT asked.signal_id
          FROM unnest($1::uuid[]) AS asked (signal_id)
         WHERE $2 IS DISTINCT FROM (
               SELECT notice_move.municipality
                 FROM notify.notice_move
                 JOIN notify.notice ON notice.id = notice_move.notice_id
                WHERE notice_move.signal_id = asked.signal_id
                ORDER BY notice.created_at DESC
                LIMIT 1)
         ORDER BY asked.signal_id
        """,
        list(signals),
        municipality,
    )
    return [row["signal_id"] for row in rows]


async def select_move(db: Db, notice: UUID) -> tuple[str, list[UUID]] | None:
    """To which municipality the child of which signals moved; None for a notice on matches."""
    rows = await db.fetch(
        """
        -- moves.select_move
        SELECT municipality, signal_id
          FROM notify.notice_move
         WHERE notice_id = $1
         ORDER BY signal_id
        """,
        notice,
    )
    return (rows[0]["municipality"], [row["signal_id"] for row in rows]) if rows else None


async def readdress(db: Db, signals: Collection[UUID], reporter: UUID) -> None:
    """Give notices on a reporter's own signals to another, unless they went out.

    Officers keep theirs.
    """
    await db.execute(
        """
        -- moves.readdress
        UPDATE notify.notice
           SET reporter_id = $2
         WHERE id IN (SELECT notice_id FROM notify.notice_move WHERE signal_id = ANY($1))
           AND EXISTS (SELECT FROM registry.reporter WHERE id = notice.reporter_id)
           AND EXISTS (
               SELECT
                 FROM notify.delivery
                WHERE notice_id = notice.id
                  AND state NOT IN ('sent', 'suppressed'))
        """,
        list(signals),
        reporter,
    )


async def withdraw(db: Db, signals: Collection[UUID]) -> list[UUID]:
    """Forget that children of these signals moved; ids of the notices and deliveries that went."""
    rows = await db.fetch(
        """
        -- moves.withdraw
        DELETE FROM notify.notice_move
         WHERE signal_id = ANY($1)
        RETURNING notice_id
        """,
        list(signals),
    )
    return await ledger.delete_empty(db, {row["notice_id"] for row in rows})
