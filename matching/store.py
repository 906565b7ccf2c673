"""SQL that narrows the choice for the rules, and writes what they decided.

Why no match is missed (M10). A signal, its tokens and its queue row become visible in
one commit, and commits on the primary become visible in one order. Take two overlapping
signals X and Y, X visible before Y. Y's queue row is visible only together with Y. The
look-up of Y's partners is a statement of its own after the claim, so its snapshot is
younger than the claim, which saw Y: hence it sees X. The queue row disappears only in
the commit that writes Y's matches, or that queues Y again; a crash leaves it there. One
row per pair and inserts in one order make a double discovery harmless. It holds under
READ COMMITTED on the primary, with any number of matchers; it would not hold with a
look-up before the registering commit, with one whose snapshot is older than the claim (an
earlier statement, or the same one once the claim waits for a lock), or along a sequence.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from matching.model import MadeMatch, Policy, ReporterId, Role, Signal, SignalId, Token
from matching.rules import status_at
from schemas.database import Db

if TYPE_CHECKING:
    from asyncpg import Record


async def claim_queued(db: Db, limit: int) -> dict[SignalId, list[int]]:
    """Lock signals that wait to be matched, the longest waiting first, with their queue rows.

    They wait on until `delete_queued`. Look their partners up in a later statement: only a
    snapshot younger than the claim is sure to see every signal that was committed before the
    claimed one.
    """
    rows = await db.fetch(
        """
        -- matching.claim_queued
        SELECT id, signal_id
          FROM matching.match_queue
         ORDER BY id
         LIMIT $1
           FOR UPDATE SKIP LOCKED
        """,
        limit,
    )
    claimed: dict[SignalId, list[int]] = defaultdict(list)
    for row in rows:
        claimed[row["signal_id"]].append(row["id"])
    return claimed


async def delete_queued(db: Db, rows: Iterable[int]) -> None:
    """Take claimed rows out of the queue."""
    await db.execute(
        """
        -- matching.delete_queued
        DELETE FROM matching.match_queue
         WHERE id = ANY($1)
        """,
        list(rows),
    )


async def select_candidates(db: Db, claimed: Sequence[SignalId]) -> list[tuple[SignalId, SignalId]]:
    """Pairs of a claimed signal and another that could match: perhaps too many, never too few.

    A hub's members are not walked, or a shelter would cost n^2 pairs (M5): of them come
    only those from before it was one. Nor are those of an excluded address (M4).
    """
    rows = await db.fetch(
        """
        -- matching.select_candidates
        WITH mine AS MATERIALIZED (
             SELECT token.signal_id, token.token, hub.since,
                    coalesce(token.added_at, signal.registered_at) < hub.since AS early
               FROM matching.token
               JOIN matching.signal ON signal.id = token.signal_id
               LEFT JOIN matching.hub ON hub.token = token.token AND hub.released_at IS NULL
              WHERE token.signal_id = ANY($1)
                AND NOT EXISTS (
                    SELECT FROM matching.excluded_address
                     WHERE excluded_address.token = token.token))
        SELECT mine.signal_id AS claimed, other.signal_id AS partner
          FROM mine
          JOIN matching.token AS other ON other.token = mine.token
         WHERE mine.since IS NULL
           AND other.signal_id <> mine.signal_id
         UNION
        SELECT mine.signal_id, other.signal_id
          FROM mine
          JOIN matching.token AS other ON other.token = mine.token
          JOIN matching.signal ON signal.id = other.signal_id
         WHERE mine.early
           AND coalesce(other.added_at, signal.registered_at) < mine.since
           AND other.signal_id <> mine.signal_id
        """,
        claimed,
    )
    return [(SignalId(row["claimed"]), SignalId(row["partner"])) for row in rows]


async def lock_signals(db: Db, ids: Iterable[SignalId]) -> dict[SignalId, Signal]:
    """Read signals as they are now, and keep a withdrawal out until this transaction ends.

    Those that ended outside the archive are left out; an ended signal never lives again. One
    that the sweeper ended by its date is live here: the rules go by dates (L4).
    """
    rows = await db.fetch(
        """
        -- matching.lock_signals
        SELECT id, organisation_id, reporter_id, match_unit_id, registered_at,
               status = 'live' OR ground = 'expired' AS live, remove_on, destroy_by, archive_until
          FROM matching.signal
         WHERE id = ANY($1)
           AND (status = 'live' OR archive_until IS NOT NULL)
         ORDER BY id
           FOR SHARE
        """,
        list(ids),
    )
    return await with_tokens(db, rows)


async def read_signals(db: Db, ids: Iterable[SignalId]) -> dict[SignalId, Signal]:
    """Read signals as they are now, without keeping anyone from them."""
    rows = await db.fetch(
        """
        -- matching.read_signals
        SELECT id, organisation_id, reporter_id, match_unit_id, registered_at,
               status = 'live' OR ground = 'expired' AS live, remove_on, destroy_by, archive_until
          FROM matching.signal
         WHERE id = ANY($1)
           AND (status = 'live' OR archive_until IS NOT NULL)
        """,
        list(ids),
    )
    return await with_tokens(db, rows)


async def with_tokens(db: Db, rows: "Sequence[Record]") -> dict[SignalId, Signal]:
    """Make signals of their rows, with their tokens and their reporters' person keys."""
    tokens = await select_tokens(db, [row["id"] for row in rows])
    persons = await select_persons(db, {row["reporter_id"] for row in rows})
    return {
        row["id"]: signal_of(row, tokens[row["id"]], persons.get(row["reporter_id"], frozenset()))
        for row in rows
    }


