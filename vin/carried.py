"""What is kept under tokens goes with the last signal that carries them (D1).

That is a hub, a person's decision on it included, and the register's word on a child.
"""

from collections.abc import Collection
from uuid import UUID

from schemas.database import Db
from vin import audit


async def forget_uncarried(db: Db, tokens: Collection[UUID]) -> None:
    """Forget what is kept under those of these tokens that no signal carries any more.

    It comes after all that locks matches, or two who give up tokens could wait for each other.
    """
    if await lock_kept(db, tokens):
        await audit.forget_objects(db, await delete_uncarried(db, tokens))


async def lock_kept(db: Db, tokens: Collection[UUID]) -> bool:
    """Lock what is kept under these tokens; False when that is nothing.

    Of two who give up a token at once the second waits here, and sees in its next statement
    that the first gave it up too.
    """
    kept: int = await db.fetchval(
        """
        -- carried.lock_kept
        WITH hub AS (
             SELECT FROM matching.hub WHERE token = ANY($1) ORDER BY token FOR UPDATE
        ), relation AS (
             SELECT FROM matching.relation WHERE child = ANY($1) ORDER BY child FOR UPDATE
        )
        SELECT (SELECT count(*) FROM hub) + (SELECT count(*) FROM relation)
        """,
        list(tokens),
    )
    return kept > 0


async def delete_uncarried(db: Db, tokens: Collection[UUID]) -> list[UUID]:
    """Delete what is kept under tokens that no signal carries; the ids of the hubs."""
    rows = await db.fetch(
        """
        -- carried.delete_uncarried
        WITH uncarried AS (
             SELECT token
               FROM unnest($1::uuid[]) AS given (token)
              WHERE NOT EXISTS (SELECT FROM matching.token WHERE token.token = given.token)
        ), relation AS (
             DELETE FROM matching.relation WHERE child IN (SELECT token FROM uncarried)
        )
        DELETE FROM matching.hub
         WHERE token IN (SELECT token FROM uncarried)
        RETURNING id
        """,
        list(tokens),
    )
    return [row["id"] for row in rows]
