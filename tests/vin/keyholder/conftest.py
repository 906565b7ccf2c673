"""A key holder over HTTP: its processes and database are shared, its rows are not."""

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest_asyncio

from tests.vin.keyholder.house import SEEDS, House, opened
from vin.keyholder.evaluator import Evaluator, open_evaluator


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def evaluator() -> AsyncIterator[Evaluator]:
    async with open_evaluator(SEEDS, 2) as started:
        yield started


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def house_url(make_database: Callable[[str], Awaitable[str]]) -> str:
    return await make_database("vin.keyholder")


@pytest_asyncio.fixture
async def house(house_url: str, evaluator: Evaluator) -> AsyncIterator[House]:
    """A key holder with one client, empty but for that."""
    async with (
        asyncpg.create_pool(house_url, min_size=1) as pool,
        opened(pool, evaluator) as started,
    ):
        yield started
    db = await asyncpg.connect(house_url)
    await db.execute(
        """
        TRUNCATE keyholder.client, keyholder.epoch,
                 keyholder.reporter_usage, keyholder.organisation_usage
        """
    )
    await db.close()
