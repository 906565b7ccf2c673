"""What a notice tells, put together at the last moment (D2, L5).

`notify` knows ids only; it asks here for whom a notice is and what it says.
"""

from uuid import UUID

from matching.model import Status
from notify import ledger
from notify.attempts import DeliveryFinished, DeliveryStarted, Journal
from notify.mail import Letter, MatchItem, UndeliveredError
from notify.retry import Outcome, Result
from schemas.database import Db
from schemas.dates import local_date
from vin import audit, match_store, moves, registry
from vin.audit import Entry, Event
from vin.clock import Clock
from vin.crypto.seal import DataKeys
from vin.match_store import Side
from vin.matches import OwnMatch, contact_of, show


class NoticeComposer:
    """Composes notices with the keys that open contact data."""

    def __init__(self, keys: DataKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    async def recipient(self, db: Db, notice: UUID) -> str | None:
        """The address of the reporter whom the notice is for, or of who stands in for him (W3)."""
        reporter = await ledger.select_reporter(db, notice)
        if reporter is None:
            return None
        today = local_date(await self._clock.now(db))
        recipients = await registry.select_recipients(db, [reporter], today)
        if reporter in recipients:
            return recipients[reporter].open(self._keys).email
        if await self._select_open(db, notice):
            raise UndeliveredError(Outcome(Result.NOBODY))
        return await moves.address(db, notice, self._keys, today)

    async def compose(self, db: Db, notice: UUID) -> Letter | None:
        """The letter on the matches that are open now, or on a move; None when nothing is left.

        Until the caller's transaction ends no leg of these can be withdrawn, and whom the
        letter goes to cannot leave.
        """
        reporter = await hold(db, notice)
        sides = await self._select_open(db, notice)
        today = local_date(await self._clock.now(db))
        if reporter is None or not sides:
            return await moves.compose(db, notice, self._keys, today)
        recipients = await registry.select_recipients(db, [reporter], today)
        if reporter not in recipients:
            raise UndeliveredError(Outcome(Result.NOBODY))
        contacts = await registry.select_contacts(
            db, {side.other_reporter for side in sides if side.other_reporter}, today
        )
        return Letter(
            recipient=recipients[reporter].open(self._keys).email,
            language=recipients[reporter].language,
            items=[item(show(side, contact_of(side, contacts), self._keys)) for side in sides],
        )

    async def _select_open(self, db: Db, notice: UUID) -> list[Side]:
        """What a notice has to tell today."""
        keys = await ledger.select_matches(db, notice)
        sides = await match_store.select_sides(db, keys, await self._clock.now(db))
        return [side for side in sides if side.status is Status.OPEN]


async def hold(db: Db, notice: UUID) -> UUID | None:
    """Keep what a notice tells as it is until the caller's transaction ends; whom it is for.

    Reporters are locked before signals, in the order of `vin.succession`.
    """
    reporter = await ledger.select_reporter(db, notice)
    if reporter is not None:
        await registry.hold_reporter(db, reporter)
    keys = await ledger.select_matches(db, notice)
    await match_store.share_legs(db, [match for match, _ in keys])
    if reporter != await ledger.select_reporter(db, notice):
        raise UndeliveredError(Outcome(Result.RELEASED))  # another has its signals now
    return reporter


def item(match: OwnMatch) -> MatchItem:
    """What one letter says about one match; it waits while nobody stands in on the other side."""
    if match.other is None:
        raise UndeliveredError(Outcome(Result.NOBODY))
    contact, organisation = match.other
    return MatchItem(
        reference=match.reference,
        number=match.number,
        kind=match.kind.value,
        name=contact.name,
        function=contact.function,
        organisation=organisation,
        phone=contact.phone,
        email=contact.email,
        reachable=contact.reachable,
    )


def journal_with(clock: Clock) -> Journal:
    """What writes the attempts of deliveries to the log, in their own transactions (G3)."""

    async def journal(db: Db, told: DeliveryStarted | DeliveryFinished) -> None:
        await audit.append(db, await clock.now(db), [delivery_entry(told)])

    return journal


def delivery_entry(told: DeliveryStarted | DeliveryFinished) -> Entry:
    """The log of one attempt's start or end."""
    detail: dict[str, str | int | bool | list[str]] = {
        "notice": str(told.notice_id),
        "channel": told.channel.value,
        "attempt": told.attempt,
    }
    result = "started"
    if isinstance(told, DeliveryFinished):
        result = told.result.value
        detail |= {"code": told.code} if told.code is not None else {}
    return Entry(
        event=Event.DELIVERY_FINISHED
        if isinstance(told, DeliveryFinished)
        else Event.DELIVERY_STARTED,
        actor_kind="system",
        actor="notifier",
        object_kind="delivery",
        object_id=told.delivery_id,
        result=result,
        detail=detail,
    )
