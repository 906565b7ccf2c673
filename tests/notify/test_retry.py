from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.retry import (
    LONGEST_WAIT,
    MAIL,
    MAX_ATTEMPTS,
    WEBHOOK,
    Case,
    Outcome,
    Result,
    State,
    Verdict,
    Waits,
    judge,
)

RETRIED = [Result.DEFERRED, Result.UNREACHABLE, Result.UNANSWERED]
attempts = st.integers(min_value=1, max_value=1000)
jitters = st.floats(min_value=0, max_value=1, exclude_max=True)
tables = st.sampled_from([MAIL, WEBHOOK])
asked = st.none() | st.timedeltas(timedelta(), timedelta(days=400))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    attempt = draw(attempts)
    return Case(
        attempt=attempt,
        waits=draw(tables),
        spared=draw(st.integers(min_value=0, max_value=attempt - 1)),
        excused=draw(st.booleans()),
        in_data=draw(st.booleans()),
        hold=draw(st.booleans()),
    )


def mail(attempt: int, *, spared: int = 0, excused: bool = False) -> Case:
    return Case(attempt=attempt, waits=MAIL, spared=spared, excused=excused)


@given(case=cases(), result=st.sampled_from(Result), retry_after=asked, jitter=jitters)
def test_every_attempt_ends_in_a_known_way(
    case: Case, result: Result, retry_after: timedelta | None, jitter: float
) -> None:
    verdict = judge(case, Outcome(result, None, retry_after), jitter)

    assert verdict.state not in {State.PENDING, State.QUEUED, State.SENDING}
    assert timedelta() <= verdict.wait <= LONGEST_WAIT
    assert verdict.state is State.RETRY or not (verdict.wait or verdict.spared)
    assert not (verdict.doubtful and verdict.state is State.UNKNOWN)


@given(attempt=attempts, waits=tables, result=st.sampled_from(RETRIED), jitter=jitters)
def test_a_later_attempt_never_waits_less(
    attempt: int, waits: Waits, result: Result, jitter: float
) -> None:
    this, following = (
        judge(Case(attempt=number, waits=waits), Outcome(result), jitter)
        for number in (attempt, attempt + 1)
    )

    assert following.state is State.DEAD or following.wait >= this.wait


@given(waits=tables, result=st.sampled_from([*RETRIED, Result.LEASE_OVER]), jitter=jitters)
def test_attempts_come_to_an_end(waits: Waits, result: Result, jitter: float) -> None:
    states = [
        judge(Case(attempt=attempt, waits=waits), Outcome(result), jitter).state
        for attempt in range(1, MAX_ATTEMPTS + 1)
    ]

    assert states == sorted(states, key=[State.RETRY, State.DEAD].index)
    assert states[0] is State.RETRY
    assert states[-1] is State.DEAD


@given(case=cases(), jitter=jitters)
def test_what_was_given_back_never_dies_and_rests_as_long_as_asked(
    case: Case, jitter: float
) -> None:
    assert judge(case, Outcome(Result.RELEASED), jitter) == Verdict(State.RETRY, spared=True)
    wait = timedelta(minutes=7)
    released = Outcome(Result.RELEASED, None, wait)
    assert judge(case, released, jitter) == Verdict(State.RETRY, wait, spared=True)


@given(case=cases(), jitter=jitters)
def test_a_final_end_stays_final(case: Case, jitter: float) -> None:
    assert judge(case, Outcome(Result.SENT), jitter) == Verdict(State.SENT)
    assert judge(case, Outcome(Result.SUPPRESSED), jitter) == Verdict(State.SUPPRESSED)
    assert judge(case, Outcome(Result.REFUSED), jitter) == Verdict(State.DEAD)


@given(attempt=attempts, jitter=jitters)
def test_w3_what_nobody_is_there_for_waits_longer_each_time_and_never_dies(
    attempt: int, jitter: float
) -> None:
    this, following = (
        judge(mail(number, spared=number - 1), Outcome(Result.NOBODY), jitter)
        for number in (attempt, attempt + 1)
    )

    assert this.state is following.state is State.RETRY
    assert this.spared
    assert following.wait >= this.wait


@given(attempt=attempts, jitter=jitters)
def test_an_excused_attempt_counts_towards_no_limit(attempt: int, jitter: float) -> None:
    away = Outcome(Result.UNREACHABLE)

    assert judge(mail(attempt, excused=True), away, jitter).spared
    assert judge(mail(attempt, excused=True), away, jitter).state is State.RETRY


@given(
    spared=st.integers(min_value=0, max_value=500),
    waits=tables,
    number=st.integers(min_value=1, max_value=MAX_ATTEMPTS),
    result=st.sampled_from(RETRIED),
)
def test_only_the_attempts_that_were_not_spared_count(
    spared: int, waits: Waits, number: int, result: Result
) -> None:
    late = Case(attempt=spared + number, spared=spared, waits=waits)
    early = Case(attempt=number, waits=waits)

    assert judge(late, Outcome(result), 0.5) == judge(early, Outcome(result), 0.5)


@given(case=cases(), jitter=jitters)
def test_under_hold_what_may_have_arrived_is_never_sent_again(case: Case, jitter: float) -> None:
    case = replace(case, hold=True)

    assert judge(case, Outcome(Result.UNANSWERED), jitter) == Verdict(State.UNKNOWN)
    lost = judge(replace(case, in_data=True), Outcome(Result.LEASE_OVER), jitter)
    assert lost == Verdict(State.UNKNOWN)


@given(case=cases(), jitter=jitters)
def test_under_resend_what_may_have_arrived_is_flagged(case: Case, jitter: float) -> None:
    case = replace(case, hold=False)

    assert judge(case, Outcome(Result.UNANSWERED), jitter).doubtful
    assert judge(replace(case, in_data=True), Outcome(Result.LEASE_OVER), jitter).doubtful
    before = replace(case, in_data=False)
    assert not judge(before, Outcome(Result.LEASE_OVER), jitter).doubtful
    assert not judge(before, Outcome(Result.DEFERRED), jitter).doubtful


@pytest.mark.parametrize(
    ("asked_for", "waited"),
    [
        (timedelta(seconds=1), timedelta(seconds=2.5)),
        (timedelta(hours=3), timedelta(hours=3)),
        (timedelta(days=9), timedelta(hours=24)),
    ],
)
def test_a_server_that_asks_for_longer_gets_it_up_to_a_day(
    asked_for: timedelta, waited: timedelta
) -> None:
    outcome = Outcome(Result.DEFERRED, 429, asked_for)

    assert judge(Case(attempt=1, waits=WEBHOOK), outcome, 0.5).wait == waited


def test_a_fault_is_tried_again_in_seconds_and_a_deferral_in_minutes() -> None:
    assert judge(mail(1), Outcome(Result.UNREACHABLE), 0.5).wait == timedelta(seconds=5)
    assert judge(mail(1), Outcome(Result.DEFERRED), 0.5).wait == timedelta(minutes=2.5)
    called = Case(attempt=1, waits=WEBHOOK)
    assert judge(called, Outcome(Result.UNREACHABLE), 0.5).wait == timedelta(seconds=2.5)


def test_a_crash_is_tried_again_at_once() -> None:
    assert judge(mail(1), Outcome(Result.LEASE_OVER), 0.5) == Verdict(State.RETRY)


@pytest.mark.parametrize("waits", [MAIL, WEBHOOK])
def test_trying_goes_on_for_days(waits: Waits) -> None:
    for result in RETRIED:
        total = sum(waits[result], timedelta()) * 0.5

        assert total > timedelta(days=1.5)
