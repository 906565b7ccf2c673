"""What a notice tells, put together at the last moment (D2, L5).

`notify` knows ids only; it asks here for whom a notice is and what it says.
"""

from collections import defaultdict
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar
from uuid import UUID

from matching.model import Status
from notify import contents
from notify.attempts import DeliveryFinished, DeliveryStarted, Journal
from notify.carrier import Answers, UndeliveredError
from notify.contents import Contents
from notify.letters import Letter, MatchItem, MatchLetter
from notify.retry import Outcome, Result
from notify.steps import KINDS
from schemas.database import Db
from schemas.dates import local_date
from vin import (
    audit,
    follow_up_store,
    match_store,
    moves,
    outcome_store,
    registry,
    reminders,
)
from vin.audit import Entry, Event
from vin.clock import Clock
from vin.crypto.seal import DataKeys
from vin.links import Links
from vin.match_store import Side, SideKey
from vin.matches import OwnMatch, contact_of, show
from vin.registry import SealedContact

STEPS = frozenset(KINDS.values())
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Facts:
    """What letters on matches are written from: by reporter, by reporter, and by side."""

    recipients: Mapping[UUID, SealedContact]
    contacts: Mapping[UUID, SealedContact]
    urls: Mapping[SideKey, str]


class NoticeComposer:
    """Composes notices with the keys that open contact data."""

    def __init__(self, keys: DataKeys, clock: Clock, links: Links | None = None) -> None:
        self._keys = keys
        self._clock = clock
        self._links = links

    async def recipient(self, db: Db, notice: UUID) -> str | None:
        """The address that one notice goes to; UndeliveredError while there is none."""
        answer = (await self.recipients(db, [notice])).get(notice)
        if isinstance(answer, UndeliveredError):
            raise answer
        return answer

    async def compose(self, db: Db, notice: UUID) -> Letter | None:
        """One letter; UndeliveredError when it cannot be sent now."""
        answer = (await self.letters(db, [notice])).get(notice)
        if isinstance(answer, UndeliveredError):
            raise answer
        return answer

    async def recipients(self, db: Db, notices: Sequence[UUID]) -> Answers[str]:
        """The addresses of the reporters whom notices are for, or of who stands in (W3)."""
        told = await contents.select_contents(db, notices)
        reporters = {each.reporter for each in told.values() if each.kind not in STEPS}
        today = local_date(await self._clock.now(db))
        found = await registry.select_recipients(db, reporters, today)
        answers: dict[UUID, str | UndeliveredError | None] = {}
        for notice, each in told.items():
            if each.reporter in found and each.kind not in STEPS:
                answers[notice] = found[each.reporter].open(self._keys).email
            else:
                answers[notice] = await caught(self._other_recipient(db, notice, each))
        return answers

    async def _other_recipient(self, db: Db, notice: UUID, told: Contents) -> str | None:
        """Where a notice on a step goes, or one whose reporter nobody stands in for."""
        now = await self._clock.now(db)
        if told.kind in STEPS:
            return await reminders.address(db, notice, self._keys, now)
        if await self._select_open(db, {notice: told}, now):
            raise UndeliveredError(Outcome(Result.NOBODY))
        return await moves.address(db, notice, self._keys, local_date(now))

    async def letters(self, db: Db, notices: Sequence[UUID]) -> Answers[Letter]:
        """The letters on the matches that are open now, or on what came after; None for nothing.

        Until the caller's transaction ends no leg of these can be withdrawn, and whom a letter
        goes to cannot leave.
        """
        told, moved = await hold(db, notices)
        now = await self._clock.now(db)
        sides = await self._select_open(db, told, now)
        facts = await self._facts(db, told, sides, now)
        released = UndeliveredError(Outcome(Result.RELEASED))  # another has its signals now
        answers: dict[UUID, Letter | UndeliveredError | None] = dict.fromkeys(moved, released)
        for notice, each in told.items():
            if notice in sides:
                answers[notice] = await caught(self._letter(each, sides[notice], facts))
            else:
                answers[notice] = await caught(self._compose_other(db, notice, now))
        return answers

    async def _facts(
        self,
        db: Db,
        told: Mapping[UUID, Contents],
        sides: Mapping[UUID, Sequence[Side]],
        now: datetime,
    ) -> Facts:
        """Of all letters at once, whom they go to and whom and what they show."""
        today = local_date(now)
        others = {side.other_reporter for each in sides.values() for side in each}
        urls: dict[SideKey, str] = {}
        if self._links is not None:
            for notice, each in sides.items():
                keys = [(side.match, side.signal) for side in each]
                urls |= await self._links.offer(db, notice, keys, now)
        return Facts(
            recipients=await registry.select_recipients(
                db, {told[notice].reporter for notice in sides}, today
            ),
            contacts=await registry.select_contacts(db, {each for each in others if each}, today),
            urls=urls,
        )

    async def _letter(self, told: Contents, sides: Sequence[Side], facts: Facts) -> MatchLetter:
        if told.reporter not in facts.recipients:
            raise UndeliveredError(Outcome(Result.NOBODY))
        return MatchLetter(
            **facts.recipients[told.reporter].addressing(self._keys),
            items=[
                item(
                    show(side, contact_of(side, facts.contacts), self._keys),
                    facts.urls.get((side.match, side.signal)),
                )
                for side in sides
            ],
        )

    async def _compose_other(self, db: Db, notice: UUID, now: datetime) -> Letter | None:
        """The letter on a move, or on a step of the contact clock; what fails leaves no trace."""
        async with db.transaction():
            moved = await moves.compose(db, notice, self._keys, local_date(now))
            if moved is not None:
                return moved
            return await reminders.compose(db, notice, self._keys, self._links, now)

    async def _select_open(
        self, db: Db, told: Mapping[UUID, Contents], now: datetime
    ) -> dict[UUID, list[Side]]:
        """Of each notice what it has to tell today; those that have nothing are absent."""
        places = {key: notice for notice, each in told.items() for key in each.matches}
        found: dict[UUID, list[Side]] = defaultdict(list)
        for side in await match_store.select_sides(db, list(places), now):
            if side.status is Status.OPEN:
                found[places[side.match, side.signal]].append(side)
        return found


