"""SQL of the contact clock, and of the sides of matches as those who watch over them see these."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID

from matching.model import Status
from schemas.database import Db
from vin.case_lead import Party, Role
from vin.contact_clock import Days, Planned, Step
from vin.crypto.seal import Sealed

# The clock of a listed match on which nothing more is due.
NEVER = date.max


@dataclass(frozen=True, slots=True)
class Due:
    """A clock that was due, locked with its match and both its legs."""

    match: UUID
    step: Step
    matched_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchedSide:
    """One side of a match: whose it is, and what his organisation is to the case.

    A shielded organisation goes by its broker's name, and has no place (A5).
    """

    match: UUID
    number: str
    signal: UUID
    status: Status
    matched_at: datetime
    organisation: UUID
    reporter: UUID
    reference: Sealed = field(repr=False)
    party: Party


async def select_policy(db: Db) -> tuple[Days, timedelta]:
    """The region's days, and how long what comes at once waits to go in one mail."""
    row = await db.fetchrow(
        """
        -- follow_up_store.select_policy
        SELECT remind_after_days, overdue_after_days, escalate_after_days, digest_seconds
          FROM registry.region
        """
    )
    assert row is not None  # noqa: S101 - there are no matches without a region
    days = Days(row["remind_after_days"], row["overdue_after_days"], row["escalate_after_days"])
    return days, timedelta(seconds=row["digest_seconds"])


async def insert_clocks(db: Db, matches: Sequence[UUID], first: Planned) -> None:
    """Start the clocks of new matches."""
    await db.execute(
        """
        -- follow_up_store.insert_clocks
        INSERT INTO followup.clock (match_id, next_on, next_step)
        SELECT id, $2, $3
          FROM unnest($1::uuid[]) AS new (id)
         ORDER BY id
        """,
        matches,
        *first,
    )


async def delete_ended(db: Db, today: date, limit: int) -> None:
    """Stop the clocks that are due on matches that have ended, by their dates too (L1, L4)."""
    await db.execute(
        """
        -- follow_up_store.delete_ended
        DELETE FROM followup.clock
         WHERE match_id IN (
               SELECT clock.match_id
                 FROM followup.clock
                 JOIN matching.match ON match.id = clock.match_id
                 LEFT JOIN matching.signal AS a ON a.id = match.signal_a
                 LEFT JOIN matching.signal AS b ON b.id = match.signal_b
                WHERE clock.next_on <= $1
                  AND (match.status <> 'open'
                       OR least(a.remove_on, a.destroy_by, b.remove_on, b.destroy_by) <= $1)
                LIMIT $2
                  FOR UPDATE OF clock SKIP LOCKED)
        """,
        today,
        limit,
    )


async def lock_due(db: Db, today: date, limit: int) -> list[Due]:
    """Take clocks that are due, with matches and legs; what another holds is passed over.

    Since it waits for nobody, it may lock these in any order.
    """
    rows = await db.fetch(
        """
        -- follow_up_store.lock_due
        SELECT clock.match_id, clock.next_step, match.matched_at
          FROM followup.clock
          JOIN matching.match ON match.id = clock.match_id
          JOIN matching.signal AS a ON a.id = match.signal_a
          JOIN matching.signal AS b ON b.id = match.signal_b
         WHERE clock.next_on <= $1
           AND match.status = 'open'
           AND least(a.remove_on, a.destroy_by, b.remove_on, b.destroy_by) > $1
         ORDER BY clock.next_on
         LIMIT $2
           FOR UPDATE OF clock SKIP LOCKED
           FOR SHARE OF match, a, b SKIP LOCKED
        """,
        today,
        limit,
    )
    return [Due(row["match_id"], Step(row["next_step"]), row["matched_at"]) for row in rows]


async def advance(db: Db, clocks: Mapping[UUID, Planned]) -> None:
    """Set locked clocks to what comes next on each."""
    await db.execute(
        """
        -- follow_up_store.advance
        UPDATE followup.clock
           SET next_on = new.next_on, next_step = new.next_step
          FROM unnest($1::uuid[], $2::date[], $3::text[]) AS new (match_id, next_on, next_step)
         WHERE clock.match_id = new.match_id
        """,
        list(clocks),
        [on for on, _ in clocks.values()],
        [step for _, step in clocks.values()],
    )


