"""SQL of the clients that ask for access tokens, and show them."""

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schemas.database import Db
from vin.crypto.sign import Assertion
from vin.crypto.signkey import Jwk
from vin.web.caller import Caller

if TYPE_CHECKING:
    from asyncpg import Pool, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Applicant:
    """An active client that asks for a token, and the keys that it may sign with."""

    organisation: str
    scopes: frozenset[str]
    keys: tuple[Jwk, ...]


async def select_caller(pool: "Pool[Record]", client_id: str) -> Caller | None:
    """Find a client while it is active, with the scopes that it has now."""
    row = await pool.fetchrow(
        """
        -- access.select_caller
        SELECT c.organisation_id, o.code, c.scopes
          FROM registry.client AS c
          JOIN registry.organisation AS o ON o.id = c.organisation_id
         WHERE c.id = $1 AND c.active
        """,
        client_id,
    )
    if row is None:
        return None
    return Caller(
        client_id=client_id,
        organisation_id=row["organisation_id"],
        organisation=row["code"],
        scopes=frozenset(row["scopes"]),
    )


async def select_applicant(db: Db, client_id: str) -> Applicant | None:
    row = await db.fetchrow(
        """
        -- access.select_applicant
        SELECT o.code, c.scopes, c.jwks -> 'keys' AS keys
          FROM registry.client AS c
          JOIN registry.organisation AS o ON o.id = c.organisation_id
         WHERE c.id = $1 AND c.active
        """,
        client_id,
    )
    if row is None:
        return None
    return Applicant(
        organisation=row["code"],
        scopes=frozenset(row["scopes"]),
        keys=tuple(json.loads(row["keys"])),
    )


async def insert_assertion(db: Db, assertion: Assertion) -> bool:
    """Use an assertion up; false where it was used before, by whichever process."""
    inserted = await db.fetchval(
        """
        -- access.insert_assertion
        INSERT INTO registry.assertion (client_id, jti, expires_at)
        VALUES ($1, $2, $3)
            ON CONFLICT ON CONSTRAINT assertion_pk DO NOTHING
        RETURNING true
        """,
        assertion.client_id,
        assertion.id,
        assertion.expires_at,
    )
    return inserted is not None