async def select_tokens(db: Db, signals: Sequence[SignalId]) -> dict[SignalId, list["Record"]]:
    """The tokens of signals with their roles, and of those that came later when they did."""
    rows = await db.fetch(
        """
        -- matching.select_tokens
        SELECT signal_id, role, token, added_at
          FROM matching.token
         WHERE signal_id = ANY($1)
        """,
        signals,
    )
    tokens: dict[SignalId, list[Record]] = defaultdict(list)
    for row in rows:
        tokens[row["signal_id"]].append(row)
    return tokens


async def select_persons(db: Db, reporters: Iterable[UUID]) -> dict[ReporterId, frozenset[UUID]]:
    """The person keys of reporters."""
    rows = await db.fetch(
        """
        -- matching.select_persons
        SELECT reporter_id, keys
          FROM matching.person
         WHERE reporter_id = ANY($1)
        """,
        list(reporters),
    )
    return {row["reporter_id"]: frozenset(row["keys"]) for row in rows}


def signal_of(row: "Record", tokens: "Sequence[Record]", persons: frozenset[UUID]) -> Signal:
    """Build the noun from its rows."""
    carried: dict[str, list[Token]] = defaultdict(list)
    for each in tokens:
        carried[each["role"]].append(each["token"])
    return Signal(
        id=row["id"],
        organisation=row["organisation_id"],
        reporter=row["reporter_id"],
        persons=persons,
        match_unit=row["match_unit_id"],
        live=row["live"],
        registered_at=row["registered_at"],
        remove_on=row["remove_on"],
        destroy_by=row["destroy_by"],
        archive_until=row["archive_until"],
        child=next(iter(carried[Role.CHILD]), None),
        weak=next(iter(carried[Role.WEAK]), None),
        parents=frozenset(carried[Role.PARENT]),
        address=next(iter(carried[Role.ADDRESS]), None),
        added={each["token"]: each["added_at"] for each in tokens if each["added_at"]},
    )


async def insert_matches(db: Db, drafts: Sequence[MadeMatch], at: datetime) -> list[MadeMatch]:
    """Write matches and their sides; a pair that already matched is left as it is (M9).

    Returns what was really written; one with a side that is over, by its date or because the
    sweeper was here, is closed already (L5). Rows go in by pair, so that two matchers that found
    the same pairs wait for each other in one order.
    """
    ordered = sorted(drafts, key=lambda made: (made.match.signal_a.id, made.match.signal_b.id))
    rows = await db.fetch(
        """
        -- matching.insert_matches
        INSERT INTO matching.match (id, number, signal_a, signal_b, kind, status, matched_at)
        SELECT id, number, signal_a, signal_b, kind,
               CASE WHEN EXISTS (
                    SELECT
                      FROM matching.signal
                     WHERE signal.id IN (signal_a, signal_b)
                       AND signal.status <> 'live')
                    THEN 'closed' ELSE new.status END, $7
          FROM unnest($1::uuid[], $2::text[], $3::uuid[], $4::uuid[], $5::text[], $6::text[])
            AS new (id, number, signal_a, signal_b, kind, status)
         ORDER BY signal_a, signal_b
            ON CONFLICT (signal_a, signal_b) WHERE status <> 'void' DO NOTHING
        RETURNING id
        """,
        [made.id for made in ordered],
        [made.number for made in ordered],
        [made.match.signal_a.id for made in ordered],
        [made.match.signal_b.id for made in ordered],
        [made.match.kind for made in ordered],
        [status_at(made.match, at) for made in ordered],
        at,
    )
    written = {row["id"] for row in rows}
    matches = [made for made in ordered if made.id in written]
    await insert_numbers(db, [made.number for made in matches])
    await insert_sides(db, matches, at)
    return matches


async def insert_numbers(db: Db, numbers: Sequence[str]) -> None:
    """Keep numbers for ever (A6); one that was given before undoes the caller's transaction."""
    await db.execute(
        """
        -- matching.insert_numbers
        INSERT INTO matching.given_number (number)
        SELECT number
          FROM unnest($1::text[]) AS new (number)
         ORDER BY number
        """,
        numbers,
    )


async def insert_sides(db: Db, matches: Sequence[MadeMatch], at: datetime) -> None:
    """Write both sides of each match, from which an organisation lists its own."""
    sides = [
        (made.id, signal)
        for made in matches
        for signal in (made.match.signal_a, made.match.signal_b)
    ]
    await db.execute(
        """
        -- matching.insert_sides
        INSERT INTO matching.match_side
               (match_id, signal_id, organisation_id, reporter_id, matched_at)
        SELECT match_id, signal_id, organisation_id, reporter_id, $5
          FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[])
            AS new (match_id, signal_id, organisation_id, reporter_id)
        """,
        [match for match, _ in sides],
        [signal.id for _, signal in sides],
        [signal.organisation for _, signal in sides],
        [signal.reporter for _, signal in sides],
        at,
    )


async def mark_processed(db: Db, signals: Sequence[SignalId], at: datetime) -> None:
    """Note when the matcher was done with signals, match or not; the first time stands."""
    await db.execute(
        """
        -- matching.mark_processed
        INSERT INTO matching.processed (signal_id, processed_at)
        SELECT signal_id, $2
          FROM unnest($1::uuid[]) AS new (signal_id)
         ORDER BY signal_id
            ON CONFLICT DO NOTHING
        """,
        signals,
        at,
    )


async def select_policy(db: Db) -> Policy:
    """The region's rules as they are now."""
    row = await db.fetchrow(
        """
        -- matching.select_policy
        SELECT parent_rule, address_rule, hub_limit
          FROM registry.region
        """
    )
    return Policy(**row) if row else Policy()
