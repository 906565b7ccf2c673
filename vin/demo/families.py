"""Families in the published proportions, with more twins and half-siblings than there are.

Numbers are from the range that was never issued, surnames are words, and no house has
such a number.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import cache
from itertools import islice
from random import Random

from vin.client.identifiers import test_bsns
from vin.demo.truth import Child, Family

# Households with children in the Netherlands, 2024 (Statistics Netherlands).
CHILDREN_SHARES = (0.438, 0.406, 0.156)
PARENT_SHARES = (0.233, 0.767)
LARGE = (3, 3, 3, 4, 5)

MOST_FAMILIES = 2000
SEX_WEIGHTS = (49, 49, 2)
FIRST_HOUSE = 50_001
YOUNGEST_DAYS = 14 * 365
GAP_DAYS = (400, 800)

COLOURS = ("Amber", "Beige", "Cyaan", "Geel", "Indigo", "Koraal", "Lila", "Magenta", "Oker", "Roze")
DIGITS = ("nul", "een", "twee", "drie", "vier", "vijf", "zes", "zeven", "acht", "negen")


def make_families(random: Random, count: int, today: date) -> list[Family]:
    """Make so many families; the same random state gives the same ones."""
    sizes = [_size(random, kind) for kind in apportion(count, CHILDREN_SHARES)]
    couples = [1 + kind for kind in apportion(count, PARENT_SHARES)]
    random.shuffle(sizes)
    random.shuffle(couples)
    child_numbers = iter(random.sample(_numbers(), sum(sizes)))
    adult_numbers = iter(random.sample(_numbers(), sum(couples)))
    families = []
    for place, (size, couple) in enumerate(zip(sizes, couples, strict=True)):
        adults = tuple(islice(adult_numbers, couple))
        children = tuple(
            Child(
                number=number,
                surname=surname(place),
                birth_date=birth_date,
                sex=random.choices("FMX", SEX_WEIGHTS)[0],
                parents=adults,
            )
            for number, birth_date in zip(
                islice(child_numbers, size), _births(random, size, today), strict=True
            )
        )
        families.append(Family(children=children, adults=adults, house=FIRST_HOUSE + place))
    return _with_special_cases(families)


def apportion(count: int, shares: Sequence[float]) -> list[int]:
    """Give `count` things a kind each, as near to the shares as whole numbers come."""
    exact = [count * share for share in shares]
    counts = [int(each) for each in exact]
    by_remainder = sorted(range(len(shares)), key=lambda kind: counts[kind] - exact[kind])
    for kind in by_remainder[: count - sum(counts)]:
        counts[kind] += 1
    return [kind for kind, times in enumerate(counts) for _ in range(times)]


def surname(place: int) -> str:
    """Make a different surname for each family, in letters only: those alone are compared."""
    number, colour = divmod(place, len(COLOURS))
    return COLOURS[colour] + "".join(DIGITS[int(digit)] for digit in str(number))


@cache
def _numbers() -> tuple[str, ...]:
    return tuple(test_bsns())


def _size(random: Random, kind: int) -> int:
    return kind + 1 if kind + 1 < len(CHILDREN_SHARES) else random.choice(LARGE)


def _births(random: Random, size: int, today: date) -> Iterator[date]:
    """Give birth dates from the youngest on; nobody is 23."""
    age = random.randint(1, YOUNGEST_DAYS)
    for _ in range(size):
        yield today - timedelta(days=age)
        age += random.randint(*GAP_DAYS)


def _with_special_cases(families: Sequence[Family]) -> list[Family]:
    """Turn some families with several children into those that are hard to get right."""
    special = list(families)
    several = [place for place, family in enumerate(families) if len(family.children) > 1]
    for rank, place in enumerate(several):
        family, neighbour = families[place], families[place - 1]
        match rank % 6:
            case 0:
                special[place] = _with_half_sibling(family, neighbour)
            case 2:
                special[place] = _with_twins(family, same_sex=True)
            case 4:
                special[place] = _with_twins(family, same_sex=False)
            case 5:
                special[place] = replace(family, house=neighbour.house)
            case _:
                pass
    return special


def _with_half_sibling(family: Family, neighbour: Family) -> Family:
    """Let the eldest be of an earlier couple, whose other half lives in another family now."""
    *others, eldest = family.children
    couple = tuple(dict.fromkeys((family.adults[0], neighbour.adults[-1])))
    return replace(family, children=(*others, replace(eldest, parents=couple)))


def _with_twins(family: Family, *, same_sex: bool) -> Family:
    one, other, *others = family.children
    twins = (
        replace(one, sex="F"),
        replace(other, sex="F" if same_sex else "M", birth_date=one.birth_date),
    )
    return replace(family, children=(*twins, *others))
