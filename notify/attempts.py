"""SQL of attempts: claim, lease, the DATA mark, the end.

An attempt's number is its fence: whoever holds an older one writes nothing. Leases are
decided by the database's clock alone.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import SystemRandom
from typing import TYPE_CHECKING
from uuid import UUID

from notify import retry
from notify.ledger import Channel, Peer
from notify.retry import Case, Outcome, Result, Verdict, Waits, judge
from schemas.database import Db

if TYPE_CHECKING:
    from asyncpg import Record

WAITS: Mapping[Channel, Waits] = {Channel.MAIL: retry.MAIL, Channel.WEBHOOK: retry.WEBHOOK}
LEASE = timedelta(seconds=20)
SWEEP = 500
JITTER = SystemRandom()


@dataclass(frozen=True, slots=True)
class Claim:
    """A delivery that this worker holds, under the number of its attempt.

    `spared` earlier attempts count towards no limit; `hold` says that an attempt that may have
    arrived waits for an operator. A webhook's delivery is on one match.
    """

    delivery_id: UUID
    notice_id: UUID
    channel: Channel
    attempt: int
    created_at: datetime
    party_id: UUID | None = None
    webhook_id: UUID | None = None
    match_id: UUID | None = None
    spared: int = 0
    hold: bool = False

    @property
    def peer(self) -> Peer:
        """Whom it goes to at first."""
        return self.webhook_id or self.channel


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended, and what becomes of its delivery."""

    held: Claim
    outcome: Outcome
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class DeliveryStarted:
    """For the audit log: an attempt was claimed."""

    delivery_id: UUID
    notice_id: UUID
    channel: Channel
    attempt: int


@dataclass(frozen=True, slots=True)
class DeliveryFinished:
    """For the audit log: an attempt ended; `code` is the other server's reply.

    `age` is how long ago by then its notice was written.
    """

    delivery_id: UUID
    notice_id: UUID
    channel: Channel
    attempt: int
    result: Result
    code: int | None
    age: timedelta = field(default=timedelta(), compare=False)


Journal = Callable[[Db, Sequence[DeliveryStarted | DeliveryFinished]], Awaitable[None]]


async def claim(
    db: Db, deliveries: Sequence[UUID], worker: str, resting: Collection[Peer] = ()
) -> list[Claim]:
    """Take those of the deliveries that still wait, each under a new attempt.

    A row that someone else has locked is left to its next wake-up, and so is what goes to a
    peer that is resting.
    """
    rows = await db.fetch(
        """
        -- attempts.claim
        WITH waiting AS (
             SELECT id
               FROM notify.delivery
              WHERE id = ANY($1)
                AND state = 'queued'
                AND channel NOT IN (SELECT name FROM notify.channel WHERE paused_at IS NOT NULL)
                AND channel <> ALL($4::text[])
                AND (webhook_id IS NULL OR webhook_id <> ALL($5::uuid[]))
                FOR UPDATE SKIP LOCKED
        ), claimed AS (
             UPDATE notify.delivery
                SET state = 'sending', phase = 'before_data', attempt = attempt + 1,
                    lease_until = clock_timestamp() + $3
               FROM waiting
              WHERE delivery.id = waiting.id
             RETURNING delivery.id, notice_id, channel, attempt, created_at, party_id,
                       webhook_id, match_id, spared
        ), started AS (
             INSERT INTO notify.attempt (delivery_id, attempt, worker, started_at)
             SELECT id, attempt, $2, clock_timestamp() FROM claimed
        )
        SELECT id, notice_id, channel, attempt, created_at, party_id, webhook_id, match_id, spared,
               ambiguous = 'hold' AS hold
          FROM claimed
          JOIN notify.channel ON channel.name = claimed.channel
        """,
        deliveries,
        worker,
        LEASE,
        [peer for peer in resting if isinstance(peer, Channel)],
        [peer for peer in resting if isinstance(peer, UUID)],
    )
    return [_claim(row) for row in rows]


def _claim(row: "Record") -> Claim:
    return Claim(
        delivery_id=row["id"],
        notice_id=row["notice_id"],
        channel=Channel(row["channel"]),
        attempt=row["attempt"],
        created_at=row["created_at"],
        party_id=row["party_id"],
        webhook_id=row["webhook_id"],
        match_id=row["match_id"],
        spared=row["spared"],
        hold=row["hold"],
    )


async def extend(db: Db, claims: Sequence[Claim]) -> None:
    """Renew the leases of claims that are still held.

    A row that is locked is being marked or ended just now.
    """
    await db.execute(
        """
        -- attempts.extend
        WITH held AS (
             SELECT id
               FROM notify.delivery
               JOIN unnest($1::uuid[], $2::integer[]) AS asked (id, attempt) USING (id, attempt)
              WHERE state = 'sending'
                FOR UPDATE OF delivery SKIP LOCKED
        )
        UPDATE notify.delivery
           SET lease_until = clock_timestamp() + $3
          FROM held
         WHERE delivery.id = held.id
        """,
        [held.delivery_id for held in claims],
        [held.attempt for held in claims],
        LEASE,
    )


async def mark_data(db: Db, held: Claim) -> bool:
    """As `mark_batch`, for one."""
    return held in await mark_batch(db, [held])


