"""How an operator's command runs: one transaction on the index, and lines on standard output."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime

import asyncpg

from schemas.database import Db
from schemas.dates import LOCAL
from vin.clock import Clock
from vin.databases import migrations
from vin.errors import StartError
from vin.migrate import check_schema
from vin.settings import OperatorSettings

Settings = Callable[[], OperatorSettings]
Work = Callable[[Db, argparse.Namespace, datetime], Awaitable[None]]


def running(work: Work, settings: Settings) -> Callable[[argparse.Namespace], None]:
    """Make a command of work that is done in one transaction."""

    async def run(options: argparse.Namespace) -> None:
        given = settings()
        try:
            db = await asyncpg.connect(given.database_url)
        except (OSError, asyncpg.PostgresError) as error:
            message = f"The index's database cannot be reached: {type(error).__name__}."
            raise StartError(message) from error
        try:
            await check_schema(db, migrations("vin"))
            async with db.transaction():
                await work(db, options, await Clock(given.clock_offset).now(db))
        finally:
            await db.close()

    return lambda options: asyncio.run(run(options))


def local(at: datetime) -> str:
    """An instant as an operator reads it."""
    return f"{at.astimezone(LOCAL):%Y-%m-%d %H:%M:%S %Z}"


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{line}\n")
