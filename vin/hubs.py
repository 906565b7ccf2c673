"""Use cases on hubs (M5): an auditor sees them all, a person decides that one is a family."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from matching.hub_store import FAMILY_LIMITS
from matching.store import select_policy
from schemas.database import Db
from schemas.dates import local_date
from vin import audit, store
from vin.audit import Entry, Event
from vin.errors import StartError


@dataclass(frozen=True, slots=True, kw_only=True)
class Hub:
    """What an auditor sees of a hub; never its token."""

    id: UUID
    role: str | None
    since: datetime
    recorded_at: datetime
    released_at: datetime | None
    signals: int
    children: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A person's decision that what a hub's members share is a family's."""

    hub: UUID
    purpose: str
    operator: str


async def list_hubs(db: Db, operator: str, now: datetime) -> list[Hub]:
    """Every hub with the signals and children that carry it today; the look is logged (G3)."""
    rows = await db.fetch(
        """
        -- hubs.list_hubs
        SELECT hub.id, hub.since, hub.recorded_at, hub.released_at,
               (SELECT role FROM matching.token WHERE token.token = hub.token LIMIT 1) AS role,
               count(signal.id) AS signals, count(DISTINCT best.token) AS children
          FROM matching.hub
          LEFT JOIN matching.token ON token.token = hub.token
          LEFT JOIN matching.signal
            ON signal.id = token.signal_id AND signal.status = 'live'
           AND signal.remove_on > $1 AND signal.destroy_by > $1
          LEFT JOIN LATERAL (
               SELECT own.token
                 FROM matching.token AS own
                WHERE own.signal_id = signal.id AND own.role IN ('child', 'weak')
                ORDER BY own.role
                LIMIT 1) AS best ON true
         GROUP BY hub.token
         ORDER BY hub.since, hub.id
        """,
        local_date(now),
    )
    await audit.append(db, now, [entry(Event.HUBS_AUDITED, operator, detail={"hubs": len(rows)})])
    return [Hub(**dict(row)) for row in rows]


async def release_hub(db: Db, release: Release, now: datetime) -> int:
    """Make a hub's token a key like any other, from now on. How many signals look for matches.

    StartError for a hub that is not there, was released before, or has too many children.
    """
    token = await lock_hub(db, release.hub)
    if token is None:
        message = "There is no such hub, or it was released before."
        raise StartError(message)
    members = await select_members(db, token, local_date(now))
    limit = FAMILY_LIMITS * (await select_policy(db)).hub_limit
    if len({child for _, child in members}) > limit:
        message = (
            f"More than {limit} children share this: no family, and all would get a message. "
            "An institution's address belongs in the file of excluded addresses."
        )
        raise StartError(message)
    signals = [signal for signal, _ in members]
    await mark_released(db, token, now)
    await store.enqueue(db, signals)
    detail = {"signals": len(signals)}
    await audit.append(
        db,
        now,
        [entry(Event.HUB_RELEASED, release.operator, release.hub, release.purpose, detail)],
    )
    return len(signals)


async def lock_hub(db: Db, hub: UUID) -> UUID | None:
    """Lock a hub that was not released yet; its token.

    Who carries it is locked first, as by whoever gives the token up (`vin.carried`).
    """
    await db.execute(
        """
        -- hubs.lock_carriers
        SELECT id
          FROM matching.signal
         WHERE id = ANY(ARRAY(
               SELECT signal_id
                 FROM matching.hub
                 JOIN matching.token USING (token)
                WHERE hub.id = $1))
         ORDER BY id
           FOR NO KEY UPDATE
        """,
        hub,
    )
    token: UUID | None = await db.fetchval(
        """
        -- hubs.lock_hub
        SELECT token
          FROM matching.hub
         WHERE id = $1
           AND released_at IS NULL
           FOR UPDATE
        """,
        hub,
    )
    return token


async def select_members(db: Db, token: UUID, today: date) -> Sequence[tuple[UUID, UUID]]:
    """The signals that carry a token and live today, each with its child's best key."""
    rows = await db.fetch(
        """
        -- hubs.select_members
        SELECT DISTINCT ON (signal.id) signal.id, own.token AS child
          FROM matching.token
          JOIN matching.signal ON signal.id = token.signal_id
          JOIN matching.token AS own ON own.signal_id = signal.id AND own.role IN ('child', 'weak')
         WHERE token.token = $1
           AND signal.status = 'live'
           AND signal.remove_on > $2
           AND signal.destroy_by > $2
         ORDER BY signal.id, own.role
        """,
        token,
        today,
    )
    return [(row["id"], row["child"]) for row in rows]


async def mark_released(db: Db, token: UUID, at: datetime) -> None:
    """Let a hub's token link those who carry it, from this instant on."""
    await db.execute(
        """
        -- hubs.mark_released
        UPDATE matching.hub
           SET released_at = $2
         WHERE token = $1
        """,
        token,
        at,
    )
    await db.execute(
        """
        -- hubs.renew_keys
        UPDATE matching.token
           SET added_at = $2
         WHERE token = $1
        """,
        token,
        at,
    )


def entry(
    event: Event,
    operator: str,
    hub: UUID | None = None,
    purpose: str | None = None,
    detail: dict[str, int] | None = None,
) -> Entry:
    """The log of who looked at hubs or decided on one."""
    return Entry(
        event=event,
        actor_kind="operator",
        actor=operator,
        object_kind="hub",
        object_id=hub,
        purpose=purpose,
        detail=dict(detail or {}),
    )
