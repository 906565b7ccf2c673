"""SQL of attempts: claim, lease, the DATA mark, the end.

An attempt's number is its fence: whoever holds an older one writes nothing. Leases are
decided by the database's clock alone.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from notify.ledger import Channel
from notify.retry import MAX_ATTEMPTS, Outcome, Result, Verdict
from schemas.database import Db

LEASE = timedelta(seconds=20)
SWEEP = 500


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this worker holds, under the number of its attempt."""

    delivery_id: UUID
    notice_id: UUID
    channel: Channel
    attempt: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryStarted:
    """For the audit log: an attempt was claimed."""

    delivery_id: UUID
    notice_id: UUID
    channel: Channel
    attempt: int


@dataclass(frozen=True, slots=True)
class DeliveryFinished:
    """For the audit log: an attempt ended; `code` is the other server's reply."""

    delivery_id: UUID
    notice_id: UUID
    channel: Channel
    attempt: int
    result: Result
    code: int | None


Journal = Callable[[Db, DeliveryStarted | DeliveryFinished], Awaitable[None]]


async def claim(db: Db, deliveries: Sequence[UUID], worker: str) -> list[Claim]:
    """Take those of the deliveries that still wait, each under a new attempt.

    A row that someone else has locked is left to its next wake-up.
    """
    rows = await db.fetch(
        """
        -- attempts.claim
        WITH waiting AS (
             SELECT id
               FROM notify.delivery
              WHERE id = ANY($1)
                AND state = 'queued'
                AND channel NOT IN (SELECT channel FROM notify.pause)
                FOR UPDATE SKIP LOCKED
        ), claimed AS (
             UPDATE notify.delivery
                SET state = 'sending', phase = 'before_data', attempt = attempt + 1,
                    lease_until = clock_timestamp() + $3
               FROM waiting
              WHERE delivery.id = waiting.id
             RETURNING delivery.id, notice_id, channel, attempt, created_at
        ), started AS (
             INSERT INTO notify.attempt (delivery_id, attempt, worker, started_at)
             SELECT id, attempt, $2, clock_timestamp() FROM claimed
        )
        SELECT id, notice_id, channel, attempt, created_at FROM claimed
        """,
        deliveries,
        worker,
        LEASE,
    )
    return [
        Claim(
            delivery_id=row["id"],
            notice_id=row["notice_id"],
            channel=Channel(row["channel"]),
            attempt=row["attempt"],
            created_at=row["created_at"],
        )
        for row in rows
    ]


async def extend(db: Db, claims: Sequence[Claim]) -> None:
    """Renew the leases of claims that are still held."""
    await db.execute(
        """
        -- attempts.extend
        UPDATE notify.delivery
           SET lease_until = clock_timestamp() + $3
          FROM unnest($1::uuid[], $2::integer[]) AS held (id, attempt)
         WHERE delivery.id = held.id
           AND delivery.attempt = held.attempt
           AND delivery.state = 'sending'
        """,
        [held.delivery_id for held in claims],
        [held.attempt for held in claims],
        LEASE,
    )


async def mark_data(db: Db, held: Claim) -> bool:
    """Note, to be committed before the mail goes out, that from here on it may have arrived.

    False when the claim is lost or the channel was paused: then nothing may be sent.
    """
    marked = await db.fetchval(
        """
        -- attempts.mark_data
        UPDATE notify.delivery
           SET phase = 'data', lease_until = clock_timestamp() + $3
         WHERE id = $1
           AND attempt = $2
           AND state = 'sending'
           AND channel NOT IN (SELECT channel FROM notify.pause)
        RETURNING true
        """,
        held.delivery_id,
        held.attempt,
        LEASE,
    )
    return marked is not None


async def finish(db: Db, held: Claim, outcome: Outcome, verdict: Verdict) -> bool:
    """Write an attempt's end; False when the claim is lost.

    That a mail was sent is written even after the lease, while no newer attempt has begun.
    """
    finished = await db.fetchval(
        """
        -- attempts.finish
        WITH finished AS (
             UPDATE notify.delivery
                SET state = $3, phase = NULL, lease_until = NULL,
                    next_at = clock_timestamp() + $4,
                    maybe_duplicate = maybe_duplicate OR $5 = 'unanswered',
                    finished_at = CASE WHEN $3 <> 'retry' THEN clock_timestamp() END
              WHERE id = $1
                AND attempt = $2
                AND (state = 'sending' OR $3 = 'sent' AND state IN ('queued', 'retry'))
             RETURNING id, attempt
        )
        UPDATE notify.attempt
           SET finished_at = clock_timestamp(), outcome = $5, code = $6
          FROM finished
         WHERE attempt.delivery_id = finished.id
           AND attempt.attempt = finished.attempt
        RETURNING true
        """,
        held.delivery_id,
        held.attempt,
        verdict.state,
        verdict.wait,
        outcome.result,
        outcome.code,
    )
    return finished is not None


async def sweep(db: Db) -> list[DeliveryFinished]:
    """End the attempts whose worker let the lease run out, and make them due again.

    One that had reached DATA is sent again (mail policy `resend`) and flagged.
    """
    rows = await db.fetch(
        """
        -- attempts.sweep
        WITH lost AS (
             SELECT id, phase
               FROM notify.delivery
              WHERE state = 'sending'
                AND lease_until <= (SELECT clock_timestamp())
              ORDER BY lease_until
              LIMIT $1
                FOR UPDATE SKIP LOCKED
        ), swept AS (
             UPDATE notify.delivery
                SET state = CASE WHEN attempt < $2 THEN 'retry' ELSE 'dead' END,
                    phase = NULL, lease_until = NULL, next_at = clock_timestamp(),
                    maybe_duplicate = maybe_duplicate OR lost.phase = 'data',
                    finished_at = CASE WHEN attempt >= $2 THEN clock_timestamp() END
               FROM lost
              WHERE delivery.id = lost.id
             RETURNING delivery.id, notice_id, channel, attempt
        )
        UPDATE notify.attempt
           SET finished_at = clock_timestamp(), outcome = 'lease_over'
          FROM swept
         WHERE attempt.delivery_id = swept.id
           AND attempt.attempt = swept.attempt
        RETURNING swept.id, swept.notice_id, swept.channel, swept.attempt
        """,
        SWEEP,
        MAX_ATTEMPTS,
    )
    return [
        DeliveryFinished(
            delivery_id=row["id"],
            notice_id=row["notice_id"],
            channel=Channel(row["channel"]),
            attempt=row["attempt"],
            result=Result.LEASE_OVER,
            code=None,
        )
        for row in rows
    ]
