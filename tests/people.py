"""Reporters who do things over HTTP, each with his own name at one of the clients of `vin up`."""

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from aiohttp import ClientSession

from tests.contract.contract_client import Answer, ContractClient, RefusedError, Value
from tests.running import Up

Json = dict[str, Any]
PATIENCE_SECONDS = 20


@dataclass
class Person:
    """One reporter at one client."""

    client: ContractClient
    reporter_id: str
    details: Json
    signals: list[str] = field(default_factory=list)

    @property
    def email(self) -> str:
        return str(self.details["email"])

    async def body(self, *values: Value, reference: str = "D-1", **dates: str) -> Json:
        """A registration, ready to be sent."""
        prepared = await self.client.signal_body(self.reporter_id, reference, values)
        return prepared | dates

    async def registers(self, *values: Value, reference: str = "D-1", **dates: str) -> Answer:
        """Register, and wait until the matcher was done with it."""
        body = await self.body(*values, reference=reference, **dates)
        answer = await self.client.register(body, str(uuid4()))
        self.signals.append(answer.body["id"])
        await self.processed(answer.body["id"])
        return answer

    async def processed(self, signal: str) -> Json:
        """A signal as read back, once the matcher was done with it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                read = await self.client.read("signals", signal)
                if read["processedAt"]:
                    return read
                await asyncio.sleep(0.05)

    async def matches(self) -> list[Json]:
        return await self.client.listed("matches", self.reporter_id, limit=200)

    async def knows(self) -> dict[str, str]:
        """Whom the open matches name, and of which kind they are."""
        return {
            match["contact"]["email"]: match["kind"]
            for match in await self.matches()
            if match["status"] == "open"
        }

    async def withdraws(self, ground: str = "riskGone") -> Answer:
        return await self.client.withdraw(self.signals[-1], ground)

    async def history(self) -> str | None:
        """The history notice of the last signal, if there is one."""
        return (await self.client.read("signals", self.signals[-1])).get("historyNoticeId")

    async def opens(self, notice: str) -> Answer:
        body = {"purpose": "help for the child"}
        return await self.client.call("POST", f"/v1/history-notices/{notice}/opening", body)


async def status_of(call: Any) -> int:  # noqa: ANN401 (any awaitable)
    """The status of an answer, be it a problem."""
    try:
        answer: Answer = await call
    except RefusedError as error:
        answer = error.args[0]
    return answer.status


@asynccontextmanager
async def people(up: Up) -> AsyncIterator["Crowd"]:
    """Hire reporters at the clients of a running VIN."""
    async with ClientSession() as session:
        yield Crowd(up, session)


@dataclass
class Crowd:
    """Finds new reporters; each call with another `place` is another organisation."""

    up: Up
    session: ClientSession
    clients: dict[int, ContractClient] = field(default_factory=dict)

    async def client(self, place: int) -> ContractClient:
        ready = self.up.ready
        if place not in self.clients:
            self.clients[place] = await ContractClient.connect(
                self.session, ready["clients"][place], ready["api"], ready["keyholder"]
            )
        return self.clients[place]

    async def person(self, place: int, **details: str) -> Person:
        client = await self.client(place)
        name = f"p-{secrets.token_hex(4)}"
        known = {
            "name": f"Reporter {name}",
            "function": "Teacher",
            "email": f"{name}@school.test",
            "phone": "0612345678",
            "unit": client.entry["unit"],
        } | details
        await client.put_reporter(name, known)
        return Person(client, name, known)


async def operate(up: Up, *command: str, **environment: str) -> str:
    """Run an operator's command on a running index."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vin", *command),
        env={"DATABASE_URL": up.ready["databaseUrl"], "PATH": "/usr/bin:/bin", **environment},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()
