"""SQL of what notices are about."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from schemas.database import Db


@dataclass(frozen=True, slots=True)
class Contents:
    """Of which kind a notice is, whom it is for, and its matches, each with his own signal."""

    kind: str
    reporter: UUID
    matches: Sequence[tuple[UUID, UUID]]


async def select_contents(db: Db, notices: Sequence[UUID]) -> dict[UUID, Contents]:
    """What these notices are about; those that are gone are absent."""
    rows = await db.fetch(
        """
        -- contents.select_contents
        SELECT notice.id, kind, reporter_id,
               array_agg(match_id ORDER BY match_id, signal_id) AS matches,
               array_agg(signal_id ORDER BY match_id, signal_id) AS signals
          FROM notify.notice
          LEFT JOIN notify.notice_match ON notice_id = notice.id
         WHERE notice.id = ANY($1)
         GROUP BY notice.id
        """,
        list(notices),
    )
    return {
        row["id"]: Contents(
            row["kind"],
            row["reporter_id"],
            [
                (match, signal)
                for match, signal in zip(row["matches"], row["signals"], strict=True)
                if match is not None
            ],
        )
        for row in rows
    }
