"""The index's API on a database, with access tokens and permits for one client of it."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache, partial
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from aiohttp import web
from joserfc.jwk import ECKey, OKPKey

from matching.model import Role
from schemas.database import Db
from tests.world import SECRETS
from vin.api.access import select_caller
from vin.api.context import CONTEXT, Context
from vin.api.routes import ROUTES
from vin.clock import Clock
from vin.crypto import sign
from vin.crypto.oprf import hash_to_group
from vin.crypto.pseudonym import Token
from vin.registrar import Registrar
from vin.web.bearer import Bearer
from vin.web.openapi import with_document
from vin.web.routes import application

if TYPE_CHECKING:
    from asyncpg import Pool, Record

API = "https://api.test"
KEYHOLDER = "https://keyholder.test"
START = datetime(2026, 11, 22, 9, tzinfo=UTC)
ACCESS_KEY = ECKey.generate_key("P-256")
PERMIT_KEY = OKPKey.generate_key("Ed25519")
DOMAINS = {
    "bsn": (Role.CHILD, "nhn/child"),
    "demographic": (Role.WEAK, "nhn/weak"),
    "parent": (Role.PARENT, "nhn/parent"),
    "address": (Role.ADDRESS, "nhn/address"),
}
CLIENT = "client"

# What a key stands for, and a number for whose it is.
Value = tuple[str, int]


@cache
def element(value: Value) -> bytes:
    """What a client sends for a value."""
    return hash_to_group(f"{value[0]} {value[1]}".encode())


@cache
def role_and_token(value: Value) -> tuple[Role, Token]:
    role, domain = DOMAINS[value[0]]
    return role, SECRETS.index.token(domain, 1, element(value))


async def make_client(db: Db, organisation: UUID) -> None:
    """Let an organisation take part as the client."""
    await db.execute(
        "INSERT INTO registry.client VALUES ($1, $2, true, $3, $4)",
        CLIENT,
        organisation,
        ["reporters", "signals", "matches"],
        json.dumps({"keys": []}),
    )


def api(pool: "Pool[Record]", clock: Clock, registrar: Registrar) -> web.Application:
    """All routes of the index, with permits and access tokens checked at a fixed instant."""
    bearer = Bearer(
        key=ACCESS_KEY,
        issuer=API,
        audience=API,
        look_up=partial(select_caller, pool),
        utcnow=lambda: START,
    )
    app = application(with_document(ROUTES, "VIN index"), bearer)
    app[CONTEXT] = Context(
        region="nhn",
        pool=pool,
        clock=clock,
        secrets=SECRETS,
        registrar=registrar,
        verify_permit=lambda text: sign.verify_permit(PERMIT_KEY, text, KEYHOLDER, API, START),
    )
    return app


def access_token() -> str:
    """What the onlooker shows."""
    access = sign.Access(
        client_id=CLIENT,
        organisation=CLIENT,
        scope=frozenset({"reporters", "signals", "matches", "relations"}),
        id=CLIENT,
        expires_at=START + sign.ACCESS_LIFETIME,
    )
    return sign.make_access_token(ACCESS_KEY, access, API, [API], START)


def permit_for(reporter_id: str, values: Sequence[Value]) -> str:
    """What the key holder would give."""
    domains = [f"{DOMAINS[kind][1]}/1" for kind, _ in values]
    bought = sign.Permit(
        client_id=CLIENT,
        reporter_id=reporter_id,
        elements={domain: domains.count(domain) for domain in domains},
        id=str(uuid4()),
        expires_at=START + sign.PERMIT_LIFETIME,
    )
    return sign.make_permit(PERMIT_KEY, bought, KEYHOLDER, API, START)
