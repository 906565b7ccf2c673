"""Real PostgreSQL and Valkey: one for a test process, with a database of its own for each test.

`DATABASE_URL` and `REDIS_URL` name servers to use instead of the embedded ones.
"""

import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from notify.queue import connect
from schemas.database import Db
from tests.running import Up, running
from vin import embedded
from vin.databases import migrations
from vin.migrate import migrate
from vin.up import given_or_started

if TYPE_CHECKING:
    from asyncpg import Pool, Record


ROOM_BYTES = 4 * 2**30


@dataclass(frozen=True, slots=True)
class Servers:
    """Where this test process's servers are."""

    postgres: str
    redis: str


@pytest.fixture(scope="session")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory, if there is room: databases come and go, which keeps a disk busy."""
    memory = Path("/dev/shm")  # noqa: S108 - only to ask how much room it has
    if not memory.is_dir() or shutil.disk_usage(memory).free < ROOM_BYTES:
        yield tmp_path_factory.mktemp("servers")
        return
    with TemporaryDirectory(prefix="vin-tests-", dir=memory) as folder:
        yield Path(folder)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers(quick: Path) -> AsyncIterator[Servers]:
    folder = quick / "servers"
    folder.mkdir()
    async with AsyncExitStack() as stack:
        postgres = await given_or_started(
            os.environ.get("DATABASE_URL"), embedded.postgres(folder, durable=False), stack
        )
        redis = await given_or_started(os.environ.get("REDIS_URL"), embedded.valkey(folder), stack)
        yield Servers(postgres, redis)


def beside(server: str, name: str) -> str:
    """The URL of another database on the same server."""
    return urlsplit(server)._replace(path=f"/{name}").geturl()


async def on_server(server: str, *statements: str) -> None:
    db = await asyncpg.connect(server)
    try:
        for statement in statements:
            await db.execute(statement)
    finally:
        await db.close()


MakeDatabase = Callable[[str], Awaitable[str]]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def make_database(servers: Servers) -> AsyncIterator[MakeDatabase]:
    """Make databases as copies of one that was migrated once for each package."""
    made: dict[str, str] = {}
    names: list[str] = []

    async def make(package: str) -> str:
        if package not in made:
            made[package] = f"vin_template_{uuid4().hex}"
            await on_server(servers.postgres, f'CREATE DATABASE "{made[package]}"')
            await migrate(beside(servers.postgres, made[package]), migrations(package))
        name = f"vin_test_{uuid4().hex}"
        names.append(name)
        # Copying files takes a third of the time that writing through the log takes.
        copy = f'CREATE DATABASE "{name}" TEMPLATE "{made[package]}" STRATEGY file_copy'
        await on_server(servers.postgres, copy)
        return beside(servers.postgres, name)

    yield make
    for name in [*names, *made.values()]:
        await drop(servers.postgres, name)


async def drop(server: str, name: str) -> None:
    await on_server(server, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest_asyncio.fixture
async def db_url(servers: Servers, make_database: MakeDatabase) -> AsyncIterator[str]:
    """A migrated index database, empty."""
    url = await make_database("vin")
    yield url
    await drop(servers.postgres, urlsplit(url).path[1:])


@pytest_asyncio.fixture
async def keyholder_db_url(servers: Servers, make_database: MakeDatabase) -> AsyncIterator[str]:
    """A migrated database of the key holder, empty."""
    url = await make_database("vin.keyholder")
    yield url
    await drop(servers.postgres, urlsplit(url).path[1:])


@pytest_asyncio.fixture
async def pool(db_url: str) -> AsyncIterator["Pool[Record]"]:
    async with asyncpg.create_pool(db_url, min_size=1, max_size=10) as opened:
        yield opened


@pytest_asyncio.fixture
async def db(pool: "Pool[Record]") -> AsyncIterator[Db]:
    async with pool.acquire() as connection:
        yield connection


@pytest_asyncio.fixture
async def redis(servers: Servers) -> AsyncIterator[Redis]:
    """Redis, empty."""
    async with connect(servers.redis) as client:
        await client.flushall()
        yield client


@pytest.fixture(scope="session")
def up(quick: Path) -> Iterator[Up]:
    """The whole of VIN, shared by a test process: tests take children of their own."""
    with running(quick / "up") as started:
        yield started
