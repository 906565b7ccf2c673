"""SQL of what new reporters are told once of the archive (L6)."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from datetime import datetime
from uuid import UUID

from matching.model import SignalId
from schemas.database import Db


async def leave_out_matched(
    db: Db, history: Mapping[SignalId, Collection[SignalId]]
) -> dict[SignalId, set[SignalId]]:
    """Of new signals and the archived ones that they met, those that never matched."""
    pairs = [(new, old) for new, olds in history.items() for old in olds]
    rows = await db.fetch(
        """
        -- matching.leave_out_matched
        SELECT new, old
          FROM unnest($1::uuid[], $2::uuid[]) AS met (new, old)
         WHERE NOT EXISTS (
               SELECT FROM matching.match
                WHERE signal_a = least(new, old)
                  AND signal_b = greatest(new, old)
                  AND status <> 'void')
        """,
        [new for new, _ in pairs],
        [old for _, old in pairs],
    )
    unmatched: dict[SignalId, set[SignalId]] = defaultdict(set)
    for row in rows:
        unmatched[row["new"]].add(row["old"])
    return unmatched


async def insert_history(
    db: Db, history: Mapping[SignalId, Collection[SignalId]], at: datetime
) -> list[UUID]:
    """Note which archived signals new ones met (L6), once for a new signal. The notices' ids."""
    new = sorted(history)
    rows = await db.fetch(
        """
        -- matching.insert_history
        INSERT INTO matching.history_notice (id, signal_id, noticed_at)
        SELECT gen_random_uuid(), signal_id, $2
          FROM unnest($1::uuid[]) AS new (signal_id)
         ORDER BY signal_id
            ON CONFLICT DO NOTHING
        RETURNING id, signal_id
        """,
        new,
        at,
    )
    pairs = sorted((row["id"], old) for row in rows for old in history[row["signal_id"]])
    await db.execute(
        """
        -- matching.insert_history_signals
        INSERT INTO matching.history_signal (history_notice_id, signal_id)
        SELECT *
          FROM unnest($1::uuid[], $2::uuid[])
        """,
        [notice for notice, _ in pairs],
        [old for _, old in pairs],
    )
    return [row["id"] for row in rows]
