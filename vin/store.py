"""SQL of signals: registering in batches, reading, withdrawing.

Batches go in by key order, so that two processes that meet on a key wait for each other
and never in a circle. An idempotency key comes first, then a permit, then the reporter's
child: the order of checks that a caller may rely on.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID

from schemas.database import Db
from schemas.dates import local_date
from vin.crypto.pseudonym import Token
from vin.crypto.seal import Sealed

RETRY_KEPT = timedelta(days=7)

Key = tuple[UUID, UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewSignal:
    """A signal as it is written: every value final, what is secret sealed."""

    id: UUID
    organisation: UUID
    reporter: UUID
    match_unit: UUID
    registered_at: datetime
    remove_on: date
    destroy_by: date
    reference: Sealed
    tokens: Sequence[tuple[str, Token]] = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRow:
    """A signal as its own side may see it; the reference is still sealed."""

    id: UUID
    organisation: UUID
    reporter: UUID
    status: str
    registered_at: datetime
    remove_on: date
    reference: Sealed
    processed_at: datetime | None
    history_notice_id: UUID | None


@dataclass(frozen=True, slots=True)
class Remembered:
    """What is known of an earlier request under an idempotency key."""

    fingerprint: bytes
    signal: UUID
    created: bool


async def claim_keys(db: Db, rows: Sequence[tuple[UUID, UUID, bytes, UUID]]) -> set[UUID]:
    """Occupy (organisation, key, fingerprint, signal) rows; the signals whose key was free."""
    ordered = sorted(rows, key=lambda row: row[:2])
    fetched = await db.fetch(
        """
        -- store.claim_keys
        INSERT INTO matching.idempotency
               (organisation_id, key, fingerprint, signal_id, created, remembered_at)
        SELECT organisation_id, key, fingerprint, signal_id, true, clock_timestamp()
          FROM unnest($1::uuid[], $2::uuid[], $3::bytea[], $4::uuid[])
            AS new (organisation_id, key, fingerprint, signal_id)
         ORDER BY organisation_id, key
            ON CONFLICT DO NOTHING
        RETURNING signal_id
        """,
        *columns(ordered, 4),
    )
    return {row["signal_id"] for row in fetched}


async def select_keys(db: Db, keys: Collection[Key]) -> dict[Key, Remembered]:
    """What earlier requests under these keys left."""
    rows = await db.fetch(
        """
        -- store.select_keys
        SELECT organisation_id, key, fingerprint, signal_id, created
          FROM matching.idempotency
          JOIN unnest($1::uuid[], $2::uuid[]) AS asked (organisation_id, key)
         USING (organisation_id, key)
        """,
        *columns(list(keys), 2),
    )
    return {
        (row["organisation_id"], row["key"]): Remembered(
            row["fingerprint"], row["signal_id"], row["created"]
        )
        for row in rows
    }


async def release_keys(db: Db, signals: Collection[UUID]) -> None:
    """Give back the keys of refused requests."""
    await db.execute(
        """
        -- store.release_keys
        DELETE FROM matching.idempotency
         WHERE signal_id = ANY($1)
        """,
        list(signals),
    )


async def point_keys(db: Db, returned: Sequence[tuple[UUID, UUID]]) -> None:
    """Let keys of (new, live) signals remember the live one that was returned instead."""
    await db.execute(
        """
        -- store.point_keys
        UPDATE matching.idempotency
           SET signal_id = returned.live, created = false
          FROM unnest($1::uuid[], $2::uuid[]) AS returned (new, live)
         WHERE idempotency.signal_id = returned.new
        """,
        *columns(returned, 2),
    )


async def spend_permits(db: Db, permits: Sequence[tuple[str, datetime]]) -> set[str]:
    """Spend (jti, expiry) permits; those that had not been spent before."""
    rows = await db.fetch(
        """
        -- store.spend_permits
        INSERT INTO matching.permit (jti, expires_at)
        SELECT jti, expires_at
          FROM unnest($1::text[], $2::timestamptz[]) AS new (jti, expires_at)
         ORDER BY jti
            ON CONFLICT DO NOTHING
        RETURNING jti
        """,
        *columns(sorted(permits), 2),
    )
    return {row["jti"] for row in rows}


async def free_children(db: Db, keys: Collection[Key], today: date) -> None:
    """Take (reporter, child key) from signals that ended; who waits for it in a live one gets it.

    Dates decide, however far the sweeper is. Whoever waits came with a reporter's succession.
    """
    ordered = columns(sorted(keys), 2)
    await db.execute(
        """
        -- store.free_children
        DELETE FROM matching.live_child
         USING matching.signal, unnest($1::uuid[], $2::uuid[]) AS wanted (reporter_id, key)
         WHERE live_child.reporter_id = wanted.reporter_id
           AND live_child.key = wanted.key
           AND signal.id = live_child.signal_id
           AND (signal.status <> 'live' OR least(signal.remove_on, signal.destroy_by) <= $3)
        """,
        *ordered,
        today,
    )
    await db.execute(
        """
        -- store.inherit_children
        WITH heir AS (
             SELECT DISTINCT ON (reporter_id, key)
                    waiting.reporter_id, waiting.key, waiting.signal_id
               FROM unnest($1::uuid[], $2::uuid[]) AS wanted (reporter_id, key)
               JOIN matching.waiting_child AS waiting USING (reporter_id, key)
               JOIN matching.signal ON signal.id = waiting.signal_id
              WHERE signal.status = 'live'
                AND least(signal.remove_on, signal.destroy_by) > $3
              ORDER BY reporter_id, key, signal.registered_at, signal.id
        ), heard AS (
             INSERT INTO matching.live_child (reporter_id, key, signal_id)
             SELECT reporter_id, key, signal_id
               FROM heir
              ORDER BY reporter_id, key
                 ON CONFLICT DO NOTHING
             RETURNING signal_id)
        DELETE FROM matching.waiting_child
         USING heard
         WHERE waiting_child.signal_id = heard.signal_id
        """,
        *ordered,
        today,
    )


async def release_children(db: Db, signals: Sequence[UUID], today: date) -> None:
    """Let go of the children of signals that ended, for who waits for them."""
    rows = await db.fetch(
        """
        -- store.release_children
        WITH idle AS (
             DELETE FROM matching.waiting_child
              WHERE signal_id = ANY($1))
        DELETE FROM matching.live_child
         WHERE signal_id = ANY($1)
        RETURNING reporter_id, key
        """,
        signals,
    )
    await free_children(db, {(row["reporter_id"], row["key"]) for row in rows}, today)


async def claim_children(db: Db, rows: Sequence[tuple[UUID, UUID, UUID]], today: date) -> set[UUID]:
    """Make (reporter, child key, signal) the reporter's live signal; the signals that became it."""
    ordered = columns(sorted(rows), 3)
    await free_children(db, {row[:2] for row in rows}, today)
    fetched = await db.fetch(
        """
        -- store.claim_children
        INSERT INTO matching.live_child (reporter_id, key, signal_id)
        SELECT reporter_id, key, signal_id
          FROM unnest($1::uuid[], $2::uuid[], $3::uuid[])
            AS new (reporter_id, key, signal_id)
         ORDER BY reporter_id, key
            ON CONFLICT DO NOTHING
        RETURNING signal_id
        """,
        *ordered,
    )
    return {row["signal_id"] for row in fetched}


