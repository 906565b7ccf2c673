"""SQL of changed keys: the signal, its tokens, and the matches that rest on them."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from matching.model import Kind, Link, MatchId, Role, SignalId
from schemas.database import Db
from vin.crypto.pseudonym import Token


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnKeys:
    """A locked signal, whose it is, and the token of its child by number."""

    signal: UUID
    status: str
    reporter: UUID
    child: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenMatch:
    """A locked match, as it was decided before."""

    id: MatchId
    number: str
    signal_a: SignalId
    signal_b: SignalId
    kind: Kind
    matched_at: datetime


async def select_reporter(db: Db, signal: UUID, organisation: UUID, today: date) -> UUID | None:
    """Whose one of an organisation's signals is; None when it has no such."""
    reporter: UUID | None = await db.fetchval(
        """
        -- change_store.select_reporter
        SELECT reporter_id
          FROM matching.signal
         WHERE id = $1
           AND organisation_id = $2
           AND destroy_by > $3
        """,
        signal,
        organisation,
        today,
    )
    return reporter


async def lock_own(db: Db, signal: UUID, reporter: UUID, today: date) -> OwnKeys | None:
    """Keep everyone but foreign keys off a reporter's signal; how it stands today.

    The child is read in a second statement: only that one sees what a change, for which
    the first may have waited, has committed.
    """
    row = await db.fetchrow(
        """
        -- change_store.lock_own
        SELECT CASE WHEN remove_on <= $3 THEN 'ended' ELSE status END AS status
          FROM matching.signal
         WHERE id = $1
           AND reporter_id = $2
           AND destroy_by > $3
           FOR NO KEY UPDATE
        """,
        signal,
        reporter,
        today,
    )
    if row is None:
        return None
    child = await db.fetchval(
        """
        -- change_store.select_child
        SELECT token
          FROM matching.token
         WHERE signal_id = $1
           AND role = 'child'
        """,
        signal,
    )
    return OwnKeys(signal=signal, status=row["status"], reporter=reporter, child=child)


async def insert_child(db: Db, signal: UUID, child: Token, at: datetime) -> None:
    """Give a locked signal the number of its child; the reporter's claim on it follows (M7)."""
    await insert_keys(db, signal, [(Role.CHILD, child)], at)
    await db.execute(
        """
        -- change_store.release_file
        WITH idle AS (
             DELETE FROM matching.waiting_child
              WHERE signal_id = $1)
        DELETE FROM matching.live_child
         WHERE signal_id = $1
           AND key <> $2
        """,
        signal,
        child.lookup,
    )


async def replace_household(
    db: Db, signal: UUID, household: Sequence[tuple[Role, Token]], at: datetime
) -> list[UUID]:
    """Give a locked signal these household keys and no others; the tokens that it lost.

    Keys that stay are not touched.
    """
    rows = await db.fetch(
        """
        -- change_store.delete_household
        DELETE FROM matching.token
         WHERE signal_id = $1
           AND role IN ('parent', 'address')
           AND token <> ALL($2::uuid[])
        RETURNING token
        """,
        signal,
        [key.lookup for _, key in household],
    )
    await insert_keys(db, signal, household, at)
    return [row["token"] for row in rows]


async def insert_keys(
    db: Db, signal: UUID, keys: Sequence[tuple[Role, Token]], at: datetime
) -> None:
    """Add keys that a locked signal does not have yet."""
    await db.execute(
        """
        -- change_store.insert_keys
        INSERT INTO matching.token
               (signal_id, role, token, key_epoch, index_epoch, sealed, added_at)
        SELECT $1, role, token, key_epoch, index_epoch, sealed, $7
          FROM unnest($2::text[], $3::uuid[], $4::integer[], $5::integer[], $6::bytea[])
            AS new (role, token, key_epoch, index_epoch, sealed)
            ON CONFLICT DO NOTHING
        """,
        signal,
        [role for role, _ in keys],
        [key.lookup for _, key in keys],
        [key.key_epoch for _, key in keys],
        [key.index_epoch for _, key in keys],
        [key.sealed for _, key in keys],
        at,
    )


async def lock_open_matches(db: Db, signals: Collection[UUID]) -> list[OpenMatch]:
    """Lock the open matches of locked signals, in one order.

    A match is where two changes on its two sides meet: the second waits here, and reads
    the first one's tokens in its next statement. No other signal needs to be locked.
    """
    rows = await db.fetch(
        """
        -- change_store.lock_open_matches
        SELECT id, number, signal_a, signal_b, kind, matched_at
          FROM matching.match
         WHERE (signal_a = ANY($1) OR signal_b = ANY($1))
           AND status = 'open'
         ORDER BY id
           FOR UPDATE
        """,
        list(signals),
    )
    return [
        OpenMatch(
            id=row["id"],
            number=row["number"],
            signal_a=row["signal_a"],
            signal_b=row["signal_b"],
            kind=Kind(row["kind"]),
            matched_at=row["matched_at"],
        )
        for row in rows
    ]


async def update_matches(
    db: Db, verdicts: Sequence[tuple[OpenMatch, Link | None]], at: datetime
) -> None:
    """Give locked matches the kind that proved right (M11), or make them void (M12)."""
    await db.execute(
        """
        -- change_store.update_matches
        UPDATE matching.match
           SET kind = coalesce(new.kind, match.kind),
               status = CASE WHEN new.kind IS NULL THEN 'void' ELSE match.status END,
               voided_at = CASE WHEN new.kind IS NULL THEN $3::timestamptz END
          FROM unnest($1::uuid[], $2::text[]) AS new (id, kind)
         WHERE match.id = new.id
        """,
        [match.id for match, _ in verdicts],
        [link.kind if link else None for _, link in verdicts],
        at,
    )
