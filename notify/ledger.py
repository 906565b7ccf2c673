"""SQL of notices and deliveries: outbox and ledger in one.

The matcher appends, the relay marks what is due, operators pause; `attempts` does the rest.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from uuid import UUID

from notify.retry import Result, State
from schemas.database import Db

VISIBILITY = timedelta(seconds=10)


class Channel(StrEnum):
    """A way by which a notice reaches its reporter."""

    MAIL = "mail"


@dataclass(frozen=True, slots=True)
class NewNotice:
    """A message to one reporter on matches, each with the signal of his that it is on."""

    id: UUID
    reporter_id: UUID
    matches: Sequence[tuple[UUID, UUID]]


@dataclass(frozen=True, slots=True)
class Attempt:
    """One line of a delivery's story; without attempt yet, the attempt's fields are None."""

    notice_id: UUID
    delivery_id: UUID
    channel: Channel
    state: State
    maybe_duplicate: bool
    attempt: int | None
    started_at: datetime | None
    finished_at: datetime | None
    result: Result | None
    code: int | None


async def append(db: Db, notices: Sequence[NewNotice], at: datetime) -> None:
    """Write notices, each with its deliveries, in the caller's transaction.

    Rows go in by key, so that concurrent matchers cannot lock each other out.
    """
    keys = sorted(
        (match_id, signal_id, notice.id)
        for notice in notices
        for match_id, signal_id in notice.matches
    )
    await db.execute(
        """
        -- ledger.append
        WITH notice AS (
             INSERT INTO notify.notice (id, reporter_id, created_at)
             SELECT id, reporter_id, $6 FROM unnest($1::uuid[], $2::uuid[]) AS new (id, reporter_id)
              ORDER BY id
        ), notice_match AS (
             INSERT INTO notify.notice_match (match_id, signal_id, notice_id)
             SELECT * FROM unnest($3::uuid[], $4::uuid[], $5::uuid[])
        )
        INSERT INTO notify.delivery (id, notice_id, channel, state, next_at, created_at)
        SELECT gen_random_uuid(), id, 'mail', 'pending', clock_timestamp(), $6
          FROM unnest($1::uuid[]) AS new (id)
         ORDER BY id
        """,
        [notice.id for notice in notices],
        [notice.reporter_id for notice in notices],
        [match_id for match_id, _, _ in keys],
        [signal_id for _, signal_id, _ in keys],
        [notice_id for _, _, notice_id in keys],
        at,
    )


async def mark_queued(db: Db, limit: int) -> list[UUID]:
    """Mark what is due, for its ids to be published after the commit.

    What was marked but never claimed is due again when its visibility ends. The sub-select
    makes the clock a constant of the statement, so that the index ends the scan.
    """
    rows = await db.fetch(
        """
        -- ledger.mark_queued
        WITH due AS (
             SELECT id
               FROM notify.delivery
              WHERE state IN ('pending', 'queued', 'retry')
                AND next_at <= (SELECT clock_timestamp())
                AND channel NOT IN (SELECT channel FROM notify.pause)
              ORDER BY next_at
              LIMIT $1
                FOR UPDATE SKIP LOCKED
        )
        UPDATE notify.delivery
           SET state = 'queued', next_at = clock_timestamp() + $2
          FROM due
         WHERE delivery.id = due.id
        RETURNING delivery.id
        """,
        limit,
        VISIBILITY,
    )
    return [row["id"] for row in rows]


async def pause(db: Db, channel: Channel) -> bool:
    """Keep the channel's deliveries in the ledger; False when it was paused already.

    What is on its way to a worker is taken back, so that it is due at once on resume.
    """
    paused = await db.fetchval(
        """
        -- ledger.pause
        INSERT INTO notify.pause (channel, paused_at)
        VALUES ($1, clock_timestamp())
            ON CONFLICT DO NOTHING
        RETURNING true
        """,
        channel,
    )
    await db.execute(
        """
        -- ledger.take_back
        UPDATE notify.delivery
           SET state = 'pending', next_at = clock_timestamp()
         WHERE channel = $1
           AND state = 'queued'
        """,
        channel,
    )
    return paused is not None


async def resume(db: Db, channel: Channel) -> bool:
    """Let the channel's deliveries go again; False when it was not paused."""
    resumed = await db.fetchval(
        """
        -- ledger.resume
        DELETE FROM notify.pause
         WHERE channel = $1
        RETURNING true
        """,
        channel,
    )
    return resumed is not None


async def select_paused(db: Db) -> dict[Channel, datetime]:
    """Which channels are paused, and since when."""
    rows = await db.fetch(
        """
        -- ledger.select_paused
        SELECT channel, paused_at
          FROM notify.pause
        """
    )
    return {Channel(row["channel"]): row["paused_at"] for row in rows}


