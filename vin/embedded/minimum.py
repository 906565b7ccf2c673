"""Servers that are too old for what VIN asks of them."""

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from vin.embedded.home import EmbeddedError

POSTGRES = 15  # NULLS NOT DISTINCT, MERGE
REDIS = (6, 2)  # XAUTOCLAIM
PATIENCE_SECONDS = 10


async def check_postgres(url: str) -> None:
    """Raise EmbeddedError when the server cannot be reached or is older than PostgreSQL 15."""
    try:
        db = await asyncpg.connect(url, timeout=PATIENCE_SECONDS)
        await db.close(timeout=PATIENCE_SECONDS)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        message = f"PostgreSQL cannot be used: {_reason(error)}."
        raise EmbeddedError(message) from error
    found = db.get_server_version()
    if found.major < POSTGRES:
        message = f"PostgreSQL {found.major} is too old: VIN needs {POSTGRES} or later."
        raise EmbeddedError(message)


async def check_redis(url: str) -> None:
    """Raise EmbeddedError when the server cannot be reached or is older than Redis 6.2."""
    try:
        async with Redis.from_url(
            url, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS
        ) as client:
            found = (await client.info("server"))["redis_version"]
    except (OSError, ValueError, RedisError) as error:
        message = f"Redis cannot be used: {_reason(error)}."
        raise EmbeddedError(message) from error
    if tuple(int(part) for part in found.split(".")[:2]) < REDIS:
        message = f"Redis {found} is too old: VIN needs {REDIS[0]}.{REDIS[1]} or later."
        raise EmbeddedError(message)


def _reason(error: Exception) -> str:
    if isinstance(error, ValueError):  # it may quote the URL, and so a password
        return "its URL is not valid"
    return f"{type(error).__name__}: {error}".rstrip(": .")
