import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from schemas.database import Db
from vin.contacts import officer_binding
from vin.crypto.seal import FileKek
from vin.data_keys import ensure_data_key, load_data_keys
from vin.errors import StartError

if TYPE_CHECKING:
    from asyncpg import Pool, Record

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


async def test_the_first_data_key_is_made_once(pool: "Pool[Record]") -> None:
    kek = FileKek(bytes(32))

    async def ensure() -> None:
        async with pool.acquire() as db:
            await ensure_data_key(db, kek, NOW)

    await asyncio.gather(*(ensure() for _ in range(8)))

    async with pool.acquire() as db:
        assert await db.fetchval("SELECT array_agg(epoch) FROM registry.data_key") == [1]
        binding = officer_binding(uuid4(), None)
        sealed = (await load_data_keys(db, kek)).seal(b"text", binding)
        assert (await load_data_keys(db, kek)).open(sealed, binding) == b"text"


async def test_without_data_key_or_with_the_wrong_key_file_nothing_starts(db: Db) -> None:
    with pytest.raises(StartError, match="run `vin onboard` first"):
        await load_data_keys(db, FileKek(bytes(32)))

    await ensure_data_key(db, FileKek(bytes(32)), NOW)

    with pytest.raises(StartError, match="does not belong to this database"):
        await load_data_keys(db, FileKek(bytes([1]) * 32))
