"""Loop: claims to messages, at least once; what may have arrived twice is flagged."""

import asyncio
from collections import Counter
from collections.abc import Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID

import structlog

from notify import attempts
from notify.attempts import JITTER, LEASE, Claim, End, case_of
from notify.carrier import Carrier, UndeliveredError
from notify.errors import OUTAGE
from notify.ledger import Channel, Peer
from notify.office import Office
from notify.queue import Entry
from notify.retry import Outcome, Result, judge
from notify.turns import Turns
from schemas.database import Db

if TYPE_CHECKING:
    from asyncpg import Pool, Record

# A receiver may take 15 seconds, so webhooks hold no slot of mails and have bounds of their own.
CALLS = 64
CALLS_TO_ONE = 4
CALL_SECONDS = 0.5
READ_SECONDS = 1.0
WAIT_SECONDS = 0.25
BEAT_SECONDS = LEASE.total_seconds() / 4
STOP_SECONDS = 5.0
# To claim one costs as much as to claim many, so with few slots free we wait for another.
FEW = 4
GATHER_SECONDS = 0.05
_T = TypeVar("_T")
log: structlog.stdlib.BoundLogger = structlog.get_logger()


@dataclass(slots=True)
class Draft:
    """A message to be written and marked, or what keeps it from that."""

    held: Claim
    carrier: Carrier
    message: bytes = field(default=b"", repr=False)
    error: UndeliveredError | None = None


class Shift:
    """One worker at work: what it shares among its deliveries, until it is to stop."""

    def __init__(self, office: Office) -> None:
        self.office = office
        self.drafts: Turns[Draft] = Turns(partial(compose, office))
        self.ends: Turns[End] = Turns(partial(write_ends, office))
        self.busy: dict[asyncio.Task[None], Claim] = {}
        self._limits: dict[asyncio.Timeout, float] = {}
        self._stopping = False
        self._slow: set[UUID] = set()

    async def free_slots(self) -> int:
        """How many deliveries may be taken now; where there is room for few, soon for more."""
        await self._wait_for_calls()
        slots, mails = self.office.slots, self._mails()
        free = slots - len(mails)
        if free < slots / FEW:
            patience = GATHER_SECONDS if free else READ_SECONDS
            await asyncio.wait(mails, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
        return slots - len(self._mails())

    def _mails(self) -> list[asyncio.Task[None]]:
        return [task for task, held in self.busy.items() if held.channel is Channel.MAIL]

    def _full(self) -> set[UUID]:
        """Webhooks with enough under way."""
        calls = Counter(held.webhook_id for held in self.busy.values() if held.webhook_id)
        return {hook for hook, count in calls.items() if count >= CALLS_TO_ONE}

    async def _wait_for_calls(self) -> None:
        """Wait for full webhooks that are quick, and for each slow one once in a while.

        What is read while they are full is due again only when its visibility ends.
        """
        self._slow &= self._full()
        with suppress(TimeoutError):
            async with asyncio.timeout(CALL_SECONDS):
                while quick := self._full() - self._slow:
                    calls = [task for task, held in self.busy.items() if held.webhook_id in quick]
                    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        self._slow = self._full()

    def left_alone(self) -> list[Peer]:
        """Who gets nothing now: who did not answer, and webhooks with enough under way.

        What is meant for them is due again when its visibility ends.
        """
        resting = [*self.office.breaker.resting(self.office.clock())]
        if len(self.busy) - len(self._mails()) >= CALLS:
            return [*resting, Channel.WEBHOOK]
        return [*resting, *self._full()]

    async def end_at(self, stop: asyncio.Event) -> None:
        """Wait for `stop`; from then on each step has its grace left."""
        await stop.wait()
        self._stopping = True
        now = asyncio.get_running_loop().time()
        for limit, grace in self._limits.items():
            limit.reschedule(now + grace)

    async def unless_stopped(
        self, work: Coroutine[None, None, _T], grace: float, otherwise: Result
    ) -> _T:
        """Do the work; after the stop it has `grace` seconds left, and ends `otherwise`.

        It is a task of its own: a library may miss that it was cancelled, and then hang.
        """
        task = asyncio.ensure_future(work)
        limit = asyncio.timeout(grace if self._stopping else None)
        try:
            async with limit:
                self._limits[limit] = grace
                await asyncio.wait({task})
        except TimeoutError:
            raise UndeliveredError(Outcome(otherwise)) from None
        finally:
            self._limits.pop(limit, None)
            task.cancel()
        return task.result()


async def run_worker(office: Office, stop: asyncio.Event) -> None:
    """Deliver until `stop` is set, then finish what is in DATA and give back the rest.

    What does not finish in `STOP_SECONDS` is left to its lease.
    """
    shift = Shift(office)
    busy = shift.busy
    async with asyncio.TaskGroup() as group:
        beat = group.create_task(run_heartbeat(office.pool, busy.values()))
        group.create_task(shift.end_at(stop))
        while not stop.is_set():
            free = await shift.free_slots()
            for held in await take_batch(shift, free, stop) if free else ():
                task = group.create_task(deliver(shift, held))
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


async def take_batch(shift: Shift, free: int, stop: asyncio.Event) -> list[Claim]:
    """Read wake-ups for the free slots and claim what they name; an outage is waited out.

    What came in with the stop is left to its visibility.
    """
    try:
        entries = await shift.office.queue.read(free, READ_SECONDS)
        return [] if stop.is_set() else await claim_batch(shift, entries)
    except OUTAGE as error:
        log.warning("worker waits", reason=type(error).__name__)
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), WAIT_SECONDS)
        return []