async def select_children(db: Db, keys: Collection[Key]) -> dict[Key, UUID]:
    """The live signals of (reporter, child key)."""
    rows = await db.fetch(
        """
        -- store.select_children
        SELECT reporter_id, key, signal_id
          FROM matching.live_child
          JOIN unnest($1::uuid[], $2::uuid[]) AS asked (reporter_id, key)
         USING (reporter_id, key)
        """,
        *columns(list(keys), 2),
    )
    return {(row["reporter_id"], row["key"]): row["signal_id"] for row in rows}


async def insert_signals(db: Db, signals: Sequence[NewSignal]) -> None:
    """Write signals with their tokens and queue rows: all of it visible in one commit, or none."""
    await db.execute(
        """
        -- store.insert_signals
        INSERT INTO matching.signal
               (id, organisation_id, reporter_id, match_unit_id, status,
                registered_at, remove_on, destroy_by, reference_epoch, reference)
        SELECT id, organisation_id, reporter_id, match_unit_id, 'live',
               registered_at, remove_on, destroy_by, reference_epoch, reference
          FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::timestamptz[],
                      $6::date[], $7::date[], $8::integer[], $9::bytea[])
            AS new (id, organisation_id, reporter_id, match_unit_id, registered_at,
                    remove_on, destroy_by, reference_epoch, reference)
        """,
        [signal.id for signal in signals],
        [signal.organisation for signal in signals],
        [signal.reporter for signal in signals],
        [signal.match_unit for signal in signals],
        [signal.registered_at for signal in signals],
        [signal.remove_on for signal in signals],
        [signal.destroy_by for signal in signals],
        [signal.reference.epoch for signal in signals],
        [signal.reference.box for signal in signals],
    )
    await insert_tokens(db, [(signal.id, *token) for signal in signals for token in signal.tokens])
    await enqueue(db, [signal.id for signal in signals])


