"""Loop: ends, destroys and follows up what is due, in any number of processes."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING

import structlog

from notify.errors import OUTAGE
from schemas.database import Db
from vin import follow_up, retention
from vin.clock import Clock
from vin.crypto.seal import DataKeys
from vin.handover import hand_over

if TYPE_CHECKING:
    from asyncpg import Pool, Record

IDLE_SECONDS = 5.0

Step = Callable[[Db, datetime], Awaitable[int]]

# Destroying beats archiving (L4).
STEPS: tuple[Step, ...] = (retention.destroy_batch, retention.expire_batch)


def steps_with(keys: DataKeys) -> tuple[Step, ...]:
    """All steps; handing over seals references anew (W2)."""

    async def hand_over_batch(db: Db, now: datetime) -> int:
        return await hand_over(db, keys, now)

    return (*STEPS, hand_over_batch, follow_up.follow_batch)


log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def run_sweeper(
    pool: "Pool[Record]", clock: Clock, stop: asyncio.Event, steps: tuple[Step, ...] = STEPS
) -> None:
    """Sweep until `stop` is set; an outage is waited out, a bug ends the process."""
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        began = loop.time()
        try:
            done = await sweep_turn(pool, clock, steps)
        except OUTAGE as error:
            log.warning("sweeper paused", reason=type(error).__name__)
            done = 0
        # After a batch it rests as long as that took, so that registering goes on meanwhile.
        rest = loop.time() - began if done else IDLE_SECONDS
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), rest)


async def sweep_turn(pool: "Pool[Record]", clock: Clock, steps: tuple[Step, ...] = STEPS) -> int:
    """One batch of each kind, each in a transaction of its own. How many signals and matches."""
    done = 0
    async with pool.acquire() as db:
        for step in steps:
            async with db.transaction():
                done += await step(db, await clock.now(db))
        await retention.forget_old(db)
    return done