async def claim_batch(shift: Shift, entries: Sequence[Entry]) -> list[Claim]:
    """Claim, commit, then let go of the wake-ups: from here the lease guards the delivery."""
    if not entries:
        return []
    wanted = [entry.delivery for entry in entries if entry.delivery is not None]
    office = shift.office
    async with office.pool.acquire() as db, db.transaction():
        claims = await attempts.claim(db, wanted, office.name, shift.left_alone())
        await office.journal(db, [attempts.started(held) for held in claims])
    with suppress(*OUTAGE):
        await office.queue.acknowledge([entry.id for entry in entries])
    return claims


async def deliver(shift: Shift, held: Claim) -> None:
    """Make one attempt and write down how it ended."""
    carrier = shift.office.desks[held.channel].carrier(held)
    try:
        outcome, excused = await attempt(shift, held, carrier)
        verdict = judge(case_of(held, excused=excused), outcome, JITTER.random())
        await shift.ends.share(End(held, outcome, verdict))
    finally:
        await carrier.leave()


async def attempt(shift: Shift, held: Claim, carrier: Carrier) -> tuple[Outcome, bool]:
    """Try to hand the message over; the end, and whether it counts towards no limit.

    An outage in between is an end like others, though none of the other server's.
    """
    try:
        outcome = await send(shift, held, carrier)
    except UndeliveredError as error:
        outcome = error.outcome
    except OUTAGE as error:
        log.warning("attempt cut short", delivery=held.delivery_id, reason=type(error).__name__)
        return Outcome(Result.UNREACHABLE), False
    except Exception as error:  # noqa: BLE001 - one bad notice must not stop the others
        failed = {"delivery": held.delivery_id, "error": type(error).__name__}
        log.error("attempt failed", **failed)  # noqa: TRY400 - its text may quote contact data
        return Outcome(Result.UNREACHABLE), False
    return outcome, excused(shift.office, held, outcome.result)


def excused(office: Office, held: Claim, result: Result) -> bool:
    """Tell the breaker how a peer did; True when a mail only found our own mail server away.

    A webhook is its recipient's own server, so its attempts count.
    """
    open_ = office.breaker.note(held.peer, result, office.clock())
    return open_ and result is Result.UNREACHABLE and held.webhook_id is None


async def send(shift: Shift, held: Claim, carrier: Carrier) -> Outcome:
    """Reach the other server, then compose and mark in one commit, then hand over."""
    await shift.unless_stopped(carrier.introduce(), 0, Result.RELEASED)
    draft = Draft(held, carrier)
    await shift.drafts.share(draft)
    if draft.error is not None:
        raise draft.error
    return await hand_over(shift, draft)


async def hand_over(shift: Shift, draft: Draft) -> Outcome:
    """Let the message go; from here on it may have arrived, whatever else fails."""
    handing = draft.carrier.hand_over(draft.message)
    try:
        return await shift.unless_stopped(handing, STOP_SECONDS, Result.UNANSWERED)
    except UndeliveredError:
        raise
    except Exception as error:  # noqa: BLE001 - an outage or a bug: neither tells what arrived
        failed = {"delivery": draft.held.delivery_id, "error": type(error).__name__}
        log.error("hand-over failed", **failed)  # noqa: TRY400 - its text may quote contact data
        raise UndeliveredError(Outcome(Result.UNANSWERED)) from None


async def compose(office: Office, drafts: Sequence[Draft]) -> None:
    """Write messages and note DATA under the fence, in one transaction."""
    async with office.pool.acquire() as db, db.transaction():
        await prepare(office, db, [draft.held for draft in drafts])
        for draft in drafts:
            try:
                draft.message = await draft.carrier.compose(db)
            except UndeliveredError as error:
                draft.error = error
        composed = [draft.held for draft in drafts if draft.error is None]
        marked = await attempts.mark_batch(db, composed)
    for draft in drafts:
        if draft.error is None and draft.held not in marked:
            draft.error = UndeliveredError(Outcome(Result.RELEASED))


async def prepare(office: Office, db: Db, claims: Sequence[Claim]) -> None:
    """Let each channel look up at once what it needs."""
    for channel in dict.fromkeys(held.channel for held in claims):
        own = [held for held in claims if held.channel == channel]
        await office.desks[channel].prepare(db, own)


async def write_ends(office: Office, ends: Sequence[End]) -> None:
    """Write ends in one commit, in spite of an outage for as long as a lease lasts."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + LEASE.total_seconds()
    while loop.time() < deadline:
        try:
            async with office.pool.acquire() as db, db.transaction():
                written = await attempts.finish_batch(db, ends)
                await office.journal(db, written)
        except OUTAGE as error:
            log.warning("ends not written", count=len(ends), reason=type(error).__name__)
            await asyncio.sleep(WAIT_SECONDS)
        else:
            office.meter.count(written)
            return