async def insert_tokens(db: Db, rows: Sequence[tuple[UUID, str, Token]]) -> None:
    """Write the (signal, role, token) rows of signals."""
    await db.execute(
        """
        -- store.insert_tokens
        INSERT INTO matching.token (signal_id, role, token, key_epoch, index_epoch, sealed)
        SELECT signal_id, role, token, key_epoch, index_epoch, sealed
          FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::integer[], $5::integer[], $6::bytea[])
            AS new (signal_id, role, token, key_epoch, index_epoch, sealed)
        """,
        [signal for signal, _, _ in rows],
        [role for _, role, _ in rows],
        [token.lookup for _, _, token in rows],
        [token.key_epoch for _, _, token in rows],
        [token.index_epoch for _, _, token in rows],
        [token.sealed for _, _, token in rows],
    )


async def enqueue(db: Db, signals: Collection[UUID]) -> None:
    """Ask the matcher to look at signals, in the commit that made or changed them."""
    await db.execute(
        """
        -- store.enqueue
        INSERT INTO matching.match_queue (signal_id)
        SELECT signal_id
          FROM unnest($1::uuid[]) AS new (signal_id)
        """,
        list(signals),
    )


async def select_signals(db: Db, ids: Collection[UUID], today: date) -> dict[UUID, SignalRow]:
    """Signals as they are today; those that are gone are absent.

    Dates decide, however far the sweeper is (L1, L4).
    """
    rows = await db.fetch(
        """
        -- store.select_signals
        SELECT signal.id, signal.organisation_id, signal.reporter_id,
               CASE WHEN signal.remove_on <= $2 THEN 'ended' ELSE signal.status END AS status,
               signal.registered_at, signal.remove_on,
               signal.reference_epoch, signal.reference,
               processed.processed_at,
               CASE WHEN EXISTS (
                    SELECT
                      FROM matching.history_signal
                      JOIN matching.signal AS former ON former.id = history_signal.signal_id
                     WHERE history_signal.history_notice_id = history_notice.id
                       AND former.destroy_by > $2
                       AND (former.archive_until > $2
                            OR former.archive_until IS NULL
                           AND former.remove_on > $2::date - interval '5 years'))
                    THEN history_notice.id END AS history_notice_id
          FROM matching.signal
          LEFT JOIN matching.processed ON processed.signal_id = signal.id
          LEFT JOIN matching.history_notice ON history_notice.signal_id = signal.id
         WHERE signal.id = ANY($1)
           AND signal.destroy_by > $2
        """,
        list(ids),
        today,
    )
    return {
        row["id"]: SignalRow(
            id=row["id"],
            organisation=row["organisation_id"],
            reporter=row["reporter_id"],
            status=row["status"],
            registered_at=row["registered_at"],
            remove_on=row["remove_on"],
            reference=Sealed(row["reference_epoch"], row["reference"]),
            processed_at=row["processed_at"],
            history_notice_id=row["history_notice_id"],
        )
        for row in rows
    }


