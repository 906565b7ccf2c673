"""SQL of what is heard of a mail after it was handed over."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from notify.retry import State
from schemas.database import Db

# Servers give up within days. Later, who finds an old return address can do nothing with it.
HEARD = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Reported:
    """An attempt that a report is on; `is_last` when none came after it."""

    notice_id: UUID
    state: State
    is_last: bool
    heard: str | None


async def lock(db: Db, delivery: UUID, attempt: int) -> Reported | None:
    """Keep others off a mail's delivery; None when its attempt is gone, or too long ago."""
    row = await db.fetchrow(
        """
        -- reports.lock
        SELECT delivery.notice_id, delivery.state, delivery.attempt = $2 AS is_last,
               attempt.reported
          FROM notify.delivery
          JOIN notify.attempt ON attempt.delivery_id = delivery.id
         WHERE delivery.id = $1
           AND delivery.channel = 'mail'
           AND attempt.attempt = $2
           AND attempt.started_at > clock_timestamp() - $3::interval
           FOR UPDATE
        """,
        delivery,
        attempt,
        HEARD,
    )
    if row is None:
        return None
    return Reported(row["notice_id"], State(row["state"]), row["is_last"], row["reported"])


async def note(db: Db, delivery: UUID, attempt: int, heard: str) -> None:
    """Write what was heard of an attempt."""
    await db.execute(
        """
        -- reports.note
        UPDATE notify.attempt
           SET reported = $3
         WHERE delivery_id = $1
           AND attempt = $2
        """,
        delivery,
        attempt,
        heard,
    )


async def settle(db: Db, delivery: UUID, moves: Mapping[State, State]) -> State | None:
    """Move a locked delivery to another state, by the one that it is in; None when it stays.

    What is tried again is tried at once, and as often as a new one: it goes to somebody else.
    """
    moved = await db.fetchval(
        """
        -- reports.settle
        UPDATE notify.delivery
           SET state = becomes,
               next_at = clock_timestamp(),
               spared = CASE WHEN becomes = 'retry' THEN attempt ELSE spared END,
               finished_at = CASE WHEN becomes <> 'retry' THEN clock_timestamp() END
          FROM unnest($2::text[], $3::text[]) AS move (was, becomes)
         WHERE id = $1
           AND state = was
        RETURNING becomes
        """,
        delivery,
        list(moves),
        list(moves.values()),
    )
    return State(moved) if moved else None
