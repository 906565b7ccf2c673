"""An index to measure on, and how its figures are told."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from vin import embedded
from vin.databases import ensure, migrations
from vin.migrate import migrate

if TYPE_CHECKING:
    from asyncpg import Pool, Record


@asynccontextmanager
async def index(folder: Path) -> AsyncIterator["Pool[Record]"]:
    """An index on an embedded server that writes through to disk."""
    async with embedded.postgres(folder) as server:
        url = await ensure(server, "vin")
        await migrate(url, migrations("vin"))
        async with asyncpg.create_pool(url, min_size=4, max_size=8) as pool:
            yield pool


def percentile(took: Sequence[float]) -> float:
    """The 99th percentile of seconds, in milliseconds."""
    return round(sorted(took)[len(took) * 99 // 100] * 1000, 1)
