"""What a notice tells, put together at the last moment (D2, L5).

`notify` knows ids only; it asks here for whom a notice is and what it says.
"""

from collections.abc import Sequence
from uuid import UUID

from matching.model import Status
from notify import ledger
from notify.attempts import DeliveryFinished, DeliveryStarted, Journal
from notify.carrier import UndeliveredError
from notify.letters import Letter, MatchItem, MatchLetter
from notify.retry import Outcome, Result
from notify.steps import KINDS
from schemas.database import Db
from schemas.dates import local_date
from vin import audit, match_store, moves, registry, reminders
from vin.audit import Entry, Event
from vin.clock import Clock
from vin.crypto.seal import DataKeys
from vin.links import Links
from vin.match_store import Side, SideKey
from vin.matches import OwnMatch, contact_of, show


class NoticeComposer:
    """Composes notices with the keys that open contact data."""

    def __init__(self, keys: DataKeys, clock: Clock, links: Links | None = None) -> None:
        self._keys = keys
        self._clock = clock
        self._links = links

    async def recipient(self, db: Db, notice: UUID) -> str | None:
        """The address of the reporter whom the notice is for, or of who stands in for him (W3)."""
        addressed = await ledger.select_addressed(db, notice)
        if addressed is None:
            return None
        kind, reporter = addressed
        if kind in KINDS.values():
            return await reminders.address(db, notice, self._keys, await self._clock.now(db))
        recipients = await registry.select_recipients(db, [reporter])
        if reporter in recipients:
            return recipients[reporter].open(self._keys).email
        if await self._select_open(db, notice):
            raise UndeliveredError(Outcome(Result.NOBODY))
        return await moves.address(db, notice, self._keys)

    async def compose(self, db: Db, notice: UUID) -> Letter | None:
        """The letter on the matches that are open now, or on what came after; None for nothing.

        Until the caller's transaction ends no leg of these can be withdrawn, and whom the
        letter goes to cannot leave.
        """
        reporter = await hold(db, notice)
        sides = await self._select_open(db, notice)
        if reporter is None or not sides:
            return await self._compose_other(db, notice)
        recipients = await registry.select_recipients(db, [reporter])
        if reporter not in recipients:
            raise UndeliveredError(Outcome(Result.NOBODY))
        contacts = await registry.select_contacts(
            db, {side.other_reporter for side in sides if side.other_reporter}
        )
        urls = await self._offer(db, notice, sides)
        return MatchLetter(
            **recipients[reporter].addressing(self._keys),
            items=[
                item(
                    show(side, contact_of(side, contacts), self._keys),
                    urls.get((side.match, side.signal)),
                )
                for side in sides
            ],
        )

    async def _compose_other(self, db: Db, notice: UUID) -> Letter | None:
        """The letter on a move, or on a step of the contact clock."""
        now = await self._clock.now(db)
        moved = await moves.compose(db, notice, self._keys, local_date(now))
        if moved is not None:
            return moved
        return await reminders.compose(db, notice, self._keys, self._links, now)

    async def _offer(self, db: Db, notice: UUID, sides: Sequence[Side]) -> dict[SideKey, str]:
        """Where the sides can tell what came of their matches."""
        if self._links is None:
            return {}
        keys = [(side.match, side.signal) for side in sides]
        return await self._links.offer(db, notice, keys, await self._clock.now(db))

    async def _select_open(self, db: Db, notice: UUID) -> list[Side]:
        """What a notice has to tell today."""
        keys = await ledger.select_matches(db, notice)
        today = local_date(await self._clock.now(db))
        sides = await match_store.select_sides(db, keys, today)
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


def item(match: OwnMatch, answer_url: str | None = None) -> MatchItem:
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
        answer_url=answer_url,
    )


def journal_with(clock: Clock) -> Journal:
    """What writes the attempts of deliveries to the log, in their own transactions (G3)."""

    async def journal(db: Db, told: Sequence[DeliveryStarted | DeliveryFinished]) -> None:
        if told:
            await audit.append(db, await clock.now(db), [delivery_entry(each) for each in told])

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
