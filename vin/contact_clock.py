"""The contact clock and safety monitoring (A2, A4): what is due when. Dates in, steps out."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum
from functools import cache

from holidays import country_holidays

MONDAY_TO_FRIDAY = range(5)


class Outcome(StrEnum):
    """What one side says happened after a match (A1)."""

    SPOKEN = "spoken"
    ALREADY_COOPERATING = "already_cooperating"
    NOT_REACHABLE = "not_reachable"
    NO_SHARED_NEED = "no_shared_need"


class Step(StrEnum):
    """What is done on a match as time passes; the first three until people have spoken."""

    REMINDER = "reminder"
    OVERDUE = "overdue"
    WORKLIST = "worklist"
    MONITORING_3 = "monitoring_3"
    MONITORING_12 = "monitoring_12"


CONTACT_STEPS = (Step.REMINDER, Step.OVERDUE, Step.WORKLIST)
MONITORING_STEPS = (Step.MONITORING_3, Step.MONITORING_12)
_CONTACT_MADE = {Outcome.SPOKEN, Outcome.ALREADY_COOPERATING}
_SIDES = 2

Planned = tuple[date, Step]


@dataclass(frozen=True, slots=True)
class Days:
    """How many working days after the match a region has each step taken."""

    remind: int
    overdue: int
    escalate: int


@dataclass(frozen=True, slots=True)
class Turn:
    """What is to be done today, and what comes next; None once all is done."""

    steps: Sequence[Step]
    following: Planned | None


@cache
def _holidays_of(year: int) -> Collection[date]:
    """The public holidays, without Good Friday: the package has it, but people work then."""
    days = country_holidays("NL", years=year, language="nl")
    return frozenset(days) - frozenset(days.get_named("Goede Vrijdag"))


def is_working_day(day: date) -> bool:
    """Monday to Friday, and no public holiday of the Netherlands."""
    return day.weekday() in MONDAY_TO_FRIDAY and day not in _holidays_of(day.year)


def working_days_after(day: date, count: int) -> date:
    """The last of so many working days that follow a day, which may be none itself."""
    while count:
        day += timedelta(days=1)
        count -= is_working_day(day)
    return day


def months_after(day: date, months: int) -> date:
    """The same day so many months later; where that month has none, the first of the next."""
    years, month = divmod(day.month - 1 + months, 12)
    try:
        return day.replace(year=day.year + years, month=month + 1)
    except ValueError:
        return date(day.year + years, month + 2, 1)


def plan(matched_on: date, days: Days) -> list[Planned]:
    """All steps on a match of that local date, in order; each is due when its day begins."""
    planned = [
        (working_days_after(matched_on, days.remind), Step.REMINDER),
        (working_days_after(matched_on, days.overdue), Step.OVERDUE),
        (working_days_after(matched_on, days.escalate), Step.WORKLIST),
        (months_after(matched_on, 3), Step.MONITORING_3),
        (months_after(matched_on, 12), Step.MONITORING_12),
    ]
    return sorted(planned, key=lambda each: each[0])


def turn(planned: Sequence[Planned], waiting: Step, today: date) -> Turn:
    """What is due of the steps from `waiting` on.

    After a standstill only the latest of the contact steps is taken, and of the monitoring.
    """
    first = [step for _, step in planned].index(waiting)
    due = [step for on, step in planned[first:] if on <= today]
    ahead = [each for each in planned[first:] if each[0] > today]
    latest = [
        [step for step in due if step in track][-1:] for track in (CONTACT_STEPS, MONITORING_STEPS)
    ]
    return Turn([step for steps in latest for step in steps], ahead[0] if ahead else None)


def is_settled(said: Collection[Outcome]) -> bool:
    """A2: somebody says that they spoke, or both have answered and one sees no shared need.

    Where both tried in vain, the follow-up officer is to hear of it.
    """
    if not _CONTACT_MADE.isdisjoint(said):
        return True
    return len(said) >= _SIDES and Outcome.NO_SHARED_NEED in said
