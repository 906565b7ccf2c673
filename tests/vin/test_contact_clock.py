"""A2, A4: the days on which steps are due, and which of them are taken."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vin.contact_clock import (
    CONTACT_STEPS,
    MONITORING_STEPS,
    Days,
    Outcome,
    Step,
    is_settled,
    is_working_day,
    months_after,
    plan,
    turn,
    working_days_after,
)

USUAL = Days(3, 5, 10)
DAY = timedelta(days=1)
days = st.dates(date(2020, 1, 1), date(2080, 12, 31))


@pytest.mark.parametrize(
    ("day", "count", "expected"),
    [
        (date(2026, 11, 23), 3, date(2026, 11, 26)),  # Monday to Thursday
        (date(2026, 11, 20), 3, date(2026, 11, 25)),  # over a weekend
        (date(2026, 11, 22), 1, date(2026, 11, 23)),  # a match on a Sunday
        (date(2026, 12, 24), 1, date(2026, 12, 28)),  # Christmas, then a weekend
        (date(2026, 12, 30), 3, date(2027, 1, 5)),  # New Year's Day
        (date(2026, 4, 24), 1, date(2026, 4, 28)),  # King's Day on a Monday
        (date(2026, 5, 13), 2, date(2026, 5, 18)),  # Ascension Day
        (date(2026, 4, 2), 1, date(2026, 4, 3)),  # Good Friday is none of them
        (date(2026, 4, 3), 1, date(2026, 4, 7)),  # Easter Monday
        (date(2026, 5, 4), 1, date(2026, 5, 5)),  # Liberation Day counts every five years
        (date(2025, 5, 2), 1, date(2025, 5, 6)),
    ],
)
def test_a2_working_days_pass_over_weekends_and_dutch_holidays(
    day: date, count: int, expected: date
) -> None:
    assert working_days_after(day, count) == expected


@given(days, st.integers(1, 30))
def test_a2_so_many_working_days_lie_between(day: date, count: int) -> None:
    last = working_days_after(day, count)

    between = [day + n * DAY for n in range(1, (last - day).days + 1)]
    assert is_working_day(last)
    assert sum(map(is_working_day, between)) == count
    assert all(each.weekday() < 5 for each in between if is_working_day(each))


@pytest.mark.parametrize(
    ("day", "months", "expected"),
    [
        (date(2026, 11, 22), 3, date(2027, 2, 22)),
        (date(2026, 11, 30), 3, date(2027, 3, 1)),
        (date(2027, 11, 30), 3, date(2028, 3, 1)),
        (date(2028, 2, 29), 12, date(2029, 3, 1)),
        (date(2026, 10, 31), 1, date(2026, 12, 1)),
        (date(2026, 12, 31), 12, date(2027, 12, 31)),
    ],
)
def test_a4_months_are_whole_even_where_a_month_is_short(
    day: date, months: int, expected: date
) -> None:
    assert months_after(day, months) == expected


@given(days)
def test_a2_a4_steps_come_in_order(matched_on: date) -> None:
    planned = plan(matched_on, USUAL)

    assert [step for _, step in planned] == list(Step)
    assert [on for on, _ in planned] == sorted({on for on, _ in planned})
    assert planned[0][0] > matched_on


@given(days, st.lists(st.integers(0, 45), max_size=30))
def test_a2_a4_looked_at_on_any_days_no_step_is_taken_twice_or_before_its_day(
    matched_on: date, gaps: list[int]
) -> None:
    planned = plan(matched_on, USUAL)
    taken: list[Step] = []
    following, today = planned[0], matched_on
    for gap in gaps:
        today += gap * DAY
        if following[0] > today:
            continue
        found = turn(planned, following[1], today)
        assert all(on <= today for on, step in planned if step in found.steps)
        taken += found.steps
        if found.following is None:
            break
        following = found.following
    assert len(set(taken)) == len(taken)
    past = [step for on, step in planned if on <= today]
    for track in (CONTACT_STEPS, MONITORING_STEPS):
        assert [s for s in taken if s in track][-1:] == [s for s in past if s in track][-1:]


def test_a2_after_a_standstill_only_the_latest_step_is_taken() -> None:
    planned = plan(date(2026, 11, 23), USUAL)

    late = turn(planned, Step.REMINDER, planned[2][0])
    very_late = turn(planned, Step.REMINDER, date(2027, 3, 23))
    too_late = turn(planned, Step.OVERDUE, date(2028, 3, 23))

    assert (late.steps, late.following) == ([Step.WORKLIST], planned[3])
    assert (very_late.steps, very_late.following) == (
        [Step.WORKLIST, Step.MONITORING_3],
        planned[4],
    )
    assert (too_late.steps, too_late.following) == ([Step.WORKLIST, Step.MONITORING_12], None)


def test_a2_other_days_of_the_region_put_a_step_off() -> None:
    before = plan(date(2026, 11, 23), USUAL)
    after = plan(date(2026, 11, 23), Days(5, 6, 10))

    early = turn(after, Step.REMINDER, before[0][0])

    assert (early.steps, early.following) == ([], after[0])


@pytest.mark.parametrize(
    ("said", "settled"),
    [
        ([], False),
        ([Outcome.NOT_REACHABLE], False),
        ([Outcome.NO_SHARED_NEED], False),
        ([Outcome.SPOKEN], True),
        ([Outcome.ALREADY_COOPERATING], True),
        ([Outcome.NOT_REACHABLE, Outcome.SPOKEN], True),
        ([Outcome.NOT_REACHABLE, Outcome.NO_SHARED_NEED], True),
        ([Outcome.NOT_REACHABLE, Outcome.NOT_REACHABLE], False),
    ],
)
def test_a2_the_clock_stops_once_somebody_spoke_or_both_answered_and_one_sees_no_need(
    said: list[Outcome], *, settled: bool
) -> None:
    assert is_settled(said) is settled