async def caught(answer: Awaitable[_T]) -> _T | UndeliveredError:
    """One that cannot be delivered keeps no other from it."""
    try:
        return await answer
    except UndeliveredError as error:
        return error


async def hold(db: Db, notices: Sequence[UUID]) -> tuple[dict[UUID, Contents], list[UUID]]:
    """Keep what notices tell as it is until the caller's transaction ends.

    Reporters are locked before signals, in the order of `vin.succession`, and signals before
    matches, whose sides cannot speak then. Apart come those that another reporter has by now.
    """
    before = await contents.select_contents(db, notices)
    followed = await select_followed(db, before)
    reporters = {each.reporter for each in before.values()}
    await registry.hold_reporters(db, reporters | {reporter for *_, reporter in followed})
    on_steps = {match for _, match, _ in followed}
    matches = {match for each in before.values() for match, _ in each.matches}
    await match_store.share_legs(db, matches | on_steps)
    if on_steps:
        await outcome_store.share_matches(db, on_steps)
    after = await contents.select_contents(db, list(before))
    moved = {notice for notice, *_ in await select_followed(db, after) - followed}
    told = {
        notice: each
        for notice, each in after.items()
        if each.reporter == before[notice].reporter and notice not in moved
    }
    return told, [notice for notice in after if notice not in told]


async def select_followed(db: Db, told: Mapping[UUID, Contents]) -> set[tuple[UUID, UUID, UUID]]:
    """Of notices on steps, the matches and the reporters of their sides."""
    on_steps = [notice for notice, each in told.items() if each.kind in STEPS]
    return await follow_up_store.select_told(db, on_steps) if on_steps else set()


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
