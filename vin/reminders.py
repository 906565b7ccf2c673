"""What a notice on a step tells, put together at the last moment (A2, A4).

To whom it goes follows from the sides as they are then, so it also reaches who took over.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from notify import steps
from notify.carrier import UndeliveredError
from notify.letters import ReminderItem, ReminderLetter
from notify.retry import Outcome, Result
from schemas.database import Db
from schemas.dates import local_date
from vin import follow_up, follow_up_store, outcome_store, registry
from vin.contact_clock import CONTACT_STEPS, Step
from vin.contacts import open_contact
from vin.crypto.seal import DataKeys
from vin.follow_up import Call, row_of
from vin.follow_up_store import WatchedSide
from vin.links import Links
from vin.match_store import SideKey
from vin.registry import SealedContact, Standing
from vin.signals import reference_binding


@dataclass(frozen=True, slots=True)
class Addressed:
    """What a notice tells whom; `rest` is for others, who took over some sides, or waits."""

    addressee: SealedContact
    calls: Sequence[Call]
    rest: Sequence[Call]


async def address(db: Db, notice: UUID, keys: DataKeys, now: datetime) -> str | None:
    """Where a notice on a step goes now; None when nothing is left to tell.

    UndeliveredError while there is nobody to tell it to, or no agreement to tell it under (W2).
    """
    addressed = await find(db, notice, now)
    return addressed.addressee.open(keys).email if addressed else None


async def find(db: Db, notice: UUID, now: datetime) -> Addressed | None:
    """What is left of a notice on a step, and for whom."""
    told = await steps.select_step(db, notice)
    if told is None:
        return None
    step, wanted = Step(told[0]), set(told[1])
    calls = await select_calls(db, step, wanted, now)
    if not calls:
        return None
    addressees = await follow_up.find_addressees(db, step, calls, local_date(now))
    if not addressees:
        raise UndeliveredError(Outcome(Result.NOBODY))
    rows = {key: row_of(contact) for key, contact in addressees.items()}
    first = next(call.key for call in calls if call.key in rows)
    mine = [call for call in calls if rows.get(call.key) == rows[first]]
    return Addressed(addressees[first], mine, [call for call in calls if call not in mine])


async def select_calls(
    db: Db, step: Step, wanted: Collection[SideKey], now: datetime
) -> list[Call]:
    """On which of these sides the step is still to be told."""
    matches = {match for match, _ in wanted}
    sides = await follow_up_store.select_sides(db, matches, local_date(now))
    outcomes = await outcome_store.select_outcomes(db, matches)
    return [
        call
        for of_match in sides.values()
        for call in follow_up.calls_on(step, of_match, outcomes)
        if call.key in wanted
    ]


async def compose(
    db: Db, notice: UUID, keys: DataKeys, links: Links | None, now: datetime
) -> ReminderLetter | None:
    """The letter on a step; None when nothing is left to tell, or it is another notice.

    The caller holds the reporters, legs and matches. What is for others by now goes to them in
    a notice of their own; so does what waits.
    """
    addressed = await find(db, notice, now)
    if addressed is None:
        return None
    if addressed.rest:
        await steps.split(db, notice, [call.key for call in addressed.rest], now)
    return ReminderLetter(
        **addressed.addressee.addressing(keys),
        step=addressed.calls[0].step.value,
        items=await items(db, notice, addressed, keys, links, now),
    )


async def items(
    db: Db,
    notice: UUID,
    addressed: Addressed,
    keys: DataKeys,
    links: Links | None,
    now: datetime,
) -> list[ReminderItem]:
    """What the letter says on each match; a list for an officer holds the numbers alone."""
    sides = [call.side for call in addressed.calls]
    if addressed.calls[0].step is Step.WORKLIST:
        return [ReminderItem(number=side.number, matched_on=matched_on(side)) for side in sides]
    urls: Mapping[SideKey, str] = {}
    if links is not None and addressed.calls[0].step in CONTACT_STEPS:
        urls = await links.offer(db, notice, [call.key for call in addressed.calls], now)
    standings = await registry.select_standings(
        db, {side.reporter for side in sides}, local_date(now)
    )
    return [
        ReminderItem(
            number=side.number,
            matched_on=matched_on(side),
            reference=reference_of(side, keys),
            reporter=colleague_of(standings[side.reporter], addressed.addressee, keys),
            answer_url=urls.get((side.match, side.signal)),
        )
        for side in sides
    ]


def matched_on(side: WatchedSide) -> date:
    return local_date(side.matched_at)


def reference_of(side: WatchedSide, keys: DataKeys) -> str:
    """The file that the side's signal belongs to, for its own side."""
    return keys.open(side.reference, reference_binding(side.signal, side.organisation)).decode()


def colleague_of(standing: Standing, addressee: SealedContact, keys: DataKeys) -> str | None:
    """The name of the colleague whose match it is; None when it is the addressee's own."""
    return None if standing.box == addressee.box else open_contact(keys, *standing.box).name