async def count_by_state(db: Db) -> dict[State, int]:
    """How many deliveries stand where."""
    rows = await db.fetch(
        """
        -- ledger.count_by_state
        SELECT state, count(*) AS deliveries
          FROM notify.delivery
         GROUP BY state
        """
    )
    return {State(row["state"]): row["deliveries"] for row in rows}


async def select_reporter(db: Db, notice: UUID) -> UUID | None:
    """Whom a notice is for; None when it is gone."""
    reporter: UUID | None = await db.fetchval(
        """
        -- ledger.select_reporter
        SELECT reporter_id
          FROM notify.notice
         WHERE id = $1
        """,
        notice,
    )
    return reporter


async def select_matches(db: Db, notice: UUID) -> list[tuple[UUID, UUID]]:
    """The matches that a notice is on, each with its reporter's own signal."""
    rows = await db.fetch(
        """
        -- ledger.select_matches
        SELECT match_id, signal_id
          FROM notify.notice_match
         WHERE notice_id = $1
         ORDER BY match_id, signal_id
        """,
        notice,
    )
    return [(row["match_id"], row["signal_id"]) for row in rows]


async def readdress(db: Db, sides: Sequence[tuple[UUID, UUID]], reporter: UUID) -> None:
    """Give the undelivered notices on these (match, signal) sides to another reporter."""
    await db.execute(
        """
        -- ledger.readdress
        UPDATE notify.notice
           SET reporter_id = $3
         WHERE id IN (
               SELECT notice_id
                 FROM notify.notice_match
                 JOIN unnest($1::uuid[], $2::uuid[]) AS moved (match_id, signal_id)
                USING (match_id, signal_id))
           AND EXISTS (
               SELECT
                 FROM notify.delivery
                WHERE notice_id = notice.id
                  AND state IN ('pending', 'queued', 'sending', 'retry'))
        """,
        [match for match, _ in sides],
        [signal for _, signal in sides],
        reporter,
    )


async def select_attempts(db: Db, notices: Sequence[UUID]) -> list[Attempt]:
    """The story of the deliveries of notices, in order."""
    rows = await db.fetch(
        """
        -- ledger.select_attempts
        SELECT notice_id, delivery.id AS delivery_id, channel, state, maybe_duplicate,
               attempt.attempt, started_at, attempt.finished_at, outcome, code
          FROM notify.delivery
          LEFT JOIN notify.attempt ON attempt.delivery_id = delivery.id
         WHERE notice_id = ANY($1)
         ORDER BY notice_id, channel, attempt.attempt
        """,
        notices,
    )
    return [
        Attempt(
            notice_id=row["notice_id"],
            delivery_id=row["delivery_id"],
            channel=Channel(row["channel"]),
            state=State(row["state"]),
            maybe_duplicate=row["maybe_duplicate"],
            attempt=row["attempt"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            result=Result(row["outcome"]) if row["outcome"] else None,
            code=row["code"],
        )
        for row in rows
    ]


async def withdraw_matches(db: Db, matches: Collection[UUID]) -> list[UUID]:
    """Forget that matches were to be told; notices that tell of nothing else go. What is gone."""
    rows = await db.fetch(
        """
        -- ledger.withdraw_matches
        DELETE FROM notify.notice_match
         WHERE match_id = ANY($1)
        RETURNING notice_id
        """,
        list(matches),
    )
    return await delete_empty(db, {row["notice_id"] for row in rows})


async def withdraw_sides(db: Db, signals: Collection[UUID]) -> list[UUID]:
    """Forget what was to be told to the reporters of these signals. What is gone."""
    rows = await db.fetch(
        """
        -- ledger.withdraw_sides
        DELETE FROM notify.notice_match
         WHERE signal_id = ANY($1)
        RETURNING notice_id
        """,
        list(signals),
    )
    return await delete_empty(db, {row["notice_id"] for row in rows})


async def delete_empty(db: Db, notices: Collection[UUID]) -> list[UUID]:
    """Delete those of these notices that tell of nothing any more; ids of all that is gone.

    They are locked first: of two who empty a notice together, the second then sees what the
    first took out.
    """
    await db.execute(
        """
        -- ledger.lock_notices
        SELECT id
          FROM notify.notice
         WHERE id = ANY($1)
         ORDER BY id
           FOR UPDATE
        """,
        list(notices),
    )
    rows = await db.fetch(
        """
        -- ledger.delete_empty
        WITH empty AS (
             SELECT id
               FROM notify.notice
              WHERE id = ANY($1)
                AND NOT EXISTS (SELECT FROM notify.notice_match WHERE notice_id = notice.id)
                AND NOT EXISTS (SELECT FROM notify.notice_move WHERE notice_id = notice.id)
        ), delivery AS (
             SELECT id FROM notify.delivery WHERE notice_id IN (SELECT id FROM empty)
        ), gone AS (
             DELETE FROM notify.notice WHERE id IN (SELECT id FROM empty)
        )
        SELECT id FROM empty
         UNION ALL
        SELECT id FROM delivery
        """,
        list(notices),
    )
    return [row["id"] for row in rows]
