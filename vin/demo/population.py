"""Who is involved with which child, and what each knows when he registers it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import date
from random import Random

from vin.demo.families import make_families
from vin.demo.truth import Child, Family, Involvement, Region, Reporter, Unit

REPORTERS_PER_UNIT = 3
REPORTERS_PER_CHILD = ((1, 2, 3, 4), (35, 35, 20, 10))

COLLEAGUE_SHARE = 0.1
AGAIN_SHARE = 0.04
BY_NAME_SHARE = 0.1
TWIN_BY_NAME_SHARE = 0.5
PARENTS_KNOWN = (("all", "one", "none"), (80, 12, 8))
HOUSE_KNOWN_SHARE = 0.3
SAME_PERSON_EVERY = 10


def make_region(seed: int, families: int, units: Sequence[Unit], today: date) -> Region:
    """Make a region; the same seed, size and day give the same one."""
    random = Random(seed)  # noqa: S311 - a made-up region, no secret
    people = make_families(random, families, today)
    reporters = make_reporters(units)
    involvements = list(_involvements(random, people, reporters))
    random.shuffle(involvements)
    return Region(tuple(people), tuple(reporters), tuple(involvements))


def make_reporters(units: Sequence[Unit]) -> list[Reporter]:
    """Give each unit its reporters; two of them have a second employer.

    The index can tell by a registration number, or by an e-mail address in other case (M7).
    """
    reporters = [
        _reporter(unit, number) for unit in units for number in range(1, REPORTERS_PER_UNIT + 1)
    ]
    first = reporters[::REPORTERS_PER_UNIT]
    for one, other, by_number in ((first[0], first[1], True), (first[2], first[3], False)):
        place = reporters.index(other)
        reporters[place] = replace(
            other,
            person=one.person,
            email=other.email if by_number else one.email.upper(),
            registration_number=one.registration_number if by_number else None,
        )
    return reporters


def _reporter(unit: Unit, number: int) -> Reporter:
    place = unit.number * REPORTERS_PER_UNIT + number
    return Reporter(
        id=f"medewerker-{place}",
        person=place,
        unit=unit,
        name=f"Medewerker {place}",
        email=f"medewerker-{place}@vin-demo.test",
        registration_number=f"R-{place}",
    )


def _involvements(
    random: Random, families: Iterable[Family], reporters: Sequence[Reporter]
) -> Iterator[Involvement]:
    files = (f"D-{number:05}" for number in range(1, 100_000))
    children = [(family, child) for family in families for child in family.children]
    for place, (family, child) in enumerate(children):
        same_person = place % SAME_PERSON_EVERY == 0
        for reporter in _reporters_of(random, reporters, same_person=same_person):
            known = _knowledge(random, family, child, reporter, next(files))
            yield known
            if random.random() < AGAIN_SHARE:
                yield replace(known, reference=next(files))


def _reporters_of(
    random: Random, reporters: Sequence[Reporter], *, same_person: bool
) -> list[Reporter]:
    """Draw reporters of different units, now and then with a colleague or an employer more."""
    amounts, weights = REPORTERS_PER_CHILD
    amount = random.choices(amounts, weights)[0]
    starts = random.sample(range(0, len(reporters), REPORTERS_PER_UNIT), amount)
    drawn = [reporters[start + random.randrange(REPORTERS_PER_UNIT)] for start in starts]
    if random.random() < COLLEAGUE_SHARE:
        drawn += [each for each in reporters if each.unit == drawn[0].unit]
    if same_person:
        people = [each.person for each in reporters]
        drawn += [each for each in reporters if people.count(each.person) > 1]
    return list(dict.fromkeys(drawn))


def _knowledge(
    random: Random, family: Family, child: Child, reporter: Reporter, reference: str
) -> Involvement:
    twin = any(other != child and other.birth_date == child.birth_date for other in family.children)
    parents = {"all": child.parents, "one": child.parents[-1:], "none": ()}
    return Involvement(
        reporter=reporter,
        reference=reference,
        child=child,
        by_name=random.random() < (TWIN_BY_NAME_SHARE if twin else BY_NAME_SHARE),
        parents=parents[random.choices(*PARENTS_KNOWN)[0]],
        house=family.house if random.random() < HOUSE_KNOWN_SHARE else None,
    )
