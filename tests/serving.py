"""A service on a port of its own, and how tests talk to it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from aiohttp import ClientSession, web

from vin.web.server import serving


@dataclass(frozen=True, slots=True)
class Service:
    """`http` has the service as its base URL."""

    port: int
    http: ClientSession

    async def first_line(self, data: bytes) -> bytes:
        """Send bytes as they are, and give the first line of what comes back."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(data)
        line = await reader.readline()
        writer.transport.abort()
        return line.rstrip()


@asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[Service]:
    async with (
        serving(app, "127.0.0.1", 0) as port,
        ClientSession(f"http://127.0.0.1:{port}") as http,
    ):
        yield Service(port, http)
