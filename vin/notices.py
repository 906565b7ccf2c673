"""What a notice tells, put together at the last moment (D2, L5).

`notify` knows ids only; it asks here for whom a notice is and what it says.
"""

from uuid import UUID

from matching.model import Status
from notify import ledger
from notify.attempts import DeliveryFinished, DeliveryStarted, Journal
from notify.mail import Letter, MatchItem
from schemas.database import Db
from schemas.dates import local_date
from vin import audit, match_store, registry
from vin.audit import Entry, Event
from vin.clock import Clock
from vin.crypto.seal import DataKeys
from vin.matches import OwnMatch, contact_of, show


class NoticeComposer:
    """Composes notices with the keys that open contact data."""

    def __init__(self, keys: DataKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    async def recipient(self, db: Db, notice: UUID) -> str | None:
        """The address of the reporter whom the notice is for, as it is now."""
        reporter = await ledger.select_reporter(db, notice)
        contacts = await registry.select_contacts(db, [reporter] if reporter else [])
        return contacts[reporter].open(self._keys).email if reporter in contacts else None

    async def compose(self, db: Db, notice: UUID) -> Letter | None:
        """The letter on the matches that are open now; None when none is left to tell.

        Until the caller's transaction ends no leg of these can be withdrawn.
        """
        reporter = await ledger.select_reporter(db, notice)
        keys = await ledger.select_matches(db, notice)
        await match_store.share_legs(db, [match for match, _ in keys])
        today = local_date(await self._clock.now(db))
        sides = await match_store.select_sides(db, keys, today)
        open_sides = [side for side in sides if side.status is Status.OPEN]
        if reporter is None or not open_sides:
            return None
        contacts = await registry.select_contacts(
            db, {reporter, *(side.other_reporter for side in open_sides if side.other_reporter)}
        )
        return Letter(
            recipient=contacts[reporter].open(self._keys).email,
            language=contacts[reporter].language,
            items=[item(show(side, contact_of(side, contacts), self._keys)) for side in open_sides],
        )


def item(match: OwnMatch) -> MatchItem:
    """What one letter says about one match."""
    if match.other is None:
        raise UnknownContactError(match.id)
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


class UnknownContactError(Exception):
    """An open match without contact data of the other side: a bug, never a letter."""


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
