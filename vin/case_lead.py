"""The default case lead (A3): who leads the cooperation on a match, and by which rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What the organisations of a category are to a case; most have none."""

    LOCAL_TEAM = "local_team"
    VEILIG_THUIS = "veilig_thuis"
    CERTIFIED_INSTITUTION = "certified_institution"
    MDA = "mda"
    CSG = "csg"
    ZVH = "zvh"


class Rule(StrEnum):
    """What may decide, from the first that is looked at to the last."""

    ZVH = "zvh"
    CSG = "csg"
    MDA = "mda"
    CERTIFIED_INSTITUTION = "certified_institution"
    VEILIG_THUIS = "veilig_thuis"
    LOCAL_TEAM_TAKES_PART = "local_team_takes_part"
    LOCAL_TEAM_OF_MUNICIPALITY = "local_team_of_municipality"
    NOBODY = "nobody"


# The heaviest escalation leads; Veilig Thuis hands a case over, and looks again later (A4).
_ROLES = {
    Rule.ZVH: Role.ZVH,
    Rule.CSG: Role.CSG,
    Rule.MDA: Role.MDA,
    Rule.CERTIFIED_INSTITUTION: Role.CERTIFIED_INSTITUTION,
    Rule.VEILIG_THUIS: Role.VEILIG_THUIS,
    Rule.LOCAL_TEAM_TAKES_PART: Role.LOCAL_TEAM,
}
_RULES = (*_ROLES, Rule.LOCAL_TEAM_OF_MUNICIPALITY)


@dataclass(frozen=True, slots=True)
class Party:
    """An organisation, by the name that others may see; `municipality` None: wherever."""

    name: str
    role: Role | None
    municipality: str | None


@dataclass(frozen=True, slots=True)
class CaseLead:
    """Who leads, the rule that decided, and the rules before it that did not apply."""

    name: str | None
    rule: Rule
    passed: Sequence[Rule]


def find_lead(sides: Sequence[Party], teams: Sequence[Party]) -> CaseLead:
    """Apply the rules in order; of several who fit, the first side that registered leads.

    `teams` are local teams that need not take part: one leads for its municipality anyway.
    """
    passed: list[Rule] = []
    for rule in _RULES:
        leading = _leading(rule, sides, teams)
        if leading is not None:
            return CaseLead(leading.name, rule, passed)
        passed.append(rule)
    return CaseLead(None, Rule.NOBODY, passed)


def _leading(rule: Rule, sides: Sequence[Party], teams: Sequence[Party]) -> Party | None:
    if rule in _ROLES:
        return next((side for side in sides if side.role is _ROLES[rule]), None)
    return next(
        (
            team
            for side in sides
            for team in teams
            if side.municipality is not None and team.municipality == side.municipality
        ),
        None,
    )
