from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from notify.retry import MAX_ATTEMPTS, Result, State, Verdict, judge

RETRIED = [Result.DEFERRED, Result.UNREACHABLE, Result.UNANSWERED]
attempts = st.integers(min_value=1, max_value=1000)
jitters = st.floats(min_value=0, max_value=1, exclude_max=True)


@given(attempt=attempts, result=st.sampled_from(Result), jitter=jitters)
def test_every_attempt_ends_in_a_known_way(attempt: int, result: Result, jitter: float) -> None:
    verdict = judge(attempt, result, jitter)

    assert verdict.state in {State.SENT, State.SUPPRESSED, State.RETRY, State.DEAD}
    assert timedelta() <= verdict.wait <= timedelta(hours=24)
    assert verdict.state is State.RETRY or not verdict.wait


@given(attempt=attempts, result=st.sampled_from(RETRIED), jitter=jitters)
def test_a_later_attempt_never_waits_less(attempt: int, result: Result, jitter: float) -> None:
    this, following = judge(attempt, result, jitter), judge(attempt + 1, result, jitter)

    assert following.state is State.DEAD or following.wait >= this.wait


@given(result=st.sampled_from([*RETRIED, Result.LEASE_OVER]), jitter=jitters)
def test_attempts_come_to_an_end(result: Result, jitter: float) -> None:
    states = [judge(attempt, result, jitter).state for attempt in range(1, MAX_ATTEMPTS + 1)]

    assert states == sorted(states, key=[State.RETRY, State.DEAD].index)
    assert states[0] is State.RETRY
    assert states[-1] is State.DEAD


@given(attempt=attempts, jitter=jitters)
def test_what_was_given_back_is_due_at_once_and_never_dies(attempt: int, jitter: float) -> None:
    assert judge(attempt, Result.RELEASED, jitter) == Verdict(State.RETRY)


@given(attempt=attempts, jitter=jitters)
def test_a_final_end_stays_final(attempt: int, jitter: float) -> None:
    assert judge(attempt, Result.SENT, jitter) == Verdict(State.SENT)
    assert judge(attempt, Result.SUPPRESSED, jitter) == Verdict(State.SUPPRESSED)
    assert judge(attempt, Result.REFUSED, jitter) == Verdict(State.DEAD)


@given(attempt=attempts, jitter=jitters)
def test_w3_what_nobody_is_there_for_waits_longer_each_time_and_never_dies(
    attempt: int, jitter: float
) -> None:
    this, following = (judge(number, Result.NOBODY, jitter) for number in (attempt, attempt + 1))

    assert this.state is following.state is State.RETRY
    assert following.wait >= this.wait


def test_a_fault_is_tried_again_in_seconds_and_a_deferral_in_minutes() -> None:
    assert judge(1, Result.UNREACHABLE, 0.5).wait == timedelta(seconds=5)
    assert judge(1, Result.DEFERRED, 0.5).wait == timedelta(minutes=2.5)


def test_trying_goes_on_for_days() -> None:
    for result in RETRIED:
        waits = [judge(attempt, result, 0.5).wait for attempt in range(1, MAX_ATTEMPTS)]

        assert sum(waits, timedelta()) > timedelta(days=1.5)