async def select_organisation(db: Db, signal: UUID) -> UUID | None:
    """Whose signal it is."""
    owner: UUID | None = await db.fetchval(
        """
        -- store.select_organisation
        SELECT organisation_id
          FROM matching.signal
         WHERE id = $1
        """,
        signal,
    )
    return owner


async def select_page(
    db: Db,
    organisation: UUID,
    reporter: UUID | None,
    after: tuple[datetime, UUID],
    limit: int,
    today: date,
) -> list[UUID]:
    """The next signals of an organisation, or of one of its reporters, in order of registration."""
    rows = await db.fetch(
        """
        -- store.select_page
        SELECT id
          FROM matching.signal
         WHERE organisation_id = $1
           AND ($2::uuid IS NULL OR reporter_id = $2)
           AND (registered_at, id) > ($3, $4)
           AND destroy_by > $6
         ORDER BY registered_at, id
         LIMIT $5
        """,
        organisation,
        reporter,
        *after,
        limit,
        today,
    )
    return [row["id"] for row in rows]


async def lock_signal(
    db: Db, signal: UUID, organisation: UUID, today: date
) -> tuple[str, str | None] | None:
    """Keep everyone else off an organisation's signal; its status today and ground, or None."""
    row = await db.fetchrow(
        """
        -- store.lock_signal
        SELECT CASE WHEN remove_on <= $3 THEN 'ended' ELSE status END AS status, ground
          FROM matching.signal
         WHERE id = $1
           AND organisation_id = $2
           AND destroy_by > $3
           FOR UPDATE
        """,
        signal,
        organisation,
        today,
    )
    return (row["status"], row["ground"]) if row else None


async def end_signal(
    db: Db, signal: UUID, ground: str, at: datetime, archive_until: date | None
) -> None:
    """End a locked signal; its reporter may register the child anew."""
    await db.execute(
        """
        -- store.end_signal
        UPDATE matching.signal
           SET status = 'ended', ended_at = $3, ground = $2, archive_until = $4
         WHERE id = $1
        """,
        signal,
        ground,
        at,
        archive_until,
    )
    await release_children(db, [signal], local_date(at))


async def delete_tokens(db: Db, signal: UUID) -> list[UUID]:
    """Delete the tokens of a signal that must never match or be found again (L3); which."""
    rows = await db.fetch(
        """
        -- store.delete_tokens
        DELETE FROM matching.token
         WHERE signal_id = $1
        RETURNING token
        """,
        signal,
    )
    return [row["token"] for row in rows]


async def end_matches(db: Db, signals: Sequence[UUID], status: str, at: datetime) -> int:
    """Close or void the matches of locked signals (L5), in one order; void stays. How many."""
    done = await db.execute(
        """
        -- store.end_matches
        WITH mine AS (
             SELECT id
               FROM matching.match
              WHERE (signal_a = ANY($1) OR signal_b = ANY($1))
                AND status <> 'void'
                AND status <> $2
              ORDER BY id
                FOR UPDATE)
        UPDATE matching.match
           SET status = $2, voided_at = CASE WHEN $2 = 'void' THEN $3::timestamptz END
          FROM mine
         WHERE match.id = mine.id
        """,
        signals,
        status,
        at,
    )
    return int(done.split()[-1])


def columns(rows: Sequence[tuple[object, ...]], width: int) -> list[list[object]]:
    """Turn rows into the column arrays that `unnest` takes, also when there are none."""
    return [[row[index] for row in rows] for index in range(width)]
