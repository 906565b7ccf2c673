"""Use case on the contact clock (A2, A4): reminders, overdue, the officer's list, monitoring.

Any number of workers may do it at once. Whatever is due is looked at again when its mail goes
out (`vin.reminders`), since people may have spoken meanwhile.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from matching.model import Status
from notify import steps
from notify.steps import NewStep
from schemas.database import Db
from schemas.dates import local_date, local_midnight
from vin import (
    audit,
    contact_clock,
    follow_up_store,
    link_store,
    match_store,
    officers,
    outcome_store,
    registry,
)
from vin.audit import Entry, Event
from vin.case_lead import Role
from vin.contact_clock import CONTACT_STEPS, Step, Turn
from vin.follow_up_store import NEVER, WatchedSide
from vin.outcome_store import Said, SideKey
from vin.registry import SealedContact

BATCH = 200
CLOCK = "contact clock"
DAY = timedelta(days=1)
LAST = tuple(Step)[-1]

Outcomes = Mapping[SideKey, Said]


@dataclass(frozen=True, slots=True)
class Call:
    """A step that is due on one side of a match."""

    step: Step
    side: WatchedSide

    @property
    def key(self) -> SideKey:
        return self.side.match, self.side.signal


async def start(db: Db, matches: Sequence[UUID], now: datetime) -> None:
    """Start the clocks of matches that were just made."""
    if matches:
        days, _ = await follow_up_store.select_policy(db)
        first = contact_clock.plan(local_date(now), days)[0]
        await follow_up_store.insert_clocks(db, matches, first)


async def follow_batch(db: Db, now: datetime) -> int:
    """Take the steps that are due on one batch of matches. How many matches."""
    today = local_date(now)
    await follow_up_store.delete_ended(db, today, BATCH)
    await link_store.delete_expired(db, now, BATCH)
    due = await follow_up_store.lock_due(db, today, BATCH)
    if not due:
        return 0
    days, quiet = await follow_up_store.select_policy(db)
    turns = {
        each.match: contact_clock.turn(
            contact_clock.plan(local_date(each.matched_at), days), each.step, today
        )
        for each in due
    }
    sides = await follow_up_store.select_sides(db, turns, today)
    outcomes = await outcome_store.select_outcomes(db, turns)
    calls = [
        call
        for match, turn in turns.items()
        for step in turn.steps
        for call in calls_on(step, sides[match], outcomes)
    ]
    listed = {
        match
        for match, turn in turns.items()
        if Step.WORKLIST in turn.steps and not is_settled(sides[match], outcomes)
    }
    told = await tell(db, calls, quiet, now)
    await move_on(db, turns, listed, now)
    await audit.append(db, now, step_entries(turns, listed, told))
    return len(due)


def is_settled(sides: Sequence[WatchedSide], outcomes: Outcomes) -> bool:
    """Whether the contact clock of a match stands still."""
    keys = ((side.match, side.signal) for side in sides)
    return contact_clock.is_settled([outcomes[key].outcome for key in keys if key in outcomes])


def calls_on(step: Step, sides: Sequence[WatchedSide], outcomes: Outcomes) -> list[Call]:
    """Which sides of an open match a step is to be told on; none once people have spoken (A2)."""
    if any(side.status is not Status.OPEN for side in sides):
        return []
    if step not in CONTACT_STEPS:
        return [Call(step, side) for side in sides if side.party.role is Role.VEILIG_THUIS]
    if is_settled(sides, outcomes):
        return []
    if step is not Step.WORKLIST:
        silent = [side for side in sides if (side.match, side.signal) not in outcomes]
        return [Call(step, side) for side in silent]
    places = {side.party.municipality: side for side in reversed(sides) if side.party.municipality}
    return [Call(step, side) for side in places.values()]


async def find_addressees(
    db: Db, step: Step, calls: Sequence[Call], today: date
) -> dict[SideKey, SealedContact]:
    """Whom a step is told to now, for each side; absent is where there is nobody.

    Of a match with an organisation that has no agreement nobody is told: it waits (W2).
    """
    waiting = await match_store.select_waiting(db, {call.side.match for call in calls}, today)
    calls = [call for call in calls if call.side.match not in waiting]
    if step is Step.WORKLIST:
        return await find_officers(db, calls)
    reporters = {call.side.reporter for call in calls}
    look_up = registry.select_overseers if step is Step.OVERDUE else registry.select_recipients
    found = await look_up(db, reporters, today)
    return {call.key: found[call.side.reporter] for call in calls if call.side.reporter in found}


async def find_officers(db: Db, calls: Sequence[Call]) -> dict[SideKey, SealedContact]:
    """The follow-up officers of the municipalities that sides are in."""
    places = {call.side.party.municipality for call in calls}
    found = {
        place: await officers.select_follow_up(db, place) for place in sorted(filter(None, places))
    }
    there = {
        place: each.contact
        for place, each in found.items()
        if each is not None and not each.unmailable
    }
    return {
        call.key: there[call.side.party.municipality]
        for call in calls
        if call.side.party.municipality in there
    }


async def tell(
    db: Db, calls: Sequence[Call], quiet: timedelta, now: datetime
) -> dict[SideKey, list[UUID]]:
    """Write the notices on steps; what comes at once goes in one mail. Which are on which side."""
    new: list[NewStep] = []
    for step in Step:
        of_step = [call for call in calls if call.step is step]
        if step is Step.WORKLIST:
            new += await listings(db, of_step, quiet, now)
        elif of_step:
            new += await reminders(db, step, of_step, quiet, local_date(now))
    return await steps.append(db, new, now)


async def reminders(
    db: Db, step: Step, calls: Sequence[Call], quiet: timedelta, today: date
) -> list[NewStep]:
    """What the sides are told; where there is nobody to tell it waits until there is."""
    addressees = await find_addressees(db, step, calls, today)
    return [
        NewStep(
            step=step,
            recipient=row_of(addressees[call.key])
            if call.key in addressees
            else call.side.reporter,
            party=call.side.organisation,
            side=call.key,
            wait=quiet,
        )
        for call in calls
    ]


async def listings(db: Db, calls: Sequence[Call], quiet: timedelta, now: datetime) -> list[NewStep]:
    """What follow-up officers are told: one mail a day each, with all that is new on the list."""
    officers_of = await find_officers(db, calls)
    rows = {key: row_of(contact) for key, contact in officers_of.items()}
    today = local_date(now)
    told = await steps.select_told_since(
        db, set(rows.values()), Step.WORKLIST, local_midnight(today)
    )
    tomorrow = local_midnight(today + DAY) - now
    return [
        NewStep(
            step=Step.WORKLIST,
            recipient=row,
            party=row,
            side=key,
            wait=tomorrow if row in told else quiet,
        )
        for key, row in rows.items()
    ]


def row_of(contact: SealedContact) -> UUID:
    """The reporter or officer whose contact data these are."""
    return contact.box[1].row


async def move_on(
    db: Db, turns: Mapping[UUID, Turn], listed: Collection[UUID], now: datetime
) -> None:
    """Set locked clocks to what comes next; one with nothing to come stays while it is listed."""
    await follow_up_store.mark_listed(db, listed, local_date(now))
    await follow_up_store.advance(
        db, {match: turn.following or (NEVER, LAST) for match, turn in turns.items()}
    )
    done = [match for match, turn in turns.items() if turn.following is None]
    await follow_up_store.delete_unlisted(db, done)


def step_entries(
    turns: Mapping[UUID, Turn], listed: Collection[UUID], told: Mapping[SideKey, Sequence[UUID]]
) -> list[Entry]:
    """The log of the matches on which something was done: which steps, and the notices on them."""
    notices: dict[UUID, list[str]] = {match: [] for match in turns}
    for (match, _), ids in told.items():
        notices[match] += map(str, ids)
    return [
        Entry(
            event=Event.STEP_TAKEN,
            actor_kind="system",
            actor=CLOCK,
            object_kind="match",
            object_id=match,
            detail={"steps": list(turn.steps), "notices": notices[match]},
        )
        for match, turn in turns.items()
        if notices[match] or match in listed
    ]
