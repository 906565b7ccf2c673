from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from random import Random
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matching.errors import UntokenedSignalError
from matching.model import (
    Hub,
    Kind,
    Match,
    Member,
    OrganisationId,
    Policy,
    ReporterId,
    Signal,
    SignalId,
    Status,
    Token,
)
from matching.rules import decide, find_matches, hub_since, standing_hubs, status_at
from tests.strategies import FAR, START, arrivals, uuid_of

POLICY = Policy()
MOTHER, FATHER, HOME = (Token(uuid_of(3, number)) for number in (1, 2, 3))
CHILD, SISTER = Token(uuid_of(1, 1)), Token(uuid_of(1, 2))
NAMED, OTHER_NAME = Token(uuid_of(2, 1)), Token(uuid_of(2, 2))


def signal(number: int, **changes: object) -> Signal:
    """A signal by another reporter of another organisation and match unit for each number."""
    plain = Signal(
        id=SignalId(uuid_of(7, number)),
        organisation=OrganisationId(uuid_of(5, number)),
        reporter=ReporterId(uuid_of(6, number)),
        persons=frozenset({uuid_of(9, number)}),
        match_unit=uuid_of(8, number),
        live=True,
        registered_at=START + timedelta(minutes=number),
        remove_on=FAR,
        destroy_by=FAR,
        child=CHILD,
        weak=None,
        parents=frozenset(),
        address=None,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def kind(a: Signal, b: Signal, policy: Policy = POLICY) -> Kind | None:
    forth, back = decide(a, b, policy, {}), decide(b, a, policy, {})
    assert forth == back
    return forth


def test_m1_the_same_child_matches() -> None:
    assert kind(signal(1), signal(2)) is Kind.CHILD


def test_m1_not_within_a_match_unit_nor_by_one_reporter() -> None:
    colleague = signal(2, match_unit=signal(1).match_unit)
    himself = signal(2, reporter=signal(1).reporter)

    assert kind(signal(1), colleague) is None
    assert kind(signal(1), himself) is None


def test_m8_two_match_units_of_one_organisation_match() -> None:
    local_team = signal(1)
    attendance = signal(2, organisation=local_team.organisation)

    assert kind(local_team, attendance) is Kind.CHILD


def test_m2_one_common_parent_makes_a_household() -> None:
    brother = signal(1, parents=frozenset({MOTHER, FATHER}))
    half_sister = signal(2, child=SISTER, parents=frozenset({MOTHER}))

    assert kind(brother, half_sister) is Kind.HOUSEHOLD
    assert kind(brother, half_sister, Policy(parent_rule=False)) is None


def test_m2_is_pairwise_and_never_transitive() -> None:
    a = signal(1, child=CHILD, parents=frozenset({MOTHER}))
    b = signal(2, child=SISTER, parents=frozenset({MOTHER, FATHER}))
    c = signal(3, child=Token(uuid_of(1, 3)), parents=frozenset({FATHER}))

    matches = find_matches(combinations([a, b, c], 2), POLICY, {})

    assert [(match.signal_a.id, match.signal_b.id) for match in matches] == [
        (a.id, b.id),
        (b.id, c.id),
    ]


def test_m3_blank_never_matches_blank() -> None:
    assert kind(signal(1), signal(2, child=SISTER)) is None


def test_m4_an_address_counts_only_where_the_region_switched_it_on() -> None:
    here, there = signal(1, address=HOME), signal(2, child=SISTER, address=HOME)

    assert kind(here, there) is None
    assert kind(here, there, Policy(address_rule=True)) is Kind.HOUSEHOLD


def test_m5_a_hub_needs_a_second_key_from_its_first_child_too_many_on() -> None:
    before = signal(1, parents=frozenset({MOTHER, FATHER}))
    after = signal(9, child=SISTER, parents=frozenset({MOTHER}))
    both = replace(after, parents=frozenset({MOTHER, FATHER}))
    at = {MOTHER: after.registered_at}

    assert decide(before, after, POLICY, at) is None
    assert decide(before, after, POLICY, {MOTHER: START + timedelta(hours=1)}) is Kind.HOUSEHOLD
    assert decide(before, both, POLICY, at) is Kind.HOUSEHOLD
    assert decide(before, both, POLICY, at | {FATHER: START}) is None


def test_l5_a_match_that_is_made_late_is_closed_when_a_side_is_over_by_then() -> None:
    day = START.date() + timedelta(days=2)
    match = Match(signal_a=signal(1, remove_on=day), signal_b=signal(2), kind=Kind.CHILD)

    assert status_at(match, START + timedelta(days=1)) is Status.OPEN
    assert status_at(match, START + timedelta(days=2)) is Status.CLOSED


def test_m4_an_excluded_address_never_matches_not_even_as_a_second_key() -> None:
    policy = Policy(address_rule=True, excluded=frozenset({HOME}))
    here = signal(1, parents=frozenset({MOTHER}), address=HOME)
    there = signal(2, child=SISTER, parents=frozenset({MOTHER}), address=HOME)

    assert decide(here, there, policy, {}) is Kind.HOUSEHOLD
    assert decide(here, there, policy, {MOTHER: START}) is None
    assert kind(replace(here, parents=frozenset()), there, policy) is None


def test_m5_who_got_a_hubs_key_later_came_later() -> None:
    at = START + timedelta(hours=1)
    early = signal(1, parents=frozenset({MOTHER}))
    late = signal(2, child=SISTER, parents=frozenset({MOTHER}), added={MOTHER: at})

    assert decide(early, late, POLICY, {MOTHER: at + timedelta(seconds=1)}) is Kind.HOUSEHOLD
    assert decide(early, late, POLICY, {MOTHER: at}) is None


def test_m5_a_match_that_was_made_by_a_key_is_not_undone_when_that_becomes_a_hub() -> None:
    a, b = (signal(number, parents=frozenset({MOTHER})) for number in (1, 2))
    hub = {MOTHER: Hub(since=START, recorded_at=START + timedelta(hours=1))}

    assert standing_hubs(a, b, hub, START + timedelta(minutes=30)) == {}
    assert standing_hubs(a, b, hub, START + timedelta(hours=1)) == {MOTHER: START}
    later = replace(b, added={MOTHER: START + timedelta(minutes=45)})
    assert standing_hubs(a, later, hub, START + timedelta(minutes=30)) == {MOTHER: START}


def test_m12_a_link_counts_from_when_both_have_the_key_and_only_while_both_live() -> None:
    over = signal(1, parents=frozenset({MOTHER}), remove_on=START.date() + timedelta(days=2))
    found = signal(2, child=SISTER, parents=frozenset({MOTHER}))

    for day, expected in ((1, Kind.HOUSEHOLD), (2, None)):
        added = {MOTHER: START + timedelta(days=day)}
        assert kind(over, replace(found, added=added)) is expected


def test_m5_a_child_match_is_never_capped() -> None:
    crowd = [signal(number, parents=frozenset({MOTHER})) for number in range(30)]

    matches = find_matches(combinations(crowd, 2), POLICY, {MOTHER: START})

    assert len(matches) == 30 * 29 // 2


def test_m6_a_name_gives_possible_and_never_child() -> None:
    one, other = signal(1, child=None, weak=NAMED), signal(2, child=None, weak=NAMED)
    numbered = signal(3, weak=NAMED)

    assert kind(one, other) is Kind.POSSIBLE
    assert kind(one, numbered) is Kind.POSSIBLE
    assert kind(one, signal(2, child=None, weak=OTHER_NAME)) is None


def test_m6_a_shared_parent_gives_possible_when_a_number_is_missing() -> None:
    numbered = signal(1, parents=frozenset({MOTHER}))
    named = signal(2, child=None, weak=NAMED, parents=frozenset({MOTHER}))

    assert kind(numbered, named) is Kind.POSSIBLE


def test_s02_twins_with_numbers_are_household_even_under_one_name() -> None:
    one = signal(1, weak=NAMED, parents=frozenset({MOTHER}))
    other = signal(2, child=SISTER, weak=NAMED, parents=frozenset({MOTHER}))

    assert kind(one, other) is Kind.HOUSEHOLD


def test_m7_one_person_with_two_employers_does_not_match_himself() -> None:
    shared = uuid_of(9, 99)
    one = signal(1, persons=frozenset({uuid_of(9, 1), shared}))
    other = signal(2, persons=frozenset({uuid_of(9, 2), shared}))

    assert kind(one, other) is None


@pytest.mark.parametrize("field", ["remove_on", "destroy_by"])
def test_l1_l4_a_signal_ends_at_local_midnight(field: str) -> None:
    ends = signal(1, **{field: date(2027, 7, 1)})
    minute_before = datetime(2027, 6, 30, 21, 59, tzinfo=UTC)
    minute_after = datetime(2027, 6, 30, 22, 1, tzinfo=UTC)

    assert kind(ends, signal(2, registered_at=minute_before)) is Kind.CHILD
    assert kind(ends, signal(2, registered_at=minute_after)) is None


def test_an_ended_signal_matches_nothing() -> None:
    assert kind(signal(1, live=False), signal(2)) is None


def test_a_signal_without_a_child_cannot_exist() -> None:
    with pytest.raises(UntokenedSignalError):
        signal(1, child=None, weak=None)


def member(number: int, child: int, until: date = FAR) -> Member:
    return Member(
        child=Token(uuid_of(1, child)),
        arrived_at=START + timedelta(minutes=number),
        remove_on=until,
        destroy_by=FAR,
    )


def test_m5_a_hub_starts_with_the_first_child_above_the_limit() -> None:
    twice_each = [member(number, number // 2) for number in range(10)]

    assert hub_since(twice_each, 5) is None
    assert hub_since(twice_each, 4) == twice_each[8].arrived_at


def test_m5_children_of_the_past_do_not_count() -> None:
    past = [member(number, number, until=START.date()) for number in range(5)]

    assert hub_since([*past, member(9, 9)], 5) is None


def test_m5_m11_a_child_counts_by_its_name_until_its_number_was_found() -> None:
    named, other, last = (member(number, number) for number in range(3))
    found_at = START + timedelta(minutes=9)
    twin = replace(named, child=Token(uuid_of(1, 9)), name=named.child, found_at=found_at)
    renamed = replace(other, child=Token(uuid_of(1, 9)), name=other.child, found_at=found_at)

    assert hub_since([named, other, twin], 2) == found_at
    assert hub_since([named, renamed, last], 2) == last.arrived_at


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(0, 9)), max_size=20),
    st.randoms(),
)
def test_m5_the_start_of_a_hub_does_not_depend_on_who_looks_first(
    arrived: list[tuple[int, int]], random: Random
) -> None:
    members = [member(number, child) for number, child in arrived]
    shuffled = random.sample(members, k=len(members))

    assert hub_since(shuffled, 4) == hub_since(members, 4)


def replay(order: Sequence[Signal]) -> set[tuple[UUID, UUID, Kind]]:
    """Register the signals one by one, as the service does."""
    found: set[tuple[UUID, UUID, Kind]] = set()
    for place, new in enumerate(order):
        for match in find_matches(((new, old) for old in order[:place]), POLICY, {}):
            found.add((match.signal_a.id, match.signal_b.id, match.kind))
    return found


@given(arrivals(), st.randoms())
def test_order_of_arrival_does_not_change_the_matches(order: list[Signal], random: Random) -> None:
    shuffled = random.sample(order, k=len(order))

    assert replay(shuffled) == replay(order)
