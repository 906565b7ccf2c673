"""How an operator's command runs: one transaction on the index, and lines on standard output."""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import partial

import asyncpg
from pydantic import TypeAdapter, ValidationError

from schemas.database import Db
from schemas.dates import LOCAL
from vin.clock import Clock
from vin.databases import migrations
from vin.errors import StartError
from vin.fields import Line
from vin.migrate import check_schema
from vin.settings import OperatorSettings

LINE = TypeAdapter[str](Line)
TRIES = 3

Settings = Callable[[], OperatorSettings]
Work = Callable[[Db, argparse.Namespace, datetime], Awaitable[None]]


def one_line(text: str) -> str:
    """What the API takes as a purpose too."""
    try:
        return LINE.validate_python(text)
    except ValidationError as error:
        message = "expected one line of visible text, of at most 100 characters"
        raise argparse.ArgumentTypeError(message) from error


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
            await in_turn(db, partial(work, db, options), Clock(given.clock_offset))
        finally:
            await db.close()

    return lambda options: asyncio.run(run(options))


async def in_turn(db: Db, work: Callable[[datetime], Awaitable[None]], clock: Clock) -> None:
    """Work in a transaction, again for those that the database undid for another's sake."""
    for _ in range(TRIES - 1):
        with suppress(asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
            return await once(db, work, clock)
    return await once(db, work, clock)


async def once(db: Db, work: Callable[[datetime], Awaitable[None]], clock: Clock) -> None:
    async with db.transaction():
        await work(await clock.now(db))


def local(at: datetime) -> str:
    """An instant as an operator reads it."""
    return f"{at.astimezone(LOCAL):%Y-%m-%d %H:%M:%S %Z}"


def say(line: str) -> None:
    """Write a line to standard output."""
    sys.stdout.write(f"{line}\n")
