"""SQL of what the rules make exceptions for: hubs (M5) and excluded addresses (M4)."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from matching.model import Hub, Member, Policy, Signal, SignalId, Token
from matching.rules import hub_since
from schemas.database import Db


async def select_crowded(
    db: Db, signals: Sequence[SignalId], limit: int
) -> dict[Token, list[Member]]:
    """Household tokens of these signals that may have outgrown the limit, with who carries them.

    Tokens that are hubs already, or were released, are left out, and so are excluded addresses.
    """
    rows = await db.fetch(
        """
        -- matching.select_crowded
        WITH crowded AS MATERIALIZED (
             SELECT DISTINCT mine.token
               FROM matching.token AS mine
              WHERE mine.signal_id = ANY($1)
                AND mine.role IN ('parent', 'address')
                AND NOT EXISTS (SELECT FROM matching.hub WHERE hub.token = mine.token)
                AND NOT EXISTS (
                    SELECT FROM matching.excluded_address WHERE excluded_address.token = mine.token)
                AND (SELECT count(*)
                       FROM (SELECT FROM matching.token AS other
                              WHERE other.token = mine.token LIMIT $2 + 1) AS first) > $2)
        SELECT crowded.token, coalesce(child.token, weak.token) AS child, weak.token AS name,
               child.added_at AS found_at, signal.remove_on, signal.destroy_by,
               coalesce(carried.added_at, signal.registered_at) AS arrived_at
          FROM crowded
          JOIN matching.token AS carried ON carried.token = crowded.token
          JOIN matching.signal ON signal.id = carried.signal_id AND signal.status = 'live'
          LEFT JOIN matching.token AS child
            ON child.signal_id = signal.id AND child.role = 'child'
          LEFT JOIN matching.token AS weak
            ON weak.signal_id = signal.id AND weak.role = 'weak'
        """,
        signals,
        limit,
    )
    members = defaultdict(list)
    for row in rows:
        members[Token(row["token"])].append(
            Member(
                child=Token(row["child"]),
                name=row["name"],
                found_at=row["found_at"],
                arrived_at=row["arrived_at"],
                remove_on=row["remove_on"],
                destroy_by=row["destroy_by"],
            )
        )
    return members


async def find_hubs(db: Db, signals: Sequence[SignalId], limit: int) -> dict[Token, datetime]:
    """Household tokens of these signals that outgrew the limit and are not recorded, since when."""
    crowded = await select_crowded(db, signals, limit)
    since = {token: hub_since(members, limit) for token, members in crowded.items()}
    return {token: at for token, at in since.items() if at is not None}


async def insert_hubs(db: Db, hubs: Mapping[Token, datetime], at: datetime) -> int:
    """Record hubs; the first record of a token stands. Returns how many are new."""
    tokens = sorted(hubs)
    rows = await db.fetch(
        """
        -- matching.insert_hubs
        INSERT INTO matching.hub (token, since, recorded_at)
        SELECT token, since, $3
          FROM unnest($1::uuid[], $2::timestamptz[]) AS new (token, since)
         ORDER BY token
            ON CONFLICT DO NOTHING
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
