from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.breaker import (
    FAILURES,
    LONGEST_REST_SECONDS,
    REST_SECONDS,
    TRIAL_SECONDS,
    Breaker,
)
from notify.ledger import Channel, Peer
from notify.retry import Result

HOOK = UUID(int=1)
FAILED = [Result.UNREACHABLE, Result.UNANSWERED]
ANSWERED = [Result.SENT, Result.REFUSED, Result.DEFERRED]
SILENT = [Result.RELEASED, Result.SUPPRESSED, Result.NOBODY]


def opened(peer: Peer = Channel.MAIL, at: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.note(peer, Result.UNREACHABLE, at)
    return breaker


def rest_after(breaker: Breaker, failures: int) -> list[float]:
    """How long each of so many failed trials makes it rest."""
    rests, now = [], 0.0
    for _ in range(failures):
        while breaker.resting(now):
            now += 1
        began = now
        breaker.note(Channel.MAIL, Result.UNREACHABLE, now)
        while breaker.resting(now):
            now += 1
        rests.append(now - began)
    return rests


@pytest.mark.parametrize("result", FAILED)
def test_it_opens_at_the_fifth_failure_in_a_row(result: Result) -> None:
    breaker = Breaker()

    assert [breaker.note(Channel.MAIL, result, 0.0) for _ in range(FAILURES)] == [
        *[False] * (FAILURES - 1),
        True,
    ]
    assert breaker.resting(0.0) == breaker.open() == [Channel.MAIL]


@pytest.mark.parametrize("result", ANSWERED)
def test_any_answer_closes_it(result: Result) -> None:
    breaker = opened()

    assert not breaker.note(Channel.MAIL, result, 1.0)
    assert not breaker.open()
    assert not breaker.note(Channel.MAIL, Result.UNREACHABLE, 2.0)


@pytest.mark.parametrize("result", SILENT)
def test_what_says_nothing_of_the_server_changes_nothing(result: Result) -> None:
    breaker = opened()

    assert not breaker.note(Channel.MAIL, result, 1.0)
    assert breaker.resting(1.0) == [Channel.MAIL]


def test_each_failed_trial_doubles_the_rest_up_to_five_minutes() -> None:
    breaker = opened()

    assert rest_after(breaker, 8) == [20, 40, 80, 160, *[LONGEST_REST_SECONDS] * 4]


def test_failures_that_were_under_way_when_it_opened_do_not_lengthen_the_rest() -> None:
    breaker = opened()

    assert breaker.note(Channel.MAIL, Result.UNREACHABLE, 1.0)
    assert not breaker.resting(REST_SECONDS)


def test_after_its_rest_it_is_due_for_one_trial_until_that_is_told_or_forgotten() -> None:
    breaker = opened()

    assert not breaker.due(REST_SECONDS - 1)
    assert breaker.due(REST_SECONDS) == [Channel.MAIL]
    breaker.try_out(Channel.MAIL, REST_SECONDS)
    assert not breaker.due(REST_SECONDS + 1)
    assert breaker.due(REST_SECONDS + TRIAL_SECONDS) == [Channel.MAIL]
    assert breaker.open() == [Channel.MAIL]


def test_peers_do_not_know_each_other() -> None:
    breaker = opened(HOOK)

    assert breaker.open() == [HOOK]
    breaker.note(Channel.MAIL, Result.SENT, 1.0)
    assert breaker.resting(1.0) == [HOOK]


@given(
    ends=st.lists(
        st.tuples(st.sampled_from(Result), st.floats(min_value=0, max_value=600)), max_size=60
    )
)
def test_it_never_rests_longer_than_five_minutes_and_opens_for_failures_alone(
    ends: list[tuple[Result, float]],
) -> None:
    breaker, now = Breaker(), 0.0
    for result, passed in ends:
        now += passed
        if breaker.note(HOOK, result, now):
            assert result in FAILED
            assert breaker.open() == [HOOK]

    assert not breaker.resting(now + LONGEST_REST_SECONDS)
