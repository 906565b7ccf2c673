"""SQL of what the rules make exceptions for: hubs (M5) and excluded addresses (M4)."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from matching.model import Hub, Member, Policy, Signal, SignalId, Token
from matching.rules import hub_since
from schemas.database import Db

# So many times the limit is no family: a key that a person released is a hub again above it.
FAMILY_LIMITS = 10


@dataclass(frozen=True, slots=True)
class Crowd:
    """Who carries a household token, and above how many children it is a hub."""

    limit: int
    released_at: datetime | None
    members: list[Member] = field(default_factory=list)

    @property
    def since(self) -> datetime | None:
        """When it became a hub, if it did: no sooner than it was released."""
        at = hub_since(self.members, self.limit)
        return max(at, self.released_at) if at and self.released_at else at


async def select_crowded(db: Db, signals: Sequence[SignalId], limit: int) -> dict[Token, Crowd]:
    """Household tokens of these signals that may have outgrown the limit, with who carries them.

    Tokens that are hubs are left out, and so are excluded addresses. A released one may have
    `FAMILY_LIMITS` times as many.
    """
    rows = await db.fetch(
        """
        -- matching.select_crowded
        WITH crowded AS MATERIALIZED (
             SELECT DISTINCT mine.token, hub.released_at, most.children
               FROM matching.token AS mine
               LEFT JOIN matching.hub ON hub.token = mine.token
              CROSS JOIN LATERAL (
                    SELECT CASE WHEN hub.token IS NULL THEN $2::integer ELSE $3::integer END
                   ) AS most (children)
              WHERE mine.signal_id = ANY($1)
                AND mine.role IN ('parent', 'address')
                AND (hub.token IS NULL OR hub.released_at IS NOT NULL)
                AND NOT EXISTS (
                    SELECT FROM matching.excluded_address WHERE excluded_address.token = mine.token)
                AND (SELECT count(*)
                       FROM (SELECT FROM matching.token AS other
                              WHERE other.token = mine.token LIMIT most.children + 1) AS first)
                    > most.children)
        SELECT crowded.token, crowded.released_at, crowded.children,
               coalesce(child.token, weak.token) AS child, weak.token AS name,
               child.added_at AS found_at, signal.remove_on, signal.destroy_by,
               coalesce(carried.added_at, signal.registered_at) AS arrived_at
          FROM crowded
          JOIN matching.token AS carried ON carried.token = crowded.token
          JOIN matching.signal
            ON signal.id = carried.signal_id
           AND (signal.status = 'live' OR signal.ground = 'expired')
          LEFT JOIN matching.token AS child
            ON child.signal_id = signal.id AND child.role = 'child'
          LEFT JOIN matching.token AS weak
            ON weak.signal_id = signal.id AND weak.role = 'weak'
        """,
        signals,
        limit,
        FAMILY_LIMITS * limit,
    )
    crowds: dict[Token, Crowd] = {}
    for row in rows:
        crowd = Crowd(row["children"], row["released_at"])
        crowds.setdefault(Token(row["token"]), crowd).members.append(
            Member(
                child=Token(row["child"]),
                name=row["name"],
                found_at=row["found_at"],
                arrived_at=row["arrived_at"],
                remove_on=row["remove_on"],
                destroy_by=row["destroy_by"],
            )
        )
    return crowds


async def find_hubs(db: Db, signals: Sequence[SignalId], limit: int) -> dict[Token, datetime]:
    """Household tokens of these signals that outgrew the limit and are not recorded, since when."""
    crowded = await select_crowded(db, signals, limit)
    since = {token: crowd.since for token, crowd in crowded.items()}
    return {token: at for token, at in since.items() if at is not None}


async def insert_hubs(db: Db, hubs: Mapping[Token, datetime], at: datetime) -> int:
    """Record hubs; the first record of a token stands until it is released. How many are new."""
    tokens = sorted(hubs)
    rows = await db.fetch(
        """
        -- matching.insert_hubs
        INSERT INTO matching.hub (token, since, recorded_at)
        SELECT token, since, $3
          FROM unnest($1::uuid[], $2::timestamptz[]) AS new (token, since)
         ORDER BY token
            ON CONFLICT (token) DO UPDATE
           SET since = excluded.since, recorded_at = excluded.recorded_at, released_at = NULL
         WHERE hub.released_at <= excluded.since
        RETURNING token
        """,
        tokens,
        [hubs[token] for token in tokens],
        at,
    )
    return len(rows)


async def select_hubs(db: Db, signals: Iterable[Signal]) -> dict[Token, Hub]:
    """Which household tokens of these signals are hubs; a released one is none."""
    rows = await db.fetch(
        """
        -- matching.select_hubs
        SELECT token, since, recorded_at
          FROM matching.hub
         WHERE token = ANY($1)
           AND released_at IS NULL
        """,
        list({token for signal in signals for token in signal.household}),
    )
    return {Token(row["token"]): Hub(row["since"], row["recorded_at"]) for row in rows}


async def with_excluded(db: Db, policy: Policy, signals: Collection[Signal]) -> Policy:
    """The policy, with those addresses of these signals that never match (M4)."""
    if not policy.address_rule:
        return policy
    rows = await db.fetch(
        """
        -- matching.select_excluded
        SELECT token
          FROM matching.excluded_address
         WHERE token = ANY($1)
        """,
        list({signal.address for signal in signals if signal.address is not None}),
    )
    return replace(policy, excluded=frozenset(Token(row["token"]) for row in rows))
