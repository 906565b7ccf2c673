"""What tests of the key holder share: a running one, a client of it, and its questions."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from joserfc.jwk import ECKey, OKPKey

from tests.serving import Service, served
from vin.base64url import encode_base64url
from vin.crypto import oprf
from vin.crypto.sign import Access, make_access_token
from vin.keyholder.app import build
from vin.keyholder.context import Context
from vin.keyholder.evaluator import Evaluator
from vin.keyholder.store import Client, upsert_client

if TYPE_CHECKING:
    from asyncpg import Pool, Record

API = "https://api.test"
KEYHOLDER = "https://keyholder.test"
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SEEDS = {1: b"\x01" * 32, 2: b"\x02" * 32}
EPOCH = 2
ACCESS_KEY = ECKey.generate_key("P-256")
PERMIT_KEY = OKPKey.generate_key("Ed25519")
CLIENT = Client(
    id="client-1",
    organisation_id=UUID(int=5),
    organisation="school-1",
    active=True,
    domains=("nhn/child", "nhn/parent"),
    reporter_quota=1000,
    organisation_quota=2000,
)
# Blinding is the client's slow half, so all tests draw from the same points.
ELEMENTS = [oprf.blind(b"%d" % number)[1] for number in range(8)]

Json = dict[str, Any]


@dataclass
class Clock:
    """The key holder's clock, which can be set."""

    now: datetime = NOW


@dataclass(frozen=True, slots=True)
class House:
    """A running key holder."""

    service: Service
    context: Context
    clock: Clock

    @property
    def pool(self) -> "Pool[Record]":
        return self.context.pool

    async def ask(self, body: object, client: str = "client-1") -> tuple[int, Json]:
        return await self.ask_as(body, authorization(client))

    async def ask_as(self, body: object, headers: dict[str, str]) -> tuple[int, Json]:
        async with self.service.http.post("/v1/evaluations", json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    async def admit(self, client: Client) -> None:
        async with self.pool.acquire() as db:
            await upsert_client(db, client)

    async def counted(self) -> tuple[int, int]:
        """How many elements were counted for reporters, and for organisations."""
        by_reporter, by_organisation = await self.pool.fetch(
            """
            SELECT coalesce(sum(elements), 0)::int AS counted
              FROM keyholder.reporter_usage
             UNION ALL
            SELECT coalesce(sum(elements), 0)::int
              FROM keyholder.organisation_usage
            """
        )
        return by_reporter["counted"], by_organisation["counted"]


@asynccontextmanager
async def opened(
    pool: "Pool[Record]", evaluator: Evaluator, store_seconds: float = 5
) -> AsyncIterator[House]:
    clock = Clock()
    context = Context(
        pool=pool,
        evaluator=evaluator,
        access_key=ACCESS_KEY,
        permit_key=PERMIT_KEY,
        keyholder_url=KEYHOLDER,
        api_url=API,
        utcnow=lambda: clock.now,
        store_seconds=store_seconds,
    )
    async with served(build(context)) as service:
        house = House(service, context, clock)
        await house.admit(CLIENT)
        yield house


def authorization(client: str = "client-1", scope: str = "evaluations") -> dict[str, str]:
    access = Access(
        client_id=client,
        organisation="school-1",
        scope=frozenset({scope}),
        id=str(uuid4()),
        expires_at=NOW + timedelta(days=30),
    )
    token = make_access_token(ACCESS_KEY, access, API, [API, KEYHOLDER], NOW)
    return {"Authorization": f"Bearer {token}"}


def batch(
    elements: Sequence[bytes] | int = 1, domain: str = "nhn/child", epoch: int = EPOCH
) -> Json:
    if isinstance(elements, int):
        elements = [ELEMENTS[number % len(ELEMENTS)] for number in range(elements)]
    return {
        "domain": domain,
        "epoch": epoch,
        "blinded": [encode_base64url(element) for element in elements],
    }


def question(*batches: Json, reporter: str = "p-1") -> Json:
    return {"reporterId": reporter, "batches": list(batches) or [batch()]}
