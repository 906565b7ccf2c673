"""What tests of the token endpoint share: a running one, its clients, and what they send."""

import base64
import hmac
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import asyncpg
from aiohttp import web
from joserfc import jws
from joserfc.jwk import ECKey, Key, RSAKey

from schemas.database import Db
from tests.serving import Service, served
from vin.api import token
from vin.api.access import select_caller
from vin.api.token import ASSERTION_TYPE, TOKEN_DESK, TokenDesk
from vin.web.bearer import Bearer
from vin.web.caller import CALLER
from vin.web.routes import Route, application

if TYPE_CHECKING:
    from asyncpg import Pool, Record

API = "https://api.test"
KEYHOLDER = "https://keyholder.test"
AUDIENCE = f"{API}/v1/token"
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ORGANISATION = UUID(int=5)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

ACCESS_KEY = ECKey.generate_key("P-256")
KEY = ECKey.generate_key("P-256")
SECOND_KEY = ECKey.generate_key("P-256")
RSA = RSAKey.generate_key(2048)

KEYS: Mapping[str, Mapping[str, Key]] = {
    "client-1": {"": KEY},
    "client-2": {"a": KEY, "b": SECOND_KEY},
    "client-rsa": {"": RSA},
    "client-off": {"": KEY},
}

Answer = tuple[int, dict[str, Any]]


@dataclass
class Clock:
    """The index's clock, which can be set."""

    now: datetime = NOW


@dataclass(frozen=True, slots=True)
class Desk:
    """A running token endpoint."""

    service: Service
    pool: "Pool[Record]"
    clock: Clock

    async def post(self, fields: Mapping[str, str] | str | bytes) -> Answer:
        body = urlencode(fields) if isinstance(fields, Mapping) else fields
        async with self.service.http.post("/v1/token", data=body, headers=FORM) as answer:
            return answer.status, await answer.json()


async def get_caller(request: web.Request) -> web.Response:
    return web.json_response([request[CALLER].client_id, request[CALLER].organisation])


ROUTES = (
    *token.ROUTES,
    Route(
        method="GET",
        path="/v1/caller",
        operation_id="getCaller",
        summary="Toont wie belt",
        scope="signals",
        handler=get_caller,
    ),
)


async def make_clients(db: Db) -> None:
    await db.execute(
        "INSERT INTO registry.category VALUES ('school', 'School', '2015-01-01', NULL)"
    )
    await db.execute(
        """
        INSERT INTO registry.organisation
        VALUES ($1, 'school-1', 'School 1', 'school', NULL, 'nl', 'full')
        """,
        ORGANISATION,
    )
    for client, keys in KEYS.items():
        jwks = [
            key.as_dict(private=False) | ({"kid": name} if name else {})
            for name, key in keys.items()
        ]
        await db.execute(
            "INSERT INTO registry.client VALUES ($1, $2, $3, $4, $5)",
            client,
            ORGANISATION,
            client != "client-off",
            ["matches", "signals"],
            json.dumps({"keys": jwks}),
        )


def assertion(
    *,
    key: Key = KEY,
    header: Mapping[str, object] | None = None,
    without: str = "",
    **changes: object,
) -> str:
    claims = {
        "iss": changes.get("sub", "client-1"),
        "sub": "client-1",
        "aud": AUDIENCE,
        "jti": str(uuid4()),
        "iat": SECONDS,
        "exp": SECONDS + 300,
        **changes,
    }
    claims.pop(without, None)
    algorithms = ["ES256", "PS256", "RS256"]
    protected = {"alg": "ES256", **(header or {})}
    return jws.serialize_compact(protected, json.dumps(claims), key, algorithms=algorithms)


def form(statement: str | None = None, **fields: str) -> dict[str, str]:
    return {
        "grant_type": "client_credentials",
        "client_assertion_type": ASSERTION_TYPE,
        "client_assertion": statement or assertion(),
        **fields,
    }


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Desk]:
    """A token endpoint on this database; no assertion that it saw is left behind."""
    clock = Clock()
    async with asyncpg.create_pool(url, min_size=1) as pool:
        check = Bearer(
            key=ACCESS_KEY,
            issuer=API,
            audience=API,
            look_up=partial(select_caller, pool),
            utcnow=lambda: clock.now,
        )
        app = application(ROUTES, check)
        app[TOKEN_DESK] = TokenDesk(
            pool=pool,
            key=ACCESS_KEY,
            api_url=API,
            keyholder_url=KEYHOLDER,
            utcnow=lambda: clock.now,
        )
        async with served(app) as service:
            yield Desk(service, pool, clock)
        await pool.execute("TRUNCATE registry.assertion")


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


NO_ALGORITHM = encode(b'{"alg":"none"}')
SHARED_SECRET_ALGORITHM = encode(b'{"alg":"HS256"}')


def unsigned() -> str:
    _, claims, _ = assertion().split(".")
    return f"{NO_ALGORITHM}.{claims}."


def signed_with_the_public_key() -> str:
    """What a verifier takes that lets the statement choose the algorithm."""
    _, claims, _ = assertion().split(".")
    signed = f"{SHARED_SECRET_ALGORITHM}.{claims}"
    return f"{signed}.{encode(hmac.digest(KEY.as_pem(private=False), signed.encode(), 'sha256'))}"
