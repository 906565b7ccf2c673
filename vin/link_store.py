"""SQL of the links in mails by which a side answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from schemas.database import Db

SideKey = tuple[UUID, UUID]


@dataclass(frozen=True, slots=True)
class NewLink:
    """A link for one side of a match."""

    id: UUID
    side: SideKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a link that still works asks about."""

    side: SideKey
    number: str
    language: Literal["nl", "en"]


async def insert_links(db: Db, links: Sequence[NewLink], expires_at: datetime) -> None:
    """Write links; one that was written for an earlier attempt at the same mail stays."""
    await db.execute(
        """
        -- link_store.insert_links
        INSERT INTO followup.link (id, match_id, signal_id, expires_at)
        SELECT id, match_id, signal_id, $4
          FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS new (id, match_id, signal_id)
            ON CONFLICT (id) DO UPDATE
           SET expires_at = excluded.expires_at
        """,
        [link.id for link in links],
        [link.side[0] for link in links],
        [link.side[1] for link in links],
        expires_at,
    )


async def select_asked(db: Db, link: UUID, now: datetime, today: date) -> Asked | None:
    """What a link is for, in its organisation's language; None once it was used or expired.

    None as well once the match has ended, by its dates too (L1, L4).
    """
    row = await db.fetchrow(
        """
        -- link_store.select_asked
        SELECT link.match_id, link.signal_id, match.number, organisation.language
          FROM followup.link
          JOIN matching.match ON match.id = link.match_id
          JOIN matching.match_side AS side
            ON side.match_id = link.match_id AND side.signal_id = link.signal_id
          JOIN registry.organisation ON organisation.id = side.organisation_id
          JOIN matching.signal AS a ON a.id = match.signal_a
          JOIN matching.signal AS b ON b.id = match.signal_b
         WHERE link.id = $1
           AND link.used_at IS NULL
           AND link.expires_at > $2
           AND match.status = 'open'
           AND least(a.remove_on, a.destroy_by, b.remove_on, b.destroy_by) > $3
        """,
        link,
        now,
        today,
    )
    if row is None:
        return None
    return Asked(
        side=(row["match_id"], row["signal_id"]),
        number=row["number"],
        language=row["language"],
    )


async def use(db: Db, link: UUID, now: datetime) -> bool:
    """Use a link up; False when it was used before or has expired.

    The caller holds its match and the legs of that, as whoever destroys one does.
    """
    used = await db.fetchval(
        """
        -- link_store.use
        UPDATE followup.link
           SET used_at = $2
         WHERE id = $1
           AND used_at IS NULL
           AND expires_at > $2
        RETURNING true
        """,
        link,
        now,
    )
    return used is not None


async def delete_of(db: Db, signals: Sequence[UUID]) -> None:
    """Forget the links of sides that another organisation has now; the caller holds the signals."""
    await db.execute(
        """
        -- link_store.delete_of
        DELETE FROM followup.link
         WHERE signal_id = ANY($1::uuid[])
        """,
        signals,
    )


async def delete_expired(db: Db, now: datetime, limit: int) -> int:
    """Delete links that work no more by their date. How many."""
    done = await db.execute(
        """
        -- link_store.delete_expired
        DELETE FROM followup.link
         WHERE id IN (
               SELECT id
                 FROM followup.link
                WHERE expires_at <= $1
                LIMIT $2
                  FOR UPDATE SKIP LOCKED)
        """,
        now,
        limit,
    )
    return int(done.split()[-1])
