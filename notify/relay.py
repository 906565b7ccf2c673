"""Loop: due deliveries to the stream, and lost attempts back to due."""

import asyncio

import structlog

from notify import attempts, ledger
from notify.errors import OUTAGE
from notify.office import Office
from notify.queue import Bell

POLL_SECONDS = 0.25
TIDY_SECONDS = 1.0
log: structlog.stdlib.BoundLogger = structlog.get_logger()


async def run_relay(office: Office, bell: Bell, stop: asyncio.Event) -> None:
    """Relay until `stop` is set; an outage is waited out, a bug ends the process."""
    tidied = -TIDY_SECONDS
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        moved = 0
        try:
            if loop.time() - tidied >= TIDY_SECONDS:
                await tidy_batch(office)
                tidied = loop.time()
            moved = await relay_batch(office)
        except OUTAGE as error:
            log.warning("relay waits", reason=type(error).__name__)
        if moved == 0:
            await bell.wait("deliver", POLL_SECONDS)


async def relay_batch(office: Office) -> int:
    """Mark, commit, then publish: a crash in between is a late message, never a lost one.

    A peer that the breaker is open for gets one when its rest is over; the others wait in the
    ledger, in their order.
    """
    now, breaker = office.clock(), office.breaker
    room = await office.queue.room()
    async with office.pool.acquire() as db:
        due = await ledger.mark_queued(db, room, breaker.open())
        for peer in breaker.due(now):
            trial = await ledger.mark_trial(db, peer)
            if trial:
                breaker.try_out(peer, now)
            due += trial
    await office.queue.publish(due)
    return len(due)


async def tidy_batch(office: Office) -> None:
    """Take back what lost workers had claimed, and clear what they had read."""
    async with office.pool.acquire() as db, db.transaction():
        lost = await attempts.sweep(db)
        await office.journal(db, lost)
    office.meter.count(lost)
    await office.queue.clear_stale()
