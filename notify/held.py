"""SQL of what an operator does with deliveries: look, retry what ended, resolve what is unknown.

Ids only; who and what they are about is told elsewhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING
from uuid import UUID

from notify.ledger import Channel
from notify.retry import Result, State
from schemas.database import Db

if TYPE_CHECKING:
    from asyncpg import Record


class Answer(StrEnum):
    """What became of a delivery that may have arrived, or what is to become of it."""

    SENT = "sent"
    RESEND = "resend"
    DROPPED = "dropped"


BECOMES = {
    Answer.SENT: State.SENT,
    Answer.RESEND: State.RETRY,
    Answer.DROPPED: State.DEAD,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which deliveries; what is None matters not."""

    state: State | None = None
    channel: Channel | None = None
    party: UUID | None = None
    since: datetime | None = None
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """A delivery as an operator sees it, with how its last attempt ended."""

    id: UUID
    notice_id: UUID
    kind: str
    channel: Channel
    party_id: UUID | None
    match_id: UUID | None
    state: State
    attempt: int
    spared: int
    maybe_duplicate: bool
    created_at: datetime
    next_at: datetime
    finished_at: datetime | None
    result: Result | None
    code: int | None


async def select_deliveries(db: Db, wanted: Wanted) -> list[Standing]:
    """Deliveries, newest first."""
    rows = await db.fetch(
        """
        -- held.select_deliveries
        SELECT delivery.id, notice_id, kind, channel, delivery.party_id, match_id, state,
               delivery.attempt, spared, maybe_duplicate, delivery.created_at, next_at,
               delivery.finished_at, outcome, code
          FROM notify.delivery
          JOIN notify.notice ON notice.id = delivery.notice_id
          LEFT JOIN notify.attempt
            ON attempt.delivery_id = delivery.id
           AND attempt.attempt = delivery.attempt
         WHERE ($1::text IS NULL OR state = $1)
           AND ($2::text IS NULL OR channel = $2)
           AND ($3::uuid IS NULL OR delivery.party_id = $3)
           AND ($4::timestamptz IS NULL OR delivery.created_at >= $4)
         ORDER BY delivery.created_at DESC, delivery.id
         LIMIT $5
        """,
        wanted.state,
        wanted.channel,
        wanted.party,
        wanted.since,
        wanted.limit,
    )
    return [_standing(row) for row in rows]


async def select_delivery(db: Db, delivery: UUID) -> Standing | None:
    """One delivery; None when it is gone."""
    row = await db.fetchrow(
        """
        -- held.select_delivery
        SELECT delivery.id, notice_id, kind, channel, delivery.party_id, match_id, state,
               delivery.attempt, spared, maybe_duplicate, delivery.created_at, next_at,
               delivery.finished_at, outcome, code
          FROM notify.delivery
          JOIN notify.notice ON notice.id = delivery.notice_id
          LEFT JOIN notify.attempt
            ON attempt.delivery_id = delivery.id
           AND attempt.attempt = delivery.attempt
         WHERE delivery.id = $1
        """,
        delivery,
    )
    return _standing(row) if row else None


def _standing(row: "Record") -> Standing:
    return Standing(
        id=row["id"],
        notice_id=row["notice_id"],
        kind=row["kind"],
        channel=Channel(row["channel"]),
        party_id=row["party_id"],
        match_id=row["match_id"],
        state=State(row["state"]),
        attempt=row["attempt"],
        spared=row["spared"],
        maybe_duplicate=row["maybe_duplicate"],
        created_at=row["created_at"],
        next_at=row["next_at"],
        finished_at=row["finished_at"],
        result=Result(row["outcome"]) if row["outcome"] else None,
        code=row["code"],
    )


async def retry(db: Db, deliveries: Sequence[UUID]) -> dict[UUID, Channel]:
    """Let dead and resting deliveries try at once, with all attempts before them; which did.

    What may have arrived is not among them: that is resolved, by somebody who says so.
    """
    rows = await db.fetch(
        """
        -- held.retry
        WITH chosen AS (
             SELECT id
               FROM notify.delivery
              WHERE id = ANY($1)
                AND state IN ('dead', 'retry')
              ORDER BY id
                FOR UPDATE
        )
        UPDATE notify.delivery
           SET state = 'retry', next_at = clock_timestamp(), spared = attempt, finished_at = NULL
          FROM chosen
         WHERE delivery.id = chosen.id
        RETURNING delivery.id, channel
        """,
        list(deliveries),
    )
    return {row["id"]: Channel(row["channel"]) for row in rows}


async def resolve(db: Db, delivery: UUID, answer: Answer) -> Channel | None:
    """Say what became of a delivery that may have arrived; None unless it waits for that.

    It is flagged unless it was sent: what was dropped can still be retried, and come twice then.
    """
    state = BECOMES[answer]
    channel: str | None = await db.fetchval(
        """
        -- held.resolve
        UPDATE notify.delivery
           SET state = $2, next_at = clock_timestamp(), spared = attempt,
               maybe_duplicate = maybe_duplicate OR $2 <> 'sent',
               finished_at = CASE WHEN $2 <> 'retry' THEN clock_timestamp() END
         WHERE id = $1
           AND state = 'unknown'
        RETURNING channel
        """,
        delivery,
        state,
    )
    return Channel(channel) if channel else None
