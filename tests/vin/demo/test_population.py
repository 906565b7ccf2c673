"""The made-up region keeps to the published figures, and to numbers that nobody has."""

from collections import Counter
from datetime import date
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vin.client.identifiers import normalise_bsn, normalise_demographic
from vin.demo.families import (
    CHILDREN_SHARES,
    FIRST_HOUSE,
    MOST_FAMILIES,
    PARENT_SHARES,
    apportion,
    make_families,
    surname,
)
from vin.demo.oracle import most_children_of_one_parent
from vin.demo.population import REPORTERS_PER_UNIT, make_region
from vin.demo.truth import Unit

TODAY = date(2026, 11, 22)
HUB_LIMIT = 12
UNITS = [Unit(number, f"organisation-{number}", f"unit-{number}") for number in range(7)]

sizes = st.integers(1, 80)
few = settings(max_examples=20)  # each makes a region
seeds = st.integers(0, 10**6)


@given(count=st.integers(1, 3000), shares=st.sampled_from([CHILDREN_SHARES, PARENT_SHARES]))
def test_shares_are_kept_to_less_than_one_family(count: int, shares: tuple[float, ...]) -> None:
    counts = Counter(apportion(count, shares))

    assert counts.total() == count
    assert all(abs(counts[kind] - count * share) < 1 for kind, share in enumerate(shares))


@few
@given(seed=seeds, families=sizes)
def test_families_have_the_published_sizes_and_numbers_of_their_own(
    seed: int, families: int
) -> None:
    made = make_families(Random(seed), families, TODAY)  # noqa: S311 - made up

    sizes = Counter(min(len(family.children), 3) for family in made)
    assert [sizes[size] for size in (1, 2, 3)] == [
        apportion(families, CHILDREN_SHARES).count(kind) for kind in range(3)
    ]
    one_parent = sum(len(family.adults) == 1 for family in made)
    assert one_parent == apportion(families, PARENT_SHARES).count(0)
    children = [child.number for family in made for child in family.children]
    adults = [adult for family in made for adult in family.adults]
    assert len(children) == len(set(children))
    assert len(adults) == len(set(adults))
    for number in children + adults:
        assert number.startswith("9999")
        assert normalise_bsn(number) == number


@few
@given(seed=seeds, families=sizes)
def test_nobody_is_23_and_no_house_can_be_real(seed: int, families: int) -> None:
    for family in make_families(Random(seed), families, TODAY):  # noqa: S311 - made up
        assert all(TODAY.replace(year=2003) < child.birth_date for child in family.children)
        assert family.house >= FIRST_HOUSE


@few
@given(seed=seeds)
def test_a_region_has_half_siblings_and_twins_of_one_sex_and_of_two(seed: int) -> None:
    made = make_families(Random(seed), 40, TODAY)  # noqa: S311 - made up

    half = [f for f in made if len({child.parents for child in f.children}) > 1]
    twins = [f for f in made if len({child.birth_date for child in f.children}) < len(f.children)]
    assert half
    assert any(f.children[0].sex == f.children[1].sex for f in twins)
    assert any(f.children[0].sex != f.children[1].sex for f in twins)
    assert len({family.house for family in made}) < len(made)


@few
@given(seed=seeds, families=sizes)
def test_the_same_seed_gives_the_same_region(seed: int, families: int) -> None:
    assert make_region(seed, families, UNITS, TODAY) == make_region(seed, families, UNITS, TODAY)


@few
@given(seed=seeds, families=sizes)
def test_no_parent_becomes_a_hub(seed: int, families: int) -> None:
    region = make_region(seed, families, UNITS, TODAY)

    assert most_children_of_one_parent(region.involvements) <= HUB_LIMIT


@few
@given(seed=seeds)
def test_every_child_has_a_professional_and_most_have_several_of_different_organisations(
    seed: int,
) -> None:
    region = make_region(seed, 60, UNITS, TODAY)

    units: dict[str, set[Unit]] = {}
    for each in region.involvements:
        units.setdefault(each.child.number, set()).add(each.reporter.unit)
    assert len(units) == sum(len(family.children) for family in region.families)
    assert sum(len(of_child) > 1 for of_child in units.values()) > len(units) / 2


def test_reporters_are_nobody_and_two_of_them_have_a_second_employer() -> None:
    reporters = make_region(1, 1, UNITS, TODAY).reporters

    assert len(reporters) == len({each.id for each in reporters}) == 7 * REPORTERS_PER_UNIT
    assert all(each.name.startswith("Medewerker ") for each in reporters)
    doubles = [
        (one, other)
        for one in reporters
        for other in reporters
        if one.person == other.person and one.unit.number < other.unit.number
    ]
    assert [one.registration_number == other.registration_number for one, other in doubles] == [
        True, False
    ]  # fmt: skip
    assert [one.email.lower() == other.email.lower() for one, other in doubles] == [False, True]


def test_files_have_different_references() -> None:
    involvements = make_region(1, 100, UNITS, TODAY).involvements

    assert len({each.reference for each in involvements}) == len(involvements)


@pytest.mark.parametrize("place", [0, 9, 10, MOST_FAMILIES - 1])
def test_surnames_are_letters_that_normalising_keeps(place: int) -> None:
    normal = normalise_demographic(surname(place), "2015-03-01", "F")

    assert normal.partition("|")[0] == surname(place).upper()


def test_surnames_stay_apart() -> None:
    names = [surname(place) for place in range(MOST_FAMILIES)]

    assert len(set(names)) == len(names)
