"""SQL that gives signals to another reporter, with all that names whose they are (W2, W3).

Signals are locked first, then matches, each in one order, as everywhere else.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date
from uuid import UUID

from schemas.database import Db
from vin import store
from vin.crypto.seal import Sealed

SideKey = tuple[UUID, UUID]


@dataclass(frozen=True, slots=True)
class Place:
    """A reporter of an organisation."""

    organisation: UUID
    reporter: UUID


@dataclass(frozen=True, slots=True)
class Left:
    """A signal without an organisation that may take part; its reference is sealed to that."""

    signal: UUID
    organisation: UUID
    reference: Sealed = field(repr=False)


async def lock_signals(db: Db, reporter: UUID) -> list[UUID]:
    """Keep everyone else off a reporter's signals, live or archived."""
    rows = await db.fetch(
        """
        -- succession_store.lock_signals
        SELECT id
          FROM matching.signal
         WHERE reporter_id = $1
           AND (status = 'live' OR archive_until IS NOT NULL)
         ORDER BY id
           FOR UPDATE
        """,
        reporter,
    )
    return [row["id"] for row in rows]


async def select_holder(db: Db) -> Place | None:
    """Who takes over when an agreement ends (W2), or who succeeded him; he cannot leave meanwhile.

    Each in the chain is locked before his successor is read, so none can slip in after.
    """
    holder = None
    following: UUID | None = await db.fetchval(
        """
        -- succession_store.select_holder_id
        SELECT holder_reporter_id
          FROM registry.region
        """
    )
    while following is not None:
        row = await db.fetchrow(
            """
            -- succession_store.select_holder
            SELECT organisation_id, id, successor_id
              FROM registry.reporter
             WHERE id = $1
               FOR KEY SHARE
            """,
            following,
        )
        holder = Place(row["organisation_id"], row["id"]) if row else None
        following = row["successor_id"] if row else None
    return holder


async def lock_left(db: Db, holder: UUID, today: date, limit: int) -> list[Left]:
    """Signals that were live when the last agreement of their organisation ended.

    Those that expired since count too, so that it does not matter who sweeps first. Others'
    batches are passed over: nobody waits for a signal here, so their order is free.
    """
    rows = await db.fetch(
        """
        -- succession_store.lock_left
        WITH former AS MATERIALIZED (
             SELECT organisation_id, max(valid_to) AS last_day
               FROM registry.agreement
              WHERE organisation_id <> $1
              GROUP BY organisation_id
             HAVING max(coalesce(valid_to, 'infinity')) < $2)
        SELECT signal.id, signal.organisation_id, signal.reference_epoch, signal.reference
          FROM former
          JOIN matching.signal USING (organisation_id)
         WHERE (signal.status = 'live' OR signal.ground = 'expired')
           AND signal.remove_on > former.last_day + 1
           AND signal.destroy_by > $2
         LIMIT $3
           FOR UPDATE OF signal SKIP LOCKED
        """,
        holder,
        today,
        limit,
    )
    return [
        Left(row["id"], row["organisation_id"], Sealed(row["reference_epoch"], row["reference"]))
        for row in rows
    ]


async def update_signals(db: Db, signals: Sequence[UUID], reporter: UUID) -> None:
    """Give locked signals to a colleague."""
    await db.execute(
        """
        -- succession_store.update_signals
        UPDATE matching.signal
           SET reporter_id = $2
         WHERE id = ANY($1::uuid[])
        """,
        signals,
        reporter,
    )


async def update_owners(
    db: Db, signals: Sequence[UUID], references: Sequence[Sealed], to: Place
) -> None:
    """Give locked signals to another organisation, each with its reference sealed anew."""
    await db.execute(
        """
        -- succession_store.update_owners
        UPDATE matching.signal
           SET organisation_id = $4, reporter_id = $5,
               reference_epoch = new.epoch, reference = new.box
          FROM unnest($1::uuid[], $2::integer[], $3::bytea[]) AS new (id, epoch, box)
         WHERE signal.id = new.id
        """,
        signals,
        [reference.epoch for reference in references],
        [reference.box for reference in references],
        to.organisation,
        to.reporter,
    )


async def update_sides(db: Db, signals: Sequence[UUID], to: Place) -> list[SideKey]:
    """Let the sides that locked signals have in matches follow them; which those are.

    The matches are locked first, since whoever destroys one takes both its sides.
    """
    await db.execute(
        """
        -- succession_store.lock_matches
        SELECT id
          FROM matching.match
         WHERE id IN (SELECT match_id FROM matching.match_side WHERE signal_id = ANY($1::uuid[]))
         ORDER BY id
           FOR UPDATE
        """,
        signals,
    )
    rows = await db.fetch(
        """
        -- succession_store.update_sides
        UPDATE matching.match_side
           SET organisation_id = $2, reporter_id = $3
         WHERE signal_id = ANY($1::uuid[])
        RETURNING match_id, signal_id
        """,
        signals,
        to.organisation,
        to.reporter,
    )
    return [(row["match_id"], row["signal_id"]) for row in rows]


async def close_own_matches(db: Db, matches: Collection[UUID]) -> None:
    """Close those of these locked matches that have one reporter on both sides."""
    await db.execute(
        """
        -- succession_store.close_own_matches
        UPDATE matching.match
           SET status = 'closed'
          FROM matching.signal AS a, matching.signal AS b
         WHERE match.id = ANY($1)
           AND match.status = 'open'
           AND a.id = match.signal_a
           AND b.id = match.signal_b
           AND a.reporter_id = b.reporter_id
        """,
        list(matches),
    )


async def update_children(db: Db, signals: Sequence[UUID], reporter: UUID, today: date) -> None:
    """Make locked signals a reporter's live ones on their children (M7), or next in line."""
    rows = await db.fetch(
        """
        -- succession_store.update_children
        WITH claimed AS (
             DELETE FROM matching.live_child
              WHERE signal_id = ANY($1::uuid[])
             RETURNING key, signal_id
        ), waiting AS (
             DELETE FROM matching.waiting_child
              WHERE signal_id = ANY($1::uuid[])
             RETURNING key, signal_id)
        INSERT INTO matching.waiting_child (reporter_id, key, signal_id)
        SELECT $2::uuid, key, signal_id FROM claimed
         UNION ALL
        SELECT $2::uuid, key, signal_id FROM waiting
        RETURNING key
        """,
        signals,
        reporter,
    )
    await store.free_children(db, {(reporter, row["key"]) for row in rows}, today)