async def mark_listed(db: Db, matches: Collection[UUID], today: date) -> None:
    """Put matches on the list of who watches over them; those that are stay as they are."""
    await db.execute(
        """
        -- follow_up_store.mark_listed
        UPDATE followup.clock
           SET listed_on = $2
         WHERE match_id = ANY($1::uuid[])
           AND listed_on IS NULL
        """,
        list(matches),
        today,
    )


async def delete_unlisted(db: Db, matches: Collection[UUID]) -> None:
    """Drop locked clocks of matches on which nothing more is due, unless they are listed."""
    await db.execute(
        """
        -- follow_up_store.delete_unlisted
        DELETE FROM followup.clock
         WHERE match_id = ANY($1::uuid[])
           AND listed_on IS NULL
        """,
        list(matches),
    )


async def select_sides(
    db: Db, matches: Collection[UUID], today: date
) -> dict[UUID, list[WatchedSide]]:
    """The sides that matches have left, of each match in the order of registration."""
    rows = await db.fetch(
        """
        -- follow_up_store.select_sides
        SELECT match.id, match.number, match.matched_at,
               CASE WHEN match.status = 'open'
                     AND least(a.remove_on, a.destroy_by, b.remove_on, b.destroy_by) <= $2
                    THEN 'closed' ELSE match.status END AS status,
               side.signal_id, side.organisation_id, side.reporter_id,
               signal.reference_epoch, signal.reference,
               category.role,
               CASE WHEN o.shielded THEN o.broker_name ELSE o.name END AS name,
               CASE WHEN NOT o.shielded THEN o.municipality END AS municipality
          FROM matching.match
          JOIN matching.match_side AS side ON side.match_id = match.id
          JOIN matching.signal ON signal.id = side.signal_id
          JOIN registry.organisation AS o ON o.id = side.organisation_id
          JOIN registry.category ON category.code = o.category
          LEFT JOIN matching.signal AS a ON a.id = match.signal_a
          LEFT JOIN matching.signal AS b ON b.id = match.signal_b
         WHERE match.id = ANY($1::uuid[])
         ORDER BY match.matched_at, match.id, signal.registered_at, signal.id
        """,
        list(matches),
        today,
    )
    sides: dict[UUID, list[WatchedSide]] = defaultdict(list)
    for row in rows:
        sides[row["id"]].append(
            WatchedSide(
                match=row["id"],
                number=row["number"],
                signal=row["signal_id"],
                status=Status(row["status"]),
                matched_at=row["matched_at"],
                organisation=row["organisation_id"],
                reporter=row["reporter_id"],
                reference=Sealed(row["reference_epoch"], row["reference"]),
                party=Party(
                    name=row["name"],
                    role=Role(row["role"]) if row["role"] else None,
                    municipality=row["municipality"],
                ),
            )
        )
    return sides


async def select_told(db: Db, notices: Collection[UUID]) -> set[tuple[UUID, UUID, UUID]]:
    """What notices on steps are about: each notice with a match and the reporter of its side."""
    rows = await db.fetch(
        """
        -- follow_up_store.select_told
        SELECT notice_id, match_id, side.reporter_id
          FROM notify.notice_step
          JOIN matching.match_side AS side USING (match_id, signal_id)
         WHERE notice_id = ANY($1::uuid[])
        """,
        list(notices),
    )
    return {(row["notice_id"], row["match_id"], row["reporter_id"]) for row in rows}


async def select_teams(db: Db) -> list[Party]:
    """The local teams of the region, with their municipalities; the same order each time."""
    rows = await db.fetch(
        """
        -- follow_up_store.select_teams
        SELECT organisation.name, organisation.municipality
          FROM registry.organisation
          JOIN registry.category ON category.code = organisation.category
         WHERE category.role = 'local_team'
           AND NOT organisation.shielded
         ORDER BY organisation.code
        """
    )
    return [Party(row["name"], Role.LOCAL_TEAM, row["municipality"]) for row in rows]


async def select_listed(db: Db) -> dict[UUID, date]:
    """The open matches that are on a list, each with since when; the oldest first."""
    rows = await db.fetch(
        """
        -- follow_up_store.select_listed
        SELECT clock.match_id, clock.listed_on
          FROM followup.clock
          JOIN matching.match ON match.id = clock.match_id
         WHERE clock.listed_on IS NOT NULL
           AND match.status = 'open'
         ORDER BY clock.listed_on, match.number
        """
    )
    return {row["match_id"]: row["listed_on"] for row in rows}
