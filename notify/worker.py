"""Loop: claims to messages, at least once; what may have arrived twice is flagged."""

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import SystemRandom
from typing import TYPE_CHECKING, TypeVar

import structlog

from notify import attempts
from notify.attempts import LEASE, Claim, DeliveryStarted, End, Journal, case_of
from notify.breaker import Breaker
from notify.carrier import Carrier, Carriers, UndeliveredError
from notify.errors import OUTAGE
from notify.queue import Entry, Queue
from notify.retry import Outcome, Result, judge

if TYPE_CHECKING:
    from asyncpg import Pool, Record

READ_SECONDS = 1.0
WAIT_SECONDS = 0.25
BEAT_SECONDS = LEASE.total_seconds() / 4
STOP_SECONDS = 5.0
JITTER = SystemRandom()
_T = TypeVar("_T")
log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What a worker works with; `name` tells it apart in the ledger."""

    pool: "Pool[Record]"
    queue: Queue
    carriers: Carriers
    journal: Journal
    name: str
    breaker: Breaker = field(default_factory=Breaker)
    slots: int = 16


async def run_worker(office: Office, stop: asyncio.Event) -> None:
    """Deliver until `stop` is set, then finish what is in DATA and give back the rest.

    What does not finish in `STOP_SECONDS` is left to its lease.
    """
    busy: dict[asyncio.Task[None], Claim] = {}
    async with asyncio.TaskGroup() as group:
        beat = group.create_task(run_heartbeat(office.pool, busy.values()))
        while not stop.is_set():
            if len(busy) >= office.slots:
                await asyncio.wait(busy, timeout=READ_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                continue
            for held in await take_batch(office, office.slots - len(busy), stop):
                task = group.create_task(deliver(office, held, stop))
                busy[task] = held
                task.add_done_callback(busy.pop)
        if busy:
            await asyncio.wait(busy, timeout=STOP_SECONDS)
        for task in [beat, *busy]:
            task.cancel()


async def run_heartbeat(pool: "Pool[Record]", busy: Collection[Claim]) -> None:
    """Keep the leases of running attempts alive, until cancelled."""
    while True:
        await asyncio.sleep(BEAT_SECONDS)
        if not busy:
            continue
        try:
            async with pool.acquire() as db:
                await attempts.extend(db, list(busy))
        except OUTAGE as error:
            log.warning("heartbeat missed", reason=type(error).__name__)


async def take_batch(office: Office, free: int, stop: asyncio.Event) -> list[Claim]:
    """Read wake-ups for the free slots and claim what they name; an outage is waited out.

    What came in with the stop is left to its visibility.
    """
    try:
        entries = await office.queue.read(free, READ_SECONDS)
        return [] if stop.is_set() else await claim_batch(office, entries)
    except OUTAGE as error:
        log.warning("worker waits", reason=type(error).__name__)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), WAIT_SECONDS)
        return []


async def claim_batch(office: Office, entries: Sequence[Entry]) -> list[Claim]:
    """Claim, commit, then let go of the wake-ups: from here the lease guards the delivery."""
    if not entries:
        return []
    wanted = [entry.delivery for entry in entries if entry.delivery is not None]
    resting = office.breaker.resting(asyncio.get_running_loop().time())
    async with office.pool.acquire() as db, db.transaction():
        claims = await attempts.claim(db, wanted, office.name, resting)
        for held in claims:
            await office.journal(
                db,
                DeliveryStarted(held.delivery_id, held.notice_id, held.channel, held.attempt),
            )
    with suppress(*OUTAGE):
        await office.queue.acknowledge([entry.id for entry in entries])
    return claims


async def deliver(office: Office, held: Claim, stop: asyncio.Event) -> None:
    """Make one attempt and write down how it ended."""
    carrier = office.carriers[held.channel](held)
    try:
        outcome, excused = await attempt(office, held, carrier, stop)
        verdict = judge(case_of(held, excused=excused), outcome, JITTER.random())
        await finish(office, End(held, outcome, verdict))
    finally:
        await carrier.leave()


async def attempt(
    office: Office, held: Claim, carrier: Carrier, stop: asyncio.Event
) -> tuple[Outcome, bool]:
    """Try to hand the message over; the end, and whether it counts towards no limit.

    An outage in between is an end like others, though none of the other server's.
    """
    try:
        outcome = await send(office, held, carrier, stop)
    except UndeliveredError as error:
        outcome = error.outcome
    except OUTAGE as error:
        log.warning("attempt cut short", delivery=held.delivery_id, reason=type(error).__name__)
        return Outcome(Result.UNREACHABLE), False
    except Exception as error:  # noqa: BLE001 - one bad notice must not stop the others
        failed = {"delivery": held.delivery_id, "error": type(error).__name__}
        log.error("attempt failed", **failed)  # noqa: TRY400 - its text may quote contact data
        return Outcome(Result.UNREACHABLE), False
    return outcome, excused(office, held, outcome.result)


def excused(office: Office, held: Claim, result: Result) -> bool:
    """Tell the breaker how a peer did; True when a mail only found our own mail server away.

    A webhook is its recipient's own server, so its attempts count.
    """
    now = asyncio.get_running_loop().time()
    open_ = office.breaker.note(held.peer, result, now)
    return open_ and result is Result.UNREACHABLE and held.webhook_id is None


async def send(office: Office, held: Claim, carrier: Carrier, stop: asyncio.Event) -> Outcome:
    """Reach the other server, then compose and mark in one commit, then hand over."""
    await unless(stop, carrier.introduce(), 0, Result.RELEASED)
    message = await compose(office, held, carrier)
    return await unless(stop, carrier.hand_over(message), STOP_SECONDS, Result.UNANSWERED)


async def compose(office: Office, held: Claim, carrier: Carrier) -> bytes:
    """Write the message and note DATA under the fence, in one transaction."""
    async with office.pool.acquire() as db, db.transaction():
        message = await carrier.compose(db)
        if not await attempts.mark_data(db, held):
            raise UndeliveredError(Outcome(Result.RELEASED))
    return message


async def finish(office: Office, end: End) -> None:
    """Write the end, in spite of an outage for as long as a lease lasts."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LEASE.total_seconds()
    while loop.time() < deadline:
        try:
            async with office.pool.acquire() as db, db.transaction():
                if await attempts.finish(db, end.held, end.outcome, end.verdict):
                    await office.journal(db, attempts.finished(end))
        except OUTAGE as error:
            reason = type(error).__name__
            log.warning("end not written", delivery=end.held.delivery_id, reason=reason)
            await asyncio.sleep(WAIT_SECONDS)
        else:
            return


async def unless(
    stop: asyncio.Event, work: Coroutine[None, None, _T], grace: float, otherwise: Result
) -> _T:
    """Do the work; once `stop` is set it has `grace` seconds left, and ends `otherwise`."""
    task = asyncio.ensure_future(work)
    stopped = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        return await asyncio.wait_for(task, None if task.done() else grace)
    except TimeoutError:
        raise UndeliveredError(Outcome(otherwise)) from None
    finally:
        task.cancel()
        stopped.cancel()
