"""Databases on a server, by URL, and what their schemas are made of."""

from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg

from vin.errors import StartError


async def ensure(server: str, name: str) -> str:
    """The URL of the database `name` on the server of this URL, made where it is missing."""
    try:
        db = await asyncpg.connect(server)
    except (OSError, asyncpg.PostgresError) as error:
        message = f"PostgreSQL cannot be reached: {type(error).__name__}."
        raise StartError(message) from error
    try:
        if not await db.fetchval("SELECT true FROM pg_database WHERE datname = $1", name):
            quoted = name.replace('"', '""')
            await db.execute(f'CREATE DATABASE "{quoted}"')
    except asyncpg.DuplicateDatabaseError:
        pass  # another start made it this moment
    except asyncpg.InsufficientPrivilegeError as error:
        message = f"The database {name} is missing and this login may not make it."
        raise StartError(message) from error
    finally:
        await db.close()
    return urlsplit(server)._replace(path=f"/{name}").geturl()


def name_of(url: str) -> str:
    """The database's name in a URL."""
    return urlsplit(url).path.removeprefix("/")


def migrations(package: str) -> Path:
    """The folder with a package's migrations."""
    return Path(str(resources.files(package))) / "migrations"
