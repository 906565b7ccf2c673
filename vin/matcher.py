"""Loop: what waits in the match queue to matches and notices, in any number of processes."""

import asyncio
from typing import TYPE_CHECKING

import structlog
from asyncpg import UniqueViolationError

from notify.errors import OUTAGE
from notify.queue import Bell
from vin.clock import Clock
from vin.matches import match_batch

if TYPE_CHECKING:
    from asyncpg import Pool, Record

BATCH = 128
IDLE_SECONDS = 0.25

log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def run_matcher(pool: "Pool[Record]", clock: Clock, bell: Bell, stop: asyncio.Event) -> None:
    """Match until `stop` is set; an outage is waited out, a bug ends the process."""
    while not stop.is_set():
        try:
            done = await match_turn(pool, clock)
        except OUTAGE as error:
            log.warning("matcher paused", reason=type(error).__name__)
            done = 0
        except UniqueViolationError as error:
            # A number was drawn twice (A6): the turn is undone, the next draws another.
            if error.constraint_name not in {"match_number", "given_number_pk"}:
                raise
            done = 0
        if done:
            await bell.ring("deliver")
        else:
            await bell.wait("match", IDLE_SECONDS)


async def match_turn(pool: "Pool[Record]", clock: Clock) -> int:
    """One claim, with its matches, in one transaction."""
    async with pool.acquire() as db, db.transaction():
        return await match_batch(db, BATCH, await clock.now(db))
