"""Loop: due deliveries to the stream, and lost attempts back to due."""

import asyncio
from typing import TYPE_CHECKING

import structlog

from notify import attempts, ledger
from notify.attempts import Journal
from notify.breaker import Breaker
from notify.errors import OUTAGE
from notify.queue import Bell, Queue

if TYPE_CHECKING:
    from asyncpg import Pool, Record

POLL_SECONDS = 0.25
TIDY_SECONDS = 1.0
log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def run_relay(
    pool: "Pool[Record]",
    queue: Queue,
    bell: Bell,
    journal: Journal,
    breaker: Breaker,
    stop: asyncio.Event,
) -> None:
    """Relay until `stop` is set; an outage is waited out, a bug ends the process."""
    tidied = -TIDY_SECONDS
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        moved = 0
        try:
            if loop.time() - tidied >= TIDY_SECONDS:
                await tidy_batch(pool, queue, journal)
                tidied = loop.time()
            moved = await relay_batch(pool, queue, breaker)
        except OUTAGE as error:
            log.warning("relay waits", reason=type(error).__name__)
        if moved == 0:
            await bell.wait("deliver", POLL_SECONDS)


async def relay_batch(pool: "Pool[Record]", queue: Queue, breaker: Breaker) -> int:
    """Mark, commit, then publish: a crash in between is a late message, never a lost one.

    A peer that the breaker is open for gets one when its rest is over; the others wait in the
    ledger, in their order.
    """
    now = asyncio.get_running_loop().time()
    room = await queue.room()
    async with pool.acquire() as db:
        due = await ledger.mark_queued(db, room, breaker.open())
        for peer in breaker.due(now):
            trial = await ledger.mark_trial(db, peer)
            if trial:
                breaker.try_out(peer, now)
            due += trial
    await queue.publish(due)
    return len(due)


async def tidy_batch(pool: "Pool[Record]", queue: Queue, journal: Journal) -> None:
    """Take back what lost workers had claimed, and clear what they had read."""
    async with pool.acquire() as db, db.transaction():
        for lost in await attempts.sweep(db):
            await journal(db, lost)
    await queue.clear_stale()
