"""SQL of the population register's word on families (M12), and of which signals it is on."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from matching.model import Role
from schemas.database import Db
from vin.crypto.pseudonym import Token


@dataclass(frozen=True, slots=True)
class SameChild:
    """A locked signal on a child, whose it is, and whether it lives today."""

    signal: UUID
    reporter: UUID
    live: bool


async def lock_same_child(db: Db, child: UUID, today: date) -> list[SameChild]:
    """Lock all signals on the child with this token, archived ones too, in one order."""
    rows = await db.fetch(
        """
        -- relation_store.lock_same_child
        SELECT signal.id, signal.reporter_id,
               signal.status = 'live' AND signal.remove_on > $2 AND signal.destroy_by > $2 AS live
          FROM matching.signal
          JOIN matching.token ON token.signal_id = signal.id
         WHERE token.token = $1
           AND token.role = 'child'
         ORDER BY signal.id
           FOR NO KEY UPDATE OF signal
        """,
        child,
        today,
    )
    return [SameChild(row["id"], row["reporter_id"], row["live"]) for row in rows]


async def select_late(db: Db, child: UUID, known: Collection[UUID]) -> list[UUID]:
    """Living signals on the child that came while `known`, which are all others, were locked."""
    rows = await db.fetch(
        """
        -- relation_store.select_late
        SELECT signal.id
          FROM matching.signal
          JOIN matching.token ON token.signal_id = signal.id
         WHERE token.token = $1
           AND token.role = 'child'
           AND signal.id <> ALL($2)
           AND signal.status = 'live'
         ORDER BY signal.id
        """,
        child,
        list(known),
    )
    return [row["id"] for row in rows]


async def put_relation(
    db: Db, child: UUID, household: Sequence[tuple[Role, Token]], at: datetime
) -> None:
    """Keep the household of a child that has signals, in place of what was kept before."""
    await db.execute(
        """
        -- relation_store.put_relation
        INSERT INTO matching.relation (child, supplied_at)
        VALUES ($1, $2)
            ON CONFLICT (child) DO UPDATE
           SET supplied_at = excluded.supplied_at
        """,
        child,
        at,
    )
    await db.execute(
        """
        -- relation_store.delete_relation_tokens
        DELETE FROM matching.relation_token
         WHERE child = $1
        """,
        child,
    )
    await db.execute(
        """
        -- relation_store.insert_relation_tokens
        INSERT INTO matching.relation_token (child, role, token, key_epoch, index_epoch, sealed)
        SELECT $1, role, token, key_epoch, index_epoch, sealed
          FROM unnest($2::text[], $3::uuid[], $4::integer[], $5::integer[], $6::bytea[])
            AS new (role, token, key_epoch, index_epoch, sealed)
        """,
        child,
        [role for role, _ in household],
        [key.lookup for _, key in household],
        [key.key_epoch for _, key in household],
        [key.index_epoch for _, key in household],
        [key.sealed for _, key in household],
    )


async def is_known(db: Db, child: UUID) -> bool:
    """Whether the register told of this child's family."""
    known: bool = await db.fetchval(
        """
        -- relation_store.is_known
        SELECT EXISTS (SELECT FROM matching.relation WHERE child = $1)
        """,
        child,
    )
    return known


async def lock_outdated(db: Db, signals: Collection[UUID]) -> list[UUID]:
    """Lock those of these signals, in one order, whose household is not the register's."""
    rows = await db.fetch(
        """
        -- relation_store.lock_outdated
        SELECT id
          FROM matching.signal
         WHERE id = ANY($1)
         ORDER BY id
           FOR NO KEY UPDATE
        """,
        await select_outdated(db, signals),
    )
    return await select_outdated(db, [row["id"] for row in rows])


async def select_outdated(db: Db, signals: Collection[UUID]) -> list[UUID]:
    """Those of these signals whose household is not the register's, whether or not swept (L4)."""
    rows = await db.fetch(
        """
        -- relation_store.select_outdated
        SELECT signal.id
          FROM matching.signal
         WHERE signal.id = ANY($1)
           AND (signal.status = 'live' OR signal.ground = 'expired')
           AND EXISTS (
               SELECT
                 FROM matching.token AS mine
                 JOIN matching.relation ON relation.child = mine.token
                WHERE mine.signal_id = signal.id
                  AND mine.role = 'child'
                  AND ARRAY(SELECT token FROM matching.relation_token
                             WHERE child = relation.child ORDER BY token)
                   <> ARRAY(SELECT token FROM matching.token
                             WHERE signal_id = signal.id AND role IN ('parent', 'address')
                             ORDER BY token))
         ORDER BY signal.id
        """,
        list(signals),
    )
    return [row["id"] for row in rows]


async def take_relations(db: Db, signals: Collection[UUID], at: datetime | None) -> list[UUID]:
    """Give locked signals the household that the register told of; the tokens that they lost.

    Keys that stay are not touched. `at` is when they got the new ones, None: with the signal
    itself.
    """
    rows = await db.fetch(
        """
        -- relation_store.delete_supplied
        DELETE FROM matching.token AS supplied
         USING matching.token AS mine
          JOIN matching.relation ON relation.child = mine.token
         WHERE mine.signal_id = ANY($1)
           AND mine.role = 'child'
           AND supplied.signal_id = mine.signal_id
           AND supplied.role IN ('parent', 'address')
           AND NOT EXISTS (
               SELECT FROM matching.relation_token AS kept
                WHERE kept.child = mine.token AND kept.token = supplied.token)
        RETURNING supplied.token
        """,
        list(signals),
    )
    await db.execute(
        """
        -- relation_store.insert_register_keys
        INSERT INTO matching.token
               (signal_id, role, token, key_epoch, index_epoch, sealed, added_at)
        SELECT mine.signal_id, kept.role, kept.token,
               kept.key_epoch, kept.index_epoch, kept.sealed, $2
          FROM matching.token AS mine
          JOIN matching.relation_token AS kept ON kept.child = mine.token
         WHERE mine.signal_id = ANY($1)
           AND mine.role = 'child'
            ON CONFLICT DO NOTHING
        """,
        list(signals),
        at,
    )
    return [row["token"] for row in rows]
