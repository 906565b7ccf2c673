"""The count of what should match, rule by rule."""

import ast
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from vin.demo import oracle
from vin.demo.oracle import expected_matches, kind_of, signal_key
from vin.demo.truth import Child, Involvement, Reporter, Unit


def reporter(number: int, unit: int, person: int | None = None) -> Reporter:
    return Reporter(
        id=f"medewerker-{number}",
        person=person or number,
        unit=Unit(unit, f"organisation-{unit}", f"unit-{unit}"),
        name=f"Medewerker {number}",
        email=f"medewerker-{number}@vin-demo.test",
        registration_number=None,
    )


def child(number: str, *parents: str, sex: str = "F") -> Child:
    return Child(
        number=number,
        surname="Indigoeen",
        birth_date=date(2015, 3, 1),
        sex=sex,
        parents=parents,
    )


def involved(who: Reporter, whom: Child, *, by_name: bool = False) -> Involvement:
    return Involvement(
        reporter=who,
        reference=f"D-{who.id}-{whom.number}",
        child=whom,
        by_name=by_name,
        parents=whom.parents,
        house=1,
    )


ONE, COLLEAGUE, OTHER, SAME_PERSON = (
    reporter(1, 1),
    reporter(2, 1),
    reporter(3, 2),
    reporter(4, 3, 1),
)
A = child("a", "mother", "father")
SIBLING = child("b", "mother", sex="M")
TWIN = child("c", "mother", "father")
STRANGER = child("d", "elsewhere", sex="X")
ORPHAN, OTHER_ORPHAN = child("e", sex="M"), child("f", sex="X")


@pytest.mark.parametrize(
    ("one", "other", "kind"),
    [
        (involved(ONE, A), involved(OTHER, A), "child"),
        (involved(ONE, A), involved(OTHER, SIBLING), "household"),
        (involved(ONE, A), involved(OTHER, TWIN), "household"),
        (involved(ONE, A), involved(OTHER, STRANGER), None),
        (involved(ONE, ORPHAN), involved(OTHER, OTHER_ORPHAN), None),
        (involved(ONE, A), involved(COLLEAGUE, A), None),
        (involved(ONE, A), involved(SAME_PERSON, A), None),
        (involved(ONE, A, by_name=True), involved(OTHER, A), "possible"),
        (involved(ONE, A, by_name=True), involved(OTHER, SIBLING), "possible"),
        (involved(ONE, A, by_name=True), involved(OTHER, TWIN, by_name=True), "possible"),
        (involved(ONE, ORPHAN, by_name=True), involved(OTHER, ORPHAN, by_name=True), "possible"),
        (involved(ONE, ORPHAN, by_name=True), involved(OTHER, ORPHAN), None),
        (involved(ONE, A, by_name=True), involved(OTHER, STRANGER, by_name=True), None),
        (involved(ONE, A, by_name=True), involved(ONE, TWIN, by_name=True), None),
    ],
)
def test_two_signals_match_as_the_rules_say(
    one: Involvement, other: Involvement, kind: str | None
) -> None:
    assert kind_of(one, other) == kind_of(other, one) == kind


def test_matches_are_pairwise_and_not_passed_on() -> None:
    by_mother, both, by_father = (
        child("x", "m"),
        child("y", "m", "f", sex="M"),
        child("z", "f", sex="X"),
    )
    involvements = [
        involved(reporter(n, n), each) for n, each in enumerate((by_mother, both, by_father))
    ]

    pairs = expected_matches(involvements)

    assert set(pairs.values()) == {"household"}
    assert {frozenset(key[1] for key in pair) for pair in pairs} == {
        frozenset("xy"), frozenset("yz")
    }  # fmt: skip


def test_registering_again_is_one_signal_by_number_and_two_by_name() -> None:
    again = replace(involved(ONE, A), reference="D-2")
    by_name = involved(ONE, A, by_name=True)

    assert signal_key(involved(ONE, A)) == signal_key(again)
    assert signal_key(by_name) != signal_key(replace(by_name, reference="D-2"))
    assert len(expected_matches([involved(ONE, A), again, involved(OTHER, A)])) == 1


def test_the_oracle_shares_nothing_with_the_matcher() -> None:
    source = ast.parse(Path(oracle.__file__).read_text())
    imported = {node.module for node in ast.walk(source) if isinstance(node, ast.ImportFrom)}

    assert imported == {"collections.abc", "itertools", "vin.demo.truth"}
