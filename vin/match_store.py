"""SQL of matches as a side sees them: which are whose, and what a side may be shown."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from uuid import UUID

from matching.model import Kind, Status
from schemas.database import Db
from schemas.dates import local_date
from vin.crypto.seal import Sealed

SideKey = tuple[UUID, UUID]

# L5: a void match stays in sight so long, whatever made it void: so the end tells nobody why.
VOID_KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One side of a match: its own signal, and who is on the other side."""

    match: UUID
    number: str
    kind: Kind
    status: Status
    matched_at: datetime
    signal: UUID
    organisation: UUID
    reference: Sealed = field(repr=False)
    other_signal: UUID | None
    other_reporter: UUID | None


async def select_page(
    db: Db,
    organisation: UUID,
    reporter: UUID | None,
    after: tuple[datetime, UUID, UUID],
    limit: int,
    now: datetime,
) -> list[SideKey]:
    """The next sides of an organisation, or of one of its reporters, oldest first.

    Those that `select_sides` leaves out are left out here too.
    """
    rows = await db.fetch(
        """
        -- match_store.select_page
        SELECT match_id, signal_id
          FROM matching.match_side
         WHERE organisation_id = $1
           AND ($2::uuid IS NULL OR reporter_id = $2)
           AND (matched_at, match_id, signal_id) > ($3, $4, $5)
           AND NOT EXISTS (
               SELECT
                 FROM matching.match
                WHERE match.id = match_side.match_id
                  AND match.voided_at < $8)
           AND NOT EXISTS (
               SELECT
                 FROM matching.match_side AS leg
                 JOIN matching.signal ON signal.id = leg.signal_id
                WHERE leg.match_id = match_side.match_id
                  AND signal.destroy_by <= $7)
         ORDER BY matched_at, match_id, signal_id
         LIMIT $6
        """,
        organisation,
        reporter,
        *after,
        limit,
        local_date(now),
        now - VOID_KEPT,
    )
    return [(row["match_id"], row["signal_id"]) for row in rows]


async def select_by_number(db: Db, organisation: UUID, number: str) -> list[SideKey]:
    """The sides of a match that an organisation holds: none, one, or both."""
    rows = await db.fetch(
        """
        -- match_store.select_by_number
        SELECT match_side.match_id, match_side.signal_id
          FROM matching.match_side
          JOIN matching.match ON match.id = match_side.match_id
         WHERE match.number = $2
           AND match_side.organisation_id = $1
        """,
        organisation,
        number,
    )
    return [(row["match_id"], row["signal_id"]) for row in rows]


async def share_matches(db: Db, matches: Collection[UUID]) -> None:
    """Keep matches from being destroyed, or left by a side, until this transaction ends."""
    await db.execute(
        """
        -- match_store.share_matches
        SELECT id
          FROM matching.match
         WHERE id = ANY($1)
         ORDER BY id
           FOR KEY SHARE
        """,
        list(matches),
    )


async def select_sides(db: Db, keys: Sequence[SideKey], now: datetime) -> list[Side]:
    """What these (match, signal) sides are now, in the order asked for; gone ones are absent.

    Dates decide, however far the sweeper is (L1, L4). The other side is gone once it was erased.
    """
    rows = await db.fetch(
        """
        -- match_store.select_sides
        SELECT match.id, match.number, match.kind, match.matched_at,
               CASE WHEN match.status = 'open'
                     AND least(signal.remove_on, signal.destroy_by, leg.remove_on) <= $3
                    THEN 'closed' ELSE match.status END AS status,
               side.signal_id, side.organisation_id,
               signal.reference_epoch, signal.reference,
               other.signal_id AS other_signal, other.reporter_id AS other_reporter
          FROM unnest($1::uuid[], $2::uuid[]) WITH ORDINALITY
            AS asked (match_id, signal_id, place)
          JOIN matching.match_side AS side USING (match_id, signal_id)
          JOIN matching.match ON match.id = side.match_id
          JOIN matching.signal ON signal.id = side.signal_id
          LEFT JOIN matching.match_side AS other
            ON other.match_id = side.match_id AND other.signal_id <> side.signal_id
          LEFT JOIN matching.signal AS leg ON leg.id = other.signal_id
         WHERE least(signal.destroy_by, leg.destroy_by) > $3
           AND (match.voided_at IS NULL OR match.voided_at >= $4)
         ORDER BY asked.place
        """,
        [match for match, _ in keys],
        [signal for _, signal in keys],
        local_date(now),
        now - VOID_KEPT,
    )
    return [
        Side(
            match=row["id"],
            number=row["number"],
            kind=Kind(row["kind"]),
            status=Status(row["status"]),
            matched_at=row["matched_at"],
            signal=row["signal_id"],
            organisation=row["organisation_id"],
            reference=Sealed(row["reference_epoch"], row["reference"]),
            other_signal=row["other_signal"],
            other_reporter=row["other_reporter"],
        )
        for row in rows
    ]


async def select_waiting(db: Db, matches: Collection[UUID], today: date) -> set[UUID]:
    """Those with a side whose organisation has no agreement in force: it waits for the holder.

    Nobody is told of these until then (W2).
    """
    rows = await db.fetch(
        """
        -- match_store.select_waiting
        SELECT DISTINCT side.match_id
          FROM matching.match_side AS side
         WHERE side.match_id = ANY($1)
           AND NOT EXISTS (
               SELECT
                 FROM registry.agreement
                WHERE agreement.organisation_id = side.organisation_id
                  AND agreement.valid_from <= $2
                  AND (agreement.valid_to IS NULL OR agreement.valid_to >= $2))
        """,
        list(matches),
        today,
    )
    return {row["match_id"] for row in rows}


async def share_legs(db: Db, matches: Collection[UUID]) -> None:
    """Keep both signals of matches from ending until this transaction does (decision 7)."""
    await db.execute(
        """
        -- match_store.share_legs
        SELECT id
          FROM matching.signal
         WHERE id IN (SELECT signal_id FROM matching.match_side WHERE match_id = ANY($1))
         ORDER BY id
           FOR SHARE
        """,
        list(matches),
    )
