from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
import pytest_asyncio

from schemas.database import Db
from tests.vin.keyholder.house import CLIENT
from vin.keyholder.store import Client, deactivate_others, select_client, upsert_client


@pytest_asyncio.fixture
async def db(house_url: str) -> AsyncIterator[Db]:
    """A connection whose changes are undone."""
    connection = await asyncpg.connect(house_url)
    undone = connection.transaction()
    await undone.start()
    yield connection
    await undone.rollback()
    await connection.close()


async def test_a_client_is_read_as_it_was_written(db: Db) -> None:
    assert await upsert_client(db, CLIENT)

    assert await select_client(db, CLIENT.id) == CLIENT
    assert await select_client(db, "client-9") is None


@pytest.mark.parametrize(
    "changed",
    [
        replace(CLIENT, active=False),
        replace(CLIENT, domains=("nhn/child",)),
        replace(CLIENT, reporter_quota=1),
        replace(CLIENT, organisation_quota=1),
        replace(CLIENT, organisation="school-2"),
    ],
)
async def test_writing_tells_whether_something_changed(db: Db, changed: Client) -> None:
    await upsert_client(db, CLIENT)

    assert not await upsert_client(db, replace(CLIENT, domains=CLIENT.domains[::-1]))
    assert await upsert_client(db, changed)
    assert not await upsert_client(db, changed)


async def test_who_left_the_region_file_is_shut_out(db: Db) -> None:
    for client in ("client-1", "client-2", "client-3"):
        await upsert_client(db, replace(CLIENT, id=client))

    assert await deactivate_others(db, ["client-2"]) == 2
    assert await deactivate_others(db, ["client-2"]) == 0
    assert await select_client(db, "client-1") is None
    assert await select_client(db, "client-2") is not None