async def mark_batch(db: Db, claims: Sequence[Claim]) -> list[Claim]:
    """Note, to be committed before mails go out, that from here on they may have arrived.

    Those that are absent from the answer were lost, or their channel was paused: of these
    nothing may be sent. Rows are locked by id, as in `finish_batch`.
    """
    rows = await db.fetch(
        """
        -- attempts.mark_data
        WITH locked AS (
             SELECT id
               FROM notify.delivery
              WHERE id = ANY($1)
              ORDER BY id
                FOR UPDATE
        )
        UPDATE notify.delivery
           SET phase = 'data', lease_until = clock_timestamp() + $3
          FROM locked
          JOIN unnest($1::uuid[], $2::integer[]) AS held (id, attempt) USING (id)
         WHERE delivery.id = locked.id
           AND delivery.attempt = held.attempt
           AND delivery.state = 'sending'
           AND channel NOT IN (SELECT name FROM notify.channel WHERE paused_at IS NOT NULL)
        RETURNING delivery.id
        """,
        [held.delivery_id for held in claims],
        [held.attempt for held in claims],
        LEASE,
    )
    marked = {row["id"] for row in rows}
    return [held for held in claims if held.delivery_id in marked]


async def finish(db: Db, held: Claim, outcome: Outcome, verdict: Verdict) -> bool:
    """Write an attempt's end; False when the claim is lost.

    That a message was sent is written even after the lease, while no newer attempt has begun
    and it has not come back since.
    """
    return bool(await finish_batch(db, [End(held, outcome, verdict)]))


async def finish_batch(db: Db, ends: Sequence[End]) -> list[DeliveryFinished]:
    """Write the ends of attempts; those of them whose claim was not lost.

    Rows are locked by id, so that two batches cannot lock each other out.
    """
    rows = await db.fetch(
        """
        -- attempts.finish_batch
        WITH ended AS (
             SELECT *
               FROM unnest(
                    $1::uuid[], $2::integer[], $3::text[], $4::interval[], $5::boolean[],
                    $6::boolean[], $7::text[], $8::integer[])
                 AS ended (id, attempt, state, wait, spared, doubtful, outcome, code)
        ), locked AS (
             SELECT id
               FROM notify.delivery
              WHERE id = ANY($1)
              ORDER BY id
                FOR UPDATE
        ), finished AS (
             UPDATE notify.delivery
                SET state = ended.state, phase = NULL, lease_until = NULL,
                    next_at = clock_timestamp() + ended.wait,
                    spared = delivery.spared + ended.spared::integer,
                    maybe_duplicate = maybe_duplicate OR ended.doubtful,
                    finished_at = CASE WHEN ended.state NOT IN ('retry', 'unknown')
                                       THEN clock_timestamp() END
               FROM locked
               JOIN ended USING (id)
              WHERE delivery.id = ended.id
                AND delivery.attempt = ended.attempt
                AND (delivery.state = 'sending'
                     OR ended.state = 'sent'
                        AND delivery.state IN ('queued', 'retry', 'unknown', 'dead')
                        AND NOT EXISTS (
                            SELECT
                              FROM notify.attempt
                             WHERE delivery_id = delivery.id
                               AND attempt = delivery.attempt
                               AND reported = 'failed'))
             RETURNING delivery.id, delivery.attempt, ended.outcome, ended.code
        )
        UPDATE notify.attempt
           SET finished_at = clock_timestamp(), outcome = finished.outcome, code = finished.code
          FROM finished
         WHERE attempt.delivery_id = finished.id
           AND attempt.attempt = finished.attempt
        RETURNING attempt.delivery_id, attempt.finished_at
        """,
        [end.held.delivery_id for end in ends],
        [end.held.attempt for end in ends],
        [end.verdict.state for end in ends],
        [end.verdict.wait for end in ends],
        [end.verdict.spared for end in ends],
        [end.verdict.doubtful for end in ends],
        [end.outcome.result for end in ends],
        [end.outcome.code for end in ends],
    )
    written = {row["delivery_id"]: row["finished_at"] for row in rows}
    return [
        finished(end, written[end.held.delivery_id])
        for end in ends
        if end.held.delivery_id in written
    ]


async def sweep(db: Db) -> list[DeliveryFinished]:
    """End the attempts whose worker let the lease run out; at first they are due again at once.

    One that had reached DATA may have arrived. Runs in the caller's transaction, which keeps
    the rows locked between the two statements.
    """
    rows = await db.fetch(
        """
        -- attempts.sweep
        SELECT id, notice_id, channel, attempt, created_at, party_id, webhook_id, match_id, spared,
               ambiguous = 'hold' AS hold, phase = 'data' AS in_data
          FROM notify.delivery
          JOIN notify.channel ON channel.name = delivery.channel
         WHERE state = 'sending'
           AND lease_until <= (SELECT clock_timestamp())
         ORDER BY lease_until
         LIMIT $1
           FOR UPDATE OF delivery SKIP LOCKED
        """,
        SWEEP,
    )
    lost = [(_claim(row), row["in_data"]) for row in rows]
    over = Outcome(Result.LEASE_OVER)
    ends = [
        End(held, over, judge(case_of(held, in_data=in_data), over, JITTER.random()))
        for held, in_data in lost
    ]
    return await finish_batch(db, ends)


def case_of(held: Claim, *, excused: bool = False, in_data: bool = False) -> Case:
    """What the end of an attempt is judged by."""
    return Case(
        attempt=held.attempt,
        waits=WAITS[held.channel],
        spared=held.spared,
        excused=excused,
        in_data=in_data,
        hold=held.hold,
    )


def started(held: Claim) -> DeliveryStarted:
    """A claim as the audit log tells it."""
    return DeliveryStarted(held.delivery_id, held.notice_id, held.channel, held.attempt)


def finished(end: End, at: datetime) -> DeliveryFinished:
    """An end as the audit log tells it."""
    held = end.held
    return DeliveryFinished(
        held.delivery_id,
        held.notice_id,
        held.channel,
        held.attempt,
        end.outcome.result,
        end.outcome.code,
        at - held.created_at,
    )
