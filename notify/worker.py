"""Loop: claims to mails, at least once; what may have arrived twice is flagged."""

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Protocol, TypeVar
from uuid import UUID

import structlog

from notify import attempts
from notify.attempts import LEASE, Claim, DeliveryFinished, DeliveryStarted, Journal
from notify.errors import OUTAGE
from notify.mail import Conversation, Letter, Route, UndeliveredError, render
from notify.queue import Entry, Queue
from notify.retry import Outcome, Result, judge
from schemas.database import Db

if TYPE_CHECKING:
    from asyncpg import Pool, Record

READ_SECONDS = 1.0
WAIT_SECONDS = 0.25
BEAT_SECONDS = LEASE.total_seconds() / 4
STOP_SECONDS = 5.0
JITTER = SystemRandom()
_T = TypeVar("_T")
log: structlog.stdlib.BoundLogger = structlog.get_logger()


class Composer(Protocol):
    """Turns a notice into what it says; wiring gives one, since it opens contact data."""

    async def recipient(self, db: Db, notice: UUID) -> str | None:
        """The address that the notice goes to now; None when there is nothing to send.

        UndeliveredError while there is nobody to send it to.
        """
        ...

    async def compose(self, db: Db, notice: UUID) -> Letter | None:
        """Check both sides of each match again, and write the letter; None when none is left.

        Runs in the transaction that notes DATA: what it checked must hold until that ends.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What a worker works with; `name` tells it apart in the ledger."""

    pool: "Pool[Record]"
    queue: Queue
    composer: Composer
    journal: Journal
    route: Route
    name: str
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
    async with office.pool.acquire() as db, db.transaction():
        claims = await attempts.claim(db, wanted, office.name)
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
    talk = Conversation(office.route)
    try:
        outcome = await attempt(office, held, talk, stop)
        await finish(office, held, outcome)
    finally:
        await talk.leave()


async def attempt(office: Office, held: Claim, talk: Conversation, stop: asyncio.Event) -> Outcome:
    """Try to send the mail; an outage in between is an end like others."""
    try:
        return await send(office, held, talk, stop)
    except UndeliveredError as error:
        return error.outcome
    except OUTAGE as error:
        log.warning("attempt cut short", delivery=held.delivery_id, reason=type(error).__name__)
        return Outcome(Result.UNREACHABLE)
    except Exception as error:  # noqa: BLE001 - one bad notice must not stop the others
        failed = {"delivery": held.delivery_id, "error": type(error).__name__}
        log.error("attempt failed", **failed)  # noqa: TRY400 - its text may quote contact data
        return Outcome(Result.UNREACHABLE)


async def send(office: Office, held: Claim, talk: Conversation, stop: asyncio.Event) -> Outcome:
    """Address the mail, then compose and mark it in one commit, then hand it over."""
    async with office.pool.acquire() as db:
        recipient = await office.composer.recipient(db, held.notice_id)
    if recipient is None:
        return Outcome(Result.SUPPRESSED)
    await unless(stop, talk.introduce(recipient), 0, Result.RELEASED)
    message = await compose(office, held, recipient)
    return await unless(stop, talk.hand_over(message), STOP_SECONDS, Result.UNANSWERED)


async def compose(office: Office, held: Claim, recipient: str) -> bytes:
    """Write the mail and note DATA under the fence, in one transaction.

    A withdrawal that was committed before it wins; one after it is too late for this mail.
    """
    async with office.pool.acquire() as db, db.transaction():
        letter = await office.composer.compose(db, held.notice_id)
        if letter is None:
            raise UndeliveredError(Outcome(Result.SUPPRESSED))
        if letter.recipient != recipient:
            raise UndeliveredError(Outcome(Result.RELEASED))
        mail = render(letter, held.delivery_id, office.route.sender, held.created_at).as_bytes()
        if not await attempts.mark_data(db, held):
            raise UndeliveredError(Outcome(Result.RELEASED))
    return mail


async def finish(office: Office, held: Claim, outcome: Outcome) -> None:
    """Write the end, in spite of an outage for as long as a lease lasts."""
    verdict = judge(held.attempt, outcome.result, JITTER.random())
    ended = DeliveryFinished(
        held.delivery_id,
        held.notice_id,
        held.channel,
        held.attempt,
        outcome.result,
        outcome.code,
    )
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LEASE.total_seconds()
    while loop.time() < deadline:
        try:
            async with office.pool.acquire() as db, db.transaction():
                if await attempts.finish(db, held, outcome, verdict):
                    await office.journal(db, ended)
        except OUTAGE as error:
            log.warning("end not written", delivery=held.delivery_id, reason=type(error).__name__)
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
