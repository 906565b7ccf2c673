"""Real PostgreSQL and Valkey: one for a test process, with a database of its own for each test.

`DATABASE_URL` and `REDIS_URL` name servers to use instead of the embedded ones.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
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


@dataclass(frozen=True, slots=True)
class Servers:
    """Where this test process's servers are."""

    postgres: str
    redis: str


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def servers(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Servers]:
    folder = tmp_path_factory.mktemp("servers")
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
        await on_server(servers.postgres, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')


@pytest_asyncio.fixture
async def db_url(make_database: MakeDatabase) -> str:
    """A migrated index database, empty."""
    return await make_database("vin")


@pytest_asyncio.fixture
async def keyholder_db_url(make_database: MakeDatabase) -> str:
    """A migrated database of the key holder, empty."""
    return await make_database("vin.keyholder")


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
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """The whole of VIN, shared by a test process: tests take children of their own."""
    with running(tmp_path_factory.mktemp("up")) as started:
        yield started
