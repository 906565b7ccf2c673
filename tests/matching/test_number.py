import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matching import number
from matching.errors import MatchNumberError

symbols = st.text(number.ALPHABET, min_size=8, max_size=8)


def written(eight: str) -> str:
    return f"M-{eight[:4]}-{eight[4:]}-{number.check_symbol(eight)}"


def test_a6_a_number_can_be_read_over_the_phone() -> None:
    drawn = {number.draw() for _ in range(1000)}

    assert len(drawn) == 1000
    for each in drawn:
        assert re.fullmatch(
            r"M-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]", each
        )
        assert number.parse(each) == each


@given(symbols)
def test_a6_look_alikes_small_letters_and_missing_dashes_are_understood(
    eight: str,
) -> None:
    sloppy = written(eight).replace("-", "").lower().replace("0", "o").replace("1", "l")

    assert number.parse(f" {sloppy} ") == written(eight)


@given(symbols, st.integers(0, 8), st.sampled_from(number.ALPHABET))
def test_a6_one_wrong_symbol_is_caught(eight: str, place: int, wrong: str) -> None:
    nine = eight + number.check_symbol(eight)
    broken = nine[:place] + wrong + nine[place + 1 :]
    if broken != nine:
        with pytest.raises(MatchNumberError):
            number.parse(f"M-{broken[:4]}-{broken[4:8]}-{broken[8]}")


@given(symbols, st.integers(0, 7))
def test_a6_two_swapped_neighbours_are_caught(eight: str, place: int) -> None:
    nine = eight + number.check_symbol(eight)
    broken = nine[:place] + nine[place + 1] + nine[place] + nine[place + 2 :]
    if broken != nine:
        with pytest.raises(MatchNumberError):
            number.parse(f"M-{broken[:4]}-{broken[4:8]}-{broken[8]}")


@given(st.text(max_size=20))
def test_anything_else_is_no_number(text: str) -> None:
    try:
        assert number.parse(number.parse(text))
    except MatchNumberError as error:
        assert not error.args  # noqa: PT017 (the message must not repeat what was typed)
