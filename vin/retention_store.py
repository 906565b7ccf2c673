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


async def leave_matches(db: Db, signal: UUID, at: datetime) -> None:
    """Void the matches of a locked signal, in one order, and take it out of them.

    Both at once: a second change of a match would lock the signal on its other side.
    """
    await db.execute(
        """
        -- retention_store.leave_matches
        WITH mine AS (
             SELECT id
               FROM matching.match
              WHERE signal_a = $1 OR signal_b = $1
              ORDER BY id
                FOR UPDATE)
        UPDATE matching.match
           SET status = 'void', voided_at = coalesce(voided_at, $2),
               signal_a = nullif(signal_a, $1), signal_b = nullif(signal_b, $1)
          FROM mine
         WHERE match.id = mine.id
        """,
        signal,
        at,
    )


async def select_due(db: Db, today: date, unjustified_before: datetime, limit: int) -> list[UUID]:
    """Signals of which all must go: by date (L4), out of the archive (L3), or void for long."""
    rows = await db.fetch(
        """
        -- retention_store.select_due
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
        """,
        today,
        unjustified_before,
        limit,
    )
    return [row["id"] for row in rows]


async def select_same_child(db: Db, child: UUID | None) -> list[UUID]:
    """All signals on the child with this token, live or not."""
    rows = await db.fetch(
        """
        -- retention_store.select_same_child
        SELECT signal_id
          FROM matching.token
         WHERE token = $1
           AND role = 'child'
        """,
        child,
    )
    return [row["signal_id"] for row in rows]


async def lock_queued(db: Db, signals: Collection[UUID]) -> None:
    """Wait until no matcher has these signals in hand, and keep them from all.

    A matcher holds what it claimed while it waits for signals. Who deletes a signal deletes
    what waits to be matched, so must not come here with the signal already locked.
    """
    await db.execute(
        """
        -- retention_store.lock_queued
        SELECT id
          FROM matching.match_queue
         WHERE signal_id = ANY($1)
         ORDER BY id
           FOR UPDATE
        """,
        list(signals),
    )


async def lock_signals(db: Db, signals: Collection[UUID]) -> list[UUID]:
    """Keep everyone else off these signals, locked in one order; those that are there."""
    rows = await db.fetch(
        """
        -- retention_store.lock_signals
        SELECT id
          FROM matching.signal
         WHERE id = ANY($1)
         ORDER BY id
           FOR UPDATE
        """,
        list(signals),
    )
    return [row["id"] for row in rows]


async def lock_free_signals(db: Db, signals: Collection[UUID]) -> list[UUID]:
    """Lock those of these signals that nobody else has locked; others' batches are passed over."""
    rows = await db.fetch(
        """
        -- retention_store.lock_free_signals
        SELECT id
          FROM matching.signal
         WHERE id = ANY($1)
         ORDER BY id
           FOR UPDATE SKIP LOCKED
        """,
        list(signals),
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


async def delete_void_matches(db: Db, before: datetime, limit: int) -> list[UUID]:
    """Delete matches that became void before then; their ids. Others' batches are passed over."""
    rows = await db.fetch(
        """
        -- retention_store.delete_void_matches
        WITH old AS MATERIALIZED (
             SELECT id
               FROM matching.match
              WHERE voided_at < $1
              ORDER BY voided_at
              LIMIT $2
                FOR UPDATE SKIP LOCKED)
        DELETE FROM matching.match
         USING old
         WHERE match.id = old.id
        RETURNING match.id
        """,
        before,
        limit,
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


async def delete_history(db: Db, signals: Collection[UUID]) -> list[UUID]:
    """Delete what locked signals were told of the archive (L6), and what only told of these.

    The notices' ids. They are locked first: of two who empty a notice together, the second
    then sees what the first took out.
    """
    rows = await db.fetch(
        """
        -- retention_store.lock_history
        SELECT id
          FROM matching.history_notice
         WHERE signal_id = ANY($1)
            OR id IN (SELECT history_notice_id
                        FROM matching.history_signal
                       WHERE signal_id = ANY($1))
         ORDER BY id
           FOR UPDATE
        """,
        list(signals),
    )
    await db.execute(
        """
        -- retention_store.delete_history_signals
        DELETE FROM matching.history_signal
         WHERE signal_id = ANY($1)
        """,
        list(signals),
    )
    rows = await db.fetch(
        """
        -- retention_store.delete_history
        DELETE FROM matching.history_notice
         WHERE id = ANY($2)
           AND (signal_id = ANY($1)
                OR NOT EXISTS (SELECT
                                 FROM matching.history_signal
                                WHERE history_notice_id = history_notice.id))
        RETURNING id
        """,
        list(signals),
        [row["id"] for row in rows],
    )
    return [row["id"] for row in rows]


async def delete_signals(db: Db, signals: Collection[UUID]) -> list[UUID]:
    """Delete locked signals; keys and queue rows go with them. Their tokens."""
    rows = await db.fetch(
        """
        -- retention_store.delete_tokens
        DELETE FROM matching.token
         WHERE signal_id = ANY($1)
        RETURNING token
        """,
        list(signals),
    )
    await db.execute(
        """
        -- retention_store.delete_signals
        DELETE FROM matching.signal
         WHERE id = ANY($1)
        """,
        list(signals),
    )
    return [row["token"] for row in rows]


async def forget(db: Db, retries: timedelta, statements: timedelta, limit: int) -> None:
    """Drop answers to retries, and permits and assertions past their end by more than this.

    So many of each at most: a long standstill must not become one long transaction. By the
    real clock: the demo's offset moves none of these.
    """
    await db.execute(
        """
        -- retention_store.forget_retries
        DELETE FROM matching.idempotency
         WHERE ctid = ANY(ARRAY(
               SELECT ctid
                 FROM matching.idempotency
                WHERE remembered_at < clock_timestamp() - $1::interval
                LIMIT $2))
        """,
        retries,
        limit,
    )
    await db.execute(
        """
        -- retention_store.forget_permits
        DELETE FROM matching.permit
         WHERE ctid = ANY(ARRAY(
               SELECT ctid
                 FROM matching.permit
                WHERE expires_at < clock_timestamp() - $1::interval
                LIMIT $2))
        """,
        statements,
        limit,
    )
    await db.execute(
        """
        -- retention_store.forget_assertions
        DELETE FROM registry.assertion
         WHERE ctid = ANY(ARRAY(
               SELECT ctid
                 FROM registry.assertion
                WHERE expires_at < clock_timestamp() - $1::interval
                LIMIT $2))
        """,
        statements,
        limit,
    )
