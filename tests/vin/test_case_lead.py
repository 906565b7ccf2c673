"""A3: who leads a case by default, and by which rule."""

import typing
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vin.case_lead import Party, Role, Rule, find_lead
from vin.region import CaseRole

SCHOOL = Party("School", None, "GM0361")
DOCTOR = Party("Doctor", None, "GM0405")
POLICE = Party("Police", None, None)
TEAM = Party("Team of Alkmaar", Role.LOCAL_TEAM, "GM0361")
OTHER_TEAM = Party("Team of Hoorn", Role.LOCAL_TEAM, "GM0405")
SAFE_HOME = Party("Veilig Thuis", Role.VEILIG_THUIS, None)
TEAMS = [TEAM, OTHER_TEAM]
# The heaviest first.
ESCALATED = [
    Role.ZVH,
    Role.CSG,
    Role.MDA,
    Role.CERTIFIED_INSTITUTION,
    Role.VEILIG_THUIS,
]


def test_a3_the_local_team_of_the_municipality_leads_though_it_takes_no_part() -> None:
    lead = find_lead([SCHOOL, POLICE], TEAMS)

    assert (lead.name, lead.rule) == ("Team of Alkmaar", Rule.LOCAL_TEAM_OF_MUNICIPALITY)
    assert list(lead.passed) == [
        Rule.ZVH,
        Rule.CSG,
        Rule.MDA,
        Rule.CERTIFIED_INSTITUTION,
        Rule.VEILIG_THUIS,
        Rule.LOCAL_TEAM_TAKES_PART,
    ]


def test_a3_a_local_team_that_takes_part_leads_wherever_the_other_is() -> None:
    lead = find_lead([DOCTOR, TEAM], TEAMS)

    assert (lead.name, lead.rule) == ("Team of Alkmaar", Rule.LOCAL_TEAM_TAKES_PART)


@pytest.mark.parametrize("role", ESCALATED)
def test_a3_who_is_escalated_to_leads_instead(role: Role) -> None:
    escalated = Party("Escalated", role, None)

    for sides in permutations([TEAM, escalated]):
        lead = find_lead(sides, TEAMS)
        assert (lead.name, lead.rule.value) == ("Escalated", role.value)


@given(st.lists(st.sampled_from(ESCALATED), min_size=2, max_size=2, unique=True))
def test_a3_of_two_escalations_the_heavier_leads(roles: list[Role]) -> None:
    lead = find_lead([Party(role, role, None) for role in roles], TEAMS)

    assert lead.name == min(roles, key=ESCALATED.index)


def test_a3_of_two_municipalities_the_one_that_registered_first_decides() -> None:
    assert find_lead([DOCTOR, SCHOOL], TEAMS).name == "Team of Hoorn"
    assert find_lead([SCHOOL, DOCTOR], TEAMS).name == "Team of Alkmaar"
    assert find_lead([POLICE, DOCTOR], TEAMS).name == "Team of Hoorn"
    assert find_lead([OTHER_TEAM, TEAM], TEAMS).name == "Team of Hoorn"


def test_a3_without_a_place_or_a_team_nobody_leads_and_that_is_said() -> None:
    for lead in (find_lead([POLICE, POLICE], TEAMS), find_lead([SCHOOL, DOCTOR], [])):
        assert (lead.name, lead.rule) == (None, Rule.NOBODY)
        assert Rule.LOCAL_TEAM_OF_MUNICIPALITY in lead.passed


def test_a3_the_region_file_knows_the_roles() -> None:
    assert set(typing.get_args(CaseRole)) == {role.value for role in Role}


@given(st.lists(st.sampled_from([SCHOOL, DOCTOR, POLICE, *TEAMS, SAFE_HOME]), min_size=2))
def test_a3_the_trace_ends_with_the_rule_that_decided(sides: list[Party]) -> None:
    lead = find_lead(sides, TEAMS)

    rules = list(Rule)
    assert list(lead.passed) == rules[: rules.index(lead.rule)]
