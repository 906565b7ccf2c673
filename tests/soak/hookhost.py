"""An organisation's own system that fails as often as a bad week makes it."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from uuid import UUID

from aiohttp import web

from tests.invariants import Hook
from tests.soak.mailhost import draws

# With how many in a thousand of each fault calls meet.
FAULTS: Mapping[str, int] = {"500": 20, "429": 10, "drop": 10, "hang": 2, "no answer": 10}


class Hookhost:
    """Draws faults by `seed` while it is `faulty`; what came is known by the path it came to."""

    def __init__(self, seed: int, hang_seconds: float) -> None:
        self.port = 0
        self.faulty = True
        self.met: Counter[str] = Counter()
        self.hooks: list[Hook] = []
        self._hang_seconds = hang_seconds
        self._chance = draws(seed, "webhooks")

    async def answer(self, request: web.Request) -> web.Response:
        body = await request.json()
        hook = Hook(request.path, UUID(request.headers["webhook-id"]), body["matchNumber"])
        fault = self._draw() if self.faulty else None
        if fault in ("500", "429"):
            return web.Response(status=int(fault), headers={"Retry-After": "1"})
        if fault == "hang":
            await asyncio.sleep(self._hang_seconds)
        if fault in {None, "no answer"}:
            self.hooks.append(hook)
        if fault is not None and request.transport is not None:
            request.transport.abort()
        return web.Response(status=204)

    def _draw(self) -> str | None:
        """At most one fault."""
        ticket = self._chance.randrange(1000)
        for fault, share in FAULTS.items():
            ticket -= share
            if ticket < 0:
                self.met[f"webhook {fault}"] += 1
                return fault
        return None


@asynccontextmanager
async def hookhost(seed: int, hang_seconds: float) -> AsyncIterator[Hookhost]:
    host = Hookhost(seed, hang_seconds)
    app = web.Application()
    app.router.add_post("/{name}", host.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host.port = runner.addresses[0][1]
        yield host
    finally:
        await runner.cleanup()
