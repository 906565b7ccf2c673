"""An index and a key holder in one, small, and ready to fail and to lie."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

from aiohttp import web
from aiohttp.test_utils import TestServer

from vin.client import Address, Bsn, Config, Registration, Reporter, Retry
from vin.client.keys import decode, encode
from vin.crypto.keyfile import write_secret
from vin.crypto.oprf import Key, multiply, prove
from vin.crypto.signkey import new_client_key

Json = dict[str, Any]
CHILD, MOTHER, FATHER = "999990019", "999990020", "999990032"
QUICK = Retry(attempts=3, first_seconds=0.001, longest_seconds=1)
USES = ("child", "parent", "address", "weak")


@dataclass
class Services:
    """What they publish, what they were asked, and what they answer instead of the truth."""

    url: str = ""
    epoch: int = 1
    keys: dict[str, Key] = field(
        default_factory=lambda: {
            f"nhn/{use}": Key.from_seed(bytes(32), use.encode()) for use in USES
        }
    )
    published: list[Json] | None = None
    batch: Callable[[Json], Json] = lambda batch: batch
    first: list[web.Response] = field(default_factory=list)
    signals: dict[str, Json] = field(default_factory=dict)
    asked: list[tuple[str, Json]] = field(default_factory=list)
    tokens: int = 0
    lost_answers: int = 0
    slow_seconds: list[float] = field(default_factory=list)

    def bodies(self, path: str) -> list[Json]:
        return [body for asked, body in self.asked if asked == path]

    def key_list(self) -> list[Json]:
        return [
            {
                "domain": domain,
                "epoch": self.epoch,
                "suite": "P256-SHA256",
                "publicKey": encode(key.public_key),
                "notBefore": "2026-01-01T00:00:00Z",
                "notAfter": "2028-01-01T00:00:00Z",
            }
            for domain, key in self.keys.items()
        ]

    async def get_keys(self, _request: web.Request) -> web.Response:
        return web.json_response({"keys": self.published or self.key_list()})

    async def post_token(self, request: web.Request) -> web.Response:
        self.tokens += 1
        form = await request.post()
        self.asked.append(("/v1/token", dict(form)))
        return web.json_response(
            {"access_token": f"t-{self.tokens}", "token_type": "Bearer", "expires_in": 3600}
        )

    async def post_evaluations(self, request: web.Request) -> web.Response:
        body = await request.json()
        answers = []
        for batch in body["batches"]:
            if batch["epoch"] != self.epoch:
                return problem(409, currentEpochs={batch["domain"]: self.epoch})
            answers.append(self.batch(self.evaluate(batch)))
        return web.json_response({"batches": answers, "permit": "permit", "quotaLeft": 5})

    def evaluate(self, batch: Json) -> Json:
        key = self.keys[batch["domain"]]
        blinded = [decode(text) for text in batch["blinded"]]
        evaluated = [multiply(key, element) for element in blinded]
        return {
            "domain": batch["domain"],
            "epoch": batch["epoch"],
            "evaluated": [encode(element) for element in evaluated],
            "proof": encode(prove(key, blinded, evaluated)),
        }

    async def post_signal(self, request: web.Request) -> web.Response:
        body = await request.json()
        key = request.headers["Idempotency-Key"]
        signal = self.signals.setdefault(
            key,
            {
                "id": str(uuid4()),
                "reporterId": body["reporterId"],
                "reference": body["reference"],
                "status": "live",
                "registeredAt": "2026-11-22T10:00:00Z",
                "removeOn": "2028-11-22",
            },
        )
        if self.lost_answers and request.transport:
            self.lost_answers -= 1
            request.transport.close()
        return web.json_response(signal, status=201)

    async def get_signals(self, request: web.Request) -> web.Response:
        items = list(self.signals.values())
        start = int(request.query.get("cursor", "0"))
        after = start + 2
        return web.json_response(
            {"items": items[start:after], "nextCursor": str(after) if items[after:] else None}
        )

    async def get_matches(self, _request: web.Request) -> web.Response:
        match = {
            "number": "M-1",
            "kind": "child",
            "signalId": str(uuid4()),
            "reference": "D-1",
            "matchedAt": "2026-11-22T10:00:00Z",
            "status": "closed",
            "contact": None,
            "outcomes": {"own": None, "other": None},
        }
        return web.json_response({"items": [match], "nextCursor": None})

    async def post_withdrawal(self, request: web.Request) -> web.Response:
        [signal] = [
            each for each in self.signals.values() if each["id"] == request.match_info["id"]
        ]
        return web.json_response(signal | {"status": "ended"})

    async def put_reporter(self, request: web.Request) -> web.Response:
        return web.json_response(await request.json(), status=201)

    @web.middleware
    async def record(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        """Note what is asked, and answer with what was put first, if anything."""
        text = await request.text()
        if request.path != "/v1/token":
            self.asked.append(
                (request.path, json.loads(text or "{}") | {"_": dict(request.headers)})
            )
            if self.first and request.path != "/v1/keys":
                answer = self.first.pop(0)
                await asyncio.sleep(self.slow_seconds.pop(0) if self.slow_seconds else 0)
                return answer
        return await handler(request)


def problem(status: int, retry_after: str | None = None, **members: object) -> web.Response:
    """An error as both services give it."""
    return web.json_response(
        {"type": "urn:problem", "title": "No", "status": status, "detail": "Not so.", **members},
        status=status,
        headers={"Retry-After": retry_after} if retry_after else {},
        content_type="application/problem+json",
    )


@asynccontextmanager
async def serving() -> AsyncIterator[Services]:
    """Let them listen."""
    services = Services()
    app = web.Application(middlewares=[services.record])
    app.router.add_get("/v1/keys", services.get_keys)
    app.router.add_post("/v1/token", services.post_token)
    app.router.add_post("/v1/evaluations", services.post_evaluations)
    app.router.add_post("/v1/signals", services.post_signal)
    app.router.add_get("/v1/signals", services.get_signals)
    app.router.add_get("/v1/matches", services.get_matches)
    app.router.add_post("/v1/signals/{id}/withdrawal", services.post_withdrawal)
    app.router.add_put("/v1/reporters/{id}", services.put_reporter)
    async with TestServer(app) as server:
        services.url = str(server.make_url("")).rstrip("/")
        yield services


def config_for(services: Services, folder: Path, **more: object) -> Config:
    """Write a key and configure a client of these services."""
    key_file = folder / "client.pem"
    if not key_file.exists():
        write_secret(key_file, new_client_key())
    return Config.model_validate(
        {
            "api": services.url,
            "keyholder": services.url,
            "client_id": "school-1",
            "private_key_file": key_file,
            **more,
        }
    )


def registration() -> Registration:
    return Registration(
        reporter_id="p-1",
        reference="D-1",
        child=Bsn(CHILD),
        parents=[Bsn(MOTHER), Bsn(FATHER)],
        address=Address("1811AB", 50001, "a", "bis"),
        birth_date=date(2015, 3, 1),
    )


def reporter() -> Reporter:
    return Reporter(
        id="p-1", name="Reporter 1", function="teacher", email="reporter-1@school.test",
        phone="000 000 0001", unit="school",
    )  # fmt: skip
