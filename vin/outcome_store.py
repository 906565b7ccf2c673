"""SQL of what the sides of matches say happened (A1, D6)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from schemas.database import Db
from vin.contact_clock import Outcome

SideKey = tuple[UUID, UUID]
Via = Literal["api", "link"]


@dataclass(frozen=True, slots=True)
class Said:
    """What one side said last, and whether the match was new to it."""

    outcome: Outcome
    new_to_me: bool
    said_at: datetime


async def lock_match(db: Db, match: UUID) -> None:
    """Let the sides of a match speak one after the other, and nobody close it meanwhile.

    The caller holds its legs, as all who lock a match do before.
    """
    await db.execute(
        """
        -- outcome_store.lock_match
        SELECT id
          FROM matching.match
         WHERE id = $1
           FOR NO KEY UPDATE
        """,
        match,
    )


async def share_matches(db: Db, matches: Collection[UUID]) -> None:
    """Let no side of these matches speak until the caller's transaction ends; he holds the legs."""
    await db.execute(
        """
        -- outcome_store.share_matches
        SELECT id
          FROM matching.match
         WHERE id = ANY($1::uuid[])
         ORDER BY id
           FOR SHARE
        """,
        list(matches),
    )


async def upsert_outcome(db: Db, side: SideKey, said: Said, via: Via) -> None:
    """Write what a side says, in place of what it said before."""
    await db.execute(
        """
        -- outcome_store.upsert_outcome
        INSERT INTO followup.outcome (match_id, signal_id, outcome, new_to_me, said_at, via)
        VALUES ($1, $2, $3, $4, $5, $6)
            ON CONFLICT (match_id, signal_id) DO UPDATE
           SET outcome = excluded.outcome,
               new_to_me = excluded.new_to_me,
               said_at = excluded.said_at,
               via = excluded.via
        """,
        *side,
        said.outcome,
        said.new_to_me,
        said.said_at,
        via,
    )


async def select_outcomes(db: Db, matches: Collection[UUID]) -> Mapping[SideKey, Said]:
    """What the sides of these matches said, by (match, signal)."""
    rows = await db.fetch(
        """
        -- outcome_store.select_outcomes
        SELECT match_id, signal_id, outcome, new_to_me, said_at
          FROM followup.outcome
         WHERE match_id = ANY($1)
        """,
        list(matches),
    )
    return {
        (row["match_id"], row["signal_id"]): Said(
            Outcome(row["outcome"]), row["new_to_me"], row["said_at"]
        )
        for row in rows
    }
