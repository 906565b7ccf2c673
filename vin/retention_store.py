"""SQL that ends, archives and destroys signals, in batches that any number of workers may take."""

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from uuid import UUID

from schemas.database import Db


async def lock_expired(db: Db, today: date, limit: int) -> list[tuple[UUID, date]]:
    """Live signals whose date has come, each with that date; others' batches are passed over."""
    rows = await db.fetch(
        """
        -- retention_store.lock_expired
        SELECT id, remove_on
          FROM matching.signal
         WHERE status = 'live'
           AND remove_on <= $1
           AND destroy_by > $1
         ORDER BY remove_on
         LIMIT $2
           FOR UPDATE SKIP LOCKED
        """,
        today,
        limit,
    )
    return [(row["id"], row["remove_on"]) for row in rows]


async def expire(
    db: Db, signals: Sequence[UUID], ended_at: Sequence[datetime], archive_until: Sequence[date]
) -> None:
    """Move locked signals to the archive."""
    await db.execute(
        """
        -- retention_store.expire
        UPDATE matching.signal
           SET status = 'ended', ground = 'expired',
               ended_at = due.ended_at, archive_until = due.archive_until
          FROM unnest($1::uuid[], $2::timestamptz[], $3::date[])
            AS due (id, ended_at, archive_until)
         WHERE signal.id = due.id
        """,
        signals,
        ended_at,
        archive_until,
    )
    await db.execute(
        """
        -- retention_store.release_children
        DELETE FROM matching.live_child
         WHERE signal_id = ANY($1)
        """,
        signals,
    )


async def close_matches(db: Db, signals: Collection[UUID], status: str) -> int:
    """Close or void the matches of locked signals, in one order; what is void stays void."""
    done = await db.execute(
        """
        -- retention_store.close_matches
        WITH mine AS (
             SELECT id
               FROM matching.match
              WHERE (signal_a = ANY($1) OR signal_b = ANY($1))
                AND status NOT IN ('void', $2)
              ORDER BY id
                FOR UPDATE)
        UPDATE matching.match
           SET status = $2
          FROM mine
         WHERE match.id = mine.id
        """,
        list(signals),
        status,
    )
    return int(done.split()[-1])


async def lock_due(db: Db, today: date, unjustified_before: datetime, limit: int) -> list[UUID]:
    """Signals of which all must go: by date (L4), out of the archive (L3), or void for long."""
    rows = await db.fetch(
        """
        -- retention_store.lock_due
        SELECT id
          FROM matching.signal
         WHERE id IN (
               (SELECT id FROM matching.signal WHERE destroy_by <= $1 LIMIT $3)
                UNION ALL
               (SELECT id FROM matching.signal WHERE archive_until <= $1 LIMIT $3)
                UNION ALL
               (SELECT id FROM matching.signal
                 WHERE ground = 'unjustified' AND ended_at < $2 LIMIT $3))
         LIMIT $3
           FOR UPDATE SKIP LOCKED
        """,
        today,
        unjustified_before,
        limit,
    )
    return [row["id"] for row in rows]


async def lock_same_child(db: Db, child: UUID) -> list[UUID]:
    """All signals on the child with this token, live or not, locked."""
    rows = await db.fetch(
        """
        -- retention_store.lock_same_child
        SELECT signal.id
          FROM matching.signal
          JOIN matching.token ON token.signal_id = signal.id
         WHERE token.token = $1
           AND token.role = 'child'
         ORDER BY signal.id
           FOR UPDATE OF signal
        """,
        child,
    )
    return [row["id"] for row in rows]


async def select_child(db: Db, signal: UUID) -> UUID | None:
    """The token of a signal's child by number."""
    child: UUID | None = await db.fetchval(
        """
        -- retention_store.select_child
        SELECT token
          FROM matching.token
         WHERE signal_id = $1
           AND role = 'child'
        """,
        signal,
    )
    return child


async def lock_signal(db: Db, signal: UUID) -> bool:
    """Keep everyone else off a signal; False when there is none."""
    found = await db.fetchval(
        """
        -- retention_store.lock_signal
        SELECT true
          FROM matching.signal
         WHERE id = $1
           FOR UPDATE
        """,
        signal,
    )
    return found is not None


async def delete_matches(db: Db, signals: Collection[UUID]) -> list[UUID]:
    """Delete the matches of locked signals with both sides; their ids."""
    rows = await db.fetch(
        """
        -- retention_store.delete_matches
        WITH mine AS (
             SELECT id
               FROM matching.match
              WHERE signal_a = ANY($1) OR signal_b = ANY($1)
              ORDER BY id
                FOR UPDATE)
        DELETE FROM matching.match
         USING mine
         WHERE match.id = mine.id
        RETURNING match.id
        """,
        list(signals),
    )
    return [row["id"] for row in rows]


async def delete_sides(db: Db, signals: Collection[UUID]) -> None:
    """Delete the sides that these signals have in matches; the other sides stay."""
    await db.execute(
        """
        -- retention_store.delete_sides
        DELETE FROM matching.match_side
         WHERE signal_id = ANY($1)
        """,
        list(signals),
    )


async def delete_lone_matches(db: Db) -> list[UUID]:
    """Delete matches that no side is left of; their ids."""
    rows = await db.fetch(
        """
        -- retention_store.delete_lone_matches
        DELETE FROM matching.match
         WHERE signal_a IS NULL
           AND signal_b IS NULL
        RETURNING id
        """
    )
    return [row["id"] for row in rows]


async def delete_signals(db: Db, signals: Collection[UUID]) -> None:
    """Delete locked signals; tokens, keys, queue rows and history go with them.

    So does what was kept under their tokens, where no other signal has these.
    """
    await db.execute(
        """
        -- retention_store.delete_signals
        WITH gone AS (
             DELETE FROM matching.token
              WHERE signal_id = ANY($1)
             RETURNING token
        ), hub AS (
             DELETE FROM matching.hub
              WHERE token IN (SELECT token FROM gone)
                AND NOT EXISTS (
                    SELECT FROM matching.token
                     WHERE token.token = hub.token
                       AND token.signal_id <> ALL($1)))
        DELETE FROM matching.relation
         WHERE child IN (SELECT token FROM gone)
           AND NOT EXISTS (
               SELECT FROM matching.token
                WHERE token.token = relation.child
                  AND token.signal_id <> ALL($1))
        """,
        list(signals),
    )
    await db.execute(
        """
        -- retention_store.delete_signal_rows
        DELETE FROM matching.signal
         WHERE id = ANY($1)
        """,
        list(signals),
    )


async def forget(db: Db, retries: timedelta, statements: timedelta) -> None:
    """Drop answers to retries, and permits and assertions past their end by more than this.

    By the real clock: the demo's offset moves none of these.
    """
    await db.execute(
        """
        -- retention_store.forget_retries
        DELETE FROM matching.idempotency
         WHERE remembered_at < clock_timestamp() - $1::interval
        """,
        retries,
    )
    await db.execute(
        """
        -- retention_store.forget_permits
        DELETE FROM matching.permit
         WHERE expires_at < clock_timestamp() - $1::interval
        """,
        statements,
    )
    await db.execute(
        """
        -- retention_store.forget_assertions
        DELETE FROM registry.assertion
         WHERE expires_at < clock_timestamp() - $1::interval
        """,
        statements,
    )
