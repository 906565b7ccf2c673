"""Use case on mail that comes back: the next in line is told instead (W3).

Of a report only its action and status code are read; nothing of it is kept or logged.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from notify import reports
from notify.bounce import Action, Report, Returned, ReturnPath, read_report
from notify.errors import OUTAGE
from notify.reports import Reported
from notify.retry import MAX_ATTEMPTS, Result, State
from notify.smtpd import Envelope, Refusal, RefusedError, smtp_server
from schemas.database import Db
from vin import audit, mailboxes
from vin.audit import Entry, Event
from vin.clock import Clock
from vin.contacts import open_contact
from vin.crypto.seal import DataKeys
from vin.errors import StartError
from vin.mailboxes import Mailbox
from vin.settings import Address

if TYPE_CHECKING:
    from asyncpg import Pool, Record

# How long a report is kept waiting for its attempt's end, before it is sent away for now.
PATIENCE_SECONDS = 5.0
PAUSE_SECONDS = 0.1
# What a report changes, by the state that it finds. A mail that arrived needs no other try.
ARRIVED: Mapping[State, State] = dict.fromkeys(
    (State.UNKNOWN, State.PENDING, State.QUEUED, State.RETRY, State.DEAD), State.SENT
)
CAME_BACK: Mapping[State, State] = dict.fromkeys((State.SENT, State.UNKNOWN), State.DEAD)
READDRESSED: Mapping[State, State] = dict.fromkeys(
    (State.SENT, State.UNKNOWN, State.DEAD), State.RETRY
)
# What may be heard after what: a mail that was taken may still come back later.
EARLIER: Mapping[Action, set[str | None]] = {
    Action.DELAYED: {None},
    Action.DELIVERED: {None, "delayed"},
    Action.FAILED: {None, "delayed", "delivered"},
}


class BounceDesk:
    """Takes what comes back by mail."""

    def __init__(
        self, pool: "Pool[Record]", returns: ReturnPath, keys: DataKeys, clock: Clock
    ) -> None:
        self._pool = pool
        self._returns = returns
        self._keys = keys
        self._clock = clock

    def admits(self, address: str) -> bool:
        """Nobody writes to us who did not get a mail of ours."""
        return self._returns.read(address) is not None

    async def accept(self, envelope: Envelope) -> None:
        """Take a report in; other mail, such as an automatic answer, is let go of.

        RefusedError while its attempt still runs, or the database is away: then it comes again.
        """
        report = read_report(envelope.data)
        returned = self._returns.read(envelope.recipients[0])
        if report is None or returned is None:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        try:
            while not await self._take(returned, report):
                if loop.time() > deadline:
                    raise RefusedError(Refusal.NOT_KEPT)
                await asyncio.sleep(PAUSE_SECONDS)
        except OUTAGE:
            raise RefusedError(Refusal.NOT_KEPT) from None

    async def _take(self, returned: Returned, report: Report) -> bool:
        """Follow a report; False while its attempt still runs, which a report can overtake."""
        async with self._pool.acquire() as db, db.transaction():
            found = await reports.lock(db, returned.delivery, returned.attempt)
            if found is None or found.heard not in EARLIER[report.action]:
                return True
            if found.state is State.SENDING:
                return False
            await reports.note(db, returned.delivery, returned.attempt, report.action)
            moved = await self._follow(db, returned, report, found)
            if moved or report.action is not Action.DELIVERED:
                entry = report_entry(returned, report, found)
                await audit.append(db, await self._clock.now(db), [entry])
        return True

    async def _follow(
        self, db: Db, returned: Returned, report: Report, found: Reported
    ) -> State | None:
        """What a report changes; which state the delivery is in now, None when as before."""
        if report.action is Action.DELIVERED:
            return await reports.settle(db, returned.delivery, ARRIVED)
        fresh = 0
        if report.is_dead_address:
            boxes = await mailboxes.select_line(db, found.notice_id)
            dead = [each for each in boxes if self._returns.was_for(returned, self._email(each))]
            fresh = await self._mark(db, dead)
        if report.action is Action.DELAYED or not found.is_last:
            return None
        # Whoever would get it again and again is told no more.
        is_loop = not fresh and returned.attempt >= MAX_ATTEMPTS
        readdressed = report.is_dead_address and not is_loop
        return await reports.settle(
            db, returned.delivery, READDRESSED if readdressed else CAME_BACK
        )

    async def bury(self, db: Db, notice: UUID, address: str) -> Result:
        """Note that a notice could not go to an address since there is none such; what follows.

        It goes to the next in line, after a while if the address was known to be dead.
        """
        boxes = await mailboxes.select_line(db, notice)
        dead = [each for each in boxes if self._email(each).lower() == address.lower()]
        if not dead:
            return Result.REFUSED
        return Result.RELEASED if await self._mark(db, dead) else Result.DEFERRED

    def _email(self, mailbox: Mailbox) -> str:
        return open_contact(self._keys, *mailbox.box).email

    async def _mark(self, db: Db, dead: Sequence[Mailbox]) -> int:
        """Let W3 pass them over; how many it did not yet."""
        now = await self._clock.now(db)
        fresh = [each for each in dead if await mailboxes.mark_dead(db, each, now)]
        await audit.append(db, now, [mailboxes.dead_entry(each) for each in fresh])
        return len(fresh)


@asynccontextmanager
async def taking_bounces(desk: BounceDesk, at: Address) -> AsyncIterator[None]:
    """Listen for mail that comes back, beside other processes on this machine that do."""
    async with AsyncExitStack() as stack:
        server = smtp_server(desk.accept, at.host, at.port, desk.admits)
        try:
            await stack.enter_async_context(server)
        except OSError as error:
            message = f"Cannot listen on {at.host}, port {at.port}: {error.strerror}."
            raise StartError(message) from error
        yield


def report_entry(returned: Returned, report: Report, found: Reported) -> Entry:
    """The log of what was heard of an attempt."""
    return Entry(
        event=Event.DELIVERY_REPORTED,
        actor_kind="system",
        actor="bounces",
        object_kind="delivery",
        object_id=returned.delivery,
        result=report.action,
        detail={
            "notice": str(found.notice_id),
            "attempt": returned.attempt,
            **({"status": report.status} if report.status else {}),
        },
    )
