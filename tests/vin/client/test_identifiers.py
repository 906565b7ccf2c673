import json
import re
import unicodedata
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal, get_args

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.vin.crypto import reference
from vin.client import identifiers
from vin.client.identifiers import (
    Fault,
    IdentifierError,
    destroy_by,
    frame,
    normalise_address,
    normalise_bsn,
    normalise_demographic,
    normalise_test,
    remove_on,
)
from vin.crypto.oprf import hash_to_group

Form = Literal["NFC", "NFD", "NFKC", "NFKD"]

PREFIXES = [
    *("aan", "bij", "de", "den", "der", "des", "het", "in", "onder", "op", "over"),
    *(f"t{end}" for end in ("e", "en", "er")),
    *("tot", "uijt", "uit", "van", "ver", "voor", "'t", "d'", "'s-", "'s "),
    *("aan de", "bij de", "in 't", "in't", "op den", "op 't", "uit den"),
    *("van d'", "van de", "van den", "van der", "van het", "van 't"),
]
VECTORS = Path(__file__).parents[3] / "schemas" / "vectors.json"
NORMALISERS: dict[str, Callable[..., str]] = {
    "nl.bsn": normalise_bsn,
    "nl.address": normalise_address,
    "nl.demographic": normalise_demographic,
    "nl.test": normalise_test,
}

BSNS = sorted(identifiers.test_bsns())
WEIGHTS = (9, 8, 7, 6, 5, 4, 3, 2, -1)

bsns = st.sampled_from(BSNS)
capitals = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=1, max_size=12)
days = st.dates(date(1990, 1, 1), date(2100, 12, 31))
ascii_text = st.text(st.characters(max_codepoint=127), max_size=12)


def surname(text: str) -> str:
    return normalise_demographic(text, "2016-02-29", "F").removesuffix("|2016-02-29|F")


def fault_of(error: pytest.ExceptionInfo[IdentifierError]) -> Fault:
    return error.value.fault


def test_there_are_9091_test_numbers_in_a_range_that_is_never_issued() -> None:
    assert len(BSNS) == len(set(BSNS)) == 9091
    assert all(re.fullmatch("9999[0-9]{5}", bsn) for bsn in BSNS)
    assert [normalise_bsn(bsn) for bsn in BSNS] == BSNS


@given(bsn=bsns, data=st.data())
def test_spaces_dots_and_hyphens_in_a_bsn_do_not_matter(bsn: str, data: st.DataObject) -> None:
    gaps = data.draw(st.lists(st.text(" .-", max_size=2), min_size=10, max_size=10))
    spaced = gaps[9] + "".join(digit + gap for digit, gap in zip(bsn, gaps, strict=False))

    assert normalise_bsn(spaced) == bsn


@given(bsn=bsns, position=st.integers(0, 8), digit=st.sampled_from("0123456789"))
def test_one_wrong_digit_in_a_bsn_is_noticed(bsn: str, position: int, digit: str) -> None:
    assume(bsn[position] != digit)

    with pytest.raises(IdentifierError) as refusal:
        normalise_bsn(bsn[:position] + digit + bsn[position + 1 :])
    assert fault_of(refusal) is Fault.BSN_CHECK


@given(bsn=bsns, one=st.integers(0, 8), other=st.integers(0, 8))
def test_two_swapped_digits_in_a_bsn_are_noticed(bsn: str, one: int, other: int) -> None:
    assume(bsn[one] != bsn[other])
    digits = list(bsn)
    digits[one], digits[other] = digits[other], digits[one]

    with pytest.raises(IdentifierError):
        normalise_bsn("".join(digits))


@given(number=st.integers(0, 99_999_999))
def test_eight_digits_get_a_leading_zero(number: int) -> None:
    digits = f"{number:08}"
    weighted = zip(WEIGHTS[1:], map(int, digits), strict=True)
    sound = number > 0 and sum(weight * digit for weight, digit in weighted) % 11 == 0

    if sound:
        assert normalise_bsn(digits) == "0" + digits
    else:
        with pytest.raises(IdentifierError):
            normalise_bsn(digits)


@given(text=st.text(max_size=12))
def test_any_text_is_a_bsn_of_nine_ascii_digits_or_refused(text: str) -> None:
    try:
        bsn = normalise_bsn(text)
    except IdentifierError:
        return
    assert re.fullmatch("[0-9]{9}", bsn)


def test_eight_zeros_and_nine_are_no_bsn() -> None:
    for zeros in ("0" * 8, "0" * 9):
        with pytest.raises(IdentifierError):
            normalise_bsn(zeros)


def test_an_address_keeps_its_empty_parts() -> None:
    assert normalise_address("1811AB", "12") == "1811AB|12||"
    assert normalise_address("1811AB", "12", addition="bis") == "1811AB|12||BIS"


@given(
    postcode=st.from_regex("[1-9][0-9]{3}[A-Z]{2}", fullmatch=True),
    number=st.integers(1, 99999),
    letter=st.from_regex("[A-Z]?", fullmatch=True),
    addition=st.from_regex("([A-Z0-9]{1,3}(-[A-Z0-9]{1,3})?)?", fullmatch=True),
)
def test_spelling_an_address_otherwise_gives_the_same_value(
    postcode: str, number: int, letter: str, addition: str
) -> None:
    value = f"{postcode}|{number}|{letter}|{addition}"

    assert normalise_address(postcode, str(number), letter, addition) == value
    assert value == normalise_address(
        f" {postcode[:4]} {postcode[4:].lower()} ",
        f"000{number} ",
        letter.lower(),
        f"- {addition.lower()}-",
    )


@given(parts=st.tuples(ascii_text, ascii_text, ascii_text, ascii_text))
def test_an_address_has_four_parts_or_is_refused(parts: tuple[str, str, str, str]) -> None:
    try:
        value = normalise_address(*parts)
    except IdentifierError:
        return
    assert value.count("|") == 3


def test_an_inner_hyphen_tells_two_addresses_apart() -> None:
    assert normalise_address("1811AB", "3", "", "00-72") != normalise_address(
        "1811AB", "3", "", "0072"
    )


@pytest.mark.parametrize(
    ("parts", "fault"),
    [
        (("1811A", "1", "", ""), Fault.POSTCODE),
        (("1811\u0131B", "1", "", ""), Fault.POSTCODE),
        (("1811AB", "", "", ""), Fault.NUMBER),
        (("1811AB", "-1", "", ""), Fault.NUMBER),
        (("1811AB", "\u0661", "", ""), Fault.NUMBER),
        (("1811AB", "1", "1", ""), Fault.LETTER),
        (("1811AB", "1", "\u00e9", ""), Fault.LETTER),
        (("1811AB", "1", "", "a|b"), Fault.ADDITION),
        (("1811AB", "1", "", "\u00e9"), Fault.ADDITION),
    ],
)
def test_a_wrong_part_of_an_address_is_named(
    parts: tuple[str, str, str, str], fault: Fault
) -> None:
    with pytest.raises(IdentifierError) as refusal:
        normalise_address(*parts)
    assert fault_of(refusal) is fault


@given(text=st.text(max_size=30))
def test_any_surname_becomes_capitals_or_is_refused(text: str) -> None:
    try:
        capitals = surname(text)
    except IdentifierError:
        return
    assert re.fullmatch("[A-Z]+", capitals)


@given(text=st.text(max_size=30), form=st.sampled_from(get_args(Form)))
def test_the_form_of_unicode_does_not_matter(text: str, form: Form) -> None:
    other = unicodedata.normalize(form, text)

    try:
        expected = surname(text)
    except IdentifierError:
        with pytest.raises(IdentifierError):
            surname(other)
    else:
        assert surname(other) == expected


@given(name=capitals)
def test_a_normal_surname_stays_as_it_is(name: str) -> None:
    assert surname(name) == surname(name.lower()) == surname(f"  {name.title()} ") == name


@pytest.mark.parametrize("prefix", PREFIXES)
@given(name=capitals)
def test_dutch_prefixes_do_not_count(prefix: str, name: str) -> None:
    joined = prefix if prefix[-1] in "-' " else prefix + " "

    for spelling in (joined, joined.title(), joined.upper(), joined.replace("'", "\u2019")):
        assert surname(spelling + name) == name


def test_the_last_word_of_a_surname_is_no_prefix() -> None:
    assert [surname(name) for name in ("De", "Van der", "Ten", "Vandaag", "In")] == [
        "DE",
        "DER",
        "TEN",
        "VANDAAG",
        "IN",
    ]


def test_a_prefix_inside_a_surname_counts() -> None:
    assert surname("Test-van Voorbeeld") == "TESTVANVOORBEELD"


@pytest.mark.parametrize(
    ("letters", "capitals"),
    [
        ("\u00d8\u00f8\u01fe\u01ff", "OOOO"),
        ("\u0141\u0142", "LL"),
        ("\u0110\u0111", "DD"),
        ("\u00c6\u00e6\u01fc", "AEAEAE"),
        ("\u0152\u0153", "OEOE"),
        ("\u00df\u1e9e", "SSSS"),
        ("\u00de\u00fe", "THTH"),
        ("\u0131\u0130i", "III"),
        ("\u00e9\u00ef\u00f1\u010d", "EINC"),
        ("\u0132\u0133", "IJIJ"),
        ("\uff21\ufb01", "AFI"),
    ],
)
def test_letters_of_other_alphabets_of_europe_are_spelled_out(letters: str, capitals: str) -> None:
    assert surname(letters) == capitals


@given(born=days)
def test_a_real_date_is_kept(born: date) -> None:
    value = normalise_demographic("Voorbeeld", born.isoformat(), "M")

    assert value == f"VOORBEELD|{born}|M"
    assert identifiers.parse_birth_date(born.isoformat()) == born


@pytest.mark.parametrize(
    "text",
    [
        "",
        "2015-02-29",
        "2016-00-01",
        "2016-01-00",
        "0000-01-01",
        "20160229",
        "2016-W09-1",
        "2016-2-29",
        "29-02-2016",
        "2016-02-29 ",
        "2016-02-29T00:00",
        "\u0662016-02-29",
    ],
)
def test_what_is_no_date_of_the_calendar_is_refused(text: str) -> None:
    with pytest.raises(IdentifierError) as refusal:
        normalise_demographic("Voorbeeld", text, "M")
    assert fault_of(refusal) is Fault.DATE


@pytest.mark.parametrize("sex", ["", "V", "f", "FM", "male"])
def test_a_sex_of_another_letter_is_refused(sex: str) -> None:
    with pytest.raises(IdentifierError) as refusal:
        normalise_demographic("Voorbeeld", "2016-02-29", sex)
    assert fault_of(refusal) is Fault.SEX


def test_test_values_are_ascii_digits() -> None:
    assert normalise_test("0012") == "0012"
    for text in ("", " 1", "a", "\u0661"):
        with pytest.raises(IdentifierError):
            normalise_test(text)


@pytest.mark.parametrize(
    ("normaliser", "parts"),
    [
        (normalise_bsn, ("HUSH",)),
        (normalise_address, ("HUSH", "1")),
        (normalise_address, ("1811AB", "HUSH")),
        (normalise_address, ("1811AB", "1", "HUSH")),
        (normalise_address, ("1811AB", "1", "", "HUSH|")),
        (normalise_demographic, ("\u674e", "HUSH", "F")),
        (normalise_demographic, ("HUSH", "2015-02-29", "F")),
        (normalise_demographic, ("HUSH", "2016-02-29", "HUSH")),
        (normalise_test, ("HUSH",)),
        (frame, ("nl.test", "HUSH" * 2**14)),
    ],
)
def test_an_error_names_the_fault_and_never_the_value(
    normaliser: Callable[..., object], parts: tuple[str, ...]
) -> None:
    with pytest.raises(IdentifierError) as refusal:
        normaliser(*parts)
    assert refusal.value.args == (str(fault_of(refusal)),)
    assert refusal.value.__context__ is None
    assert "HUSH" not in str(refusal.value)


def test_a_frame_tells_where_kind_and_value_end() -> None:
    assert frame("ab", "c") == b"VIN-v1\0\2ab\0\1c"
    assert frame("a", "bc") != frame("ab", "c")


@given(value=st.text(max_size=50))
def test_a_frame_counts_bytes_and_not_letters(value: str) -> None:
    data = value.encode()

    assert frame("nl.test", value) == b"VIN-v1\0\7nl.test" + len(data).to_bytes(2) + data


def test_the_longest_value_is_65535_bytes() -> None:
    assert len(frame("k", "a" * 65535)) == 6 + 3 + 2 + 65535


@given(registered=days)
def test_a_signal_is_removed_on_the_same_day_two_years_later(registered: date) -> None:
    end = remove_on(registered)

    assert end.year == registered.year + 2
    if (registered.month, registered.day) == (2, 29):
        assert (end.month, end.day) == (3, 1)
    else:
        assert (end.month, end.day) == (registered.month, registered.day)


def test_leap_days_move_to_the_first_of_march() -> None:
    assert remove_on(date(2028, 2, 29)) == date(2030, 3, 1)
    assert destroy_by(date(2008, 2, 29), date(2028, 2, 29)) == date(2031, 3, 1)
    assert destroy_by(None, date(2028, 2, 29)) == date(2035, 3, 1)
    assert destroy_by(None, date(2029, 2, 28)) == date(2036, 2, 28)


@given(registered=days)
def test_under_sixteen_the_date_of_destruction_tells_nothing_of_the_birth_date(
    registered: date,
) -> None:
    for age in range(1, 16 * 365):
        if age % 97 == 0:
            born = registered - timedelta(days=age)
            assert destroy_by(born, registered) == destroy_by(None, registered)


def test_the_23rd_birthday_comes_first_from_sixteen_on() -> None:
    registered = date(2026, 11, 22)

    assert destroy_by(date(2010, 11, 23), registered) == date(2033, 11, 22)
    assert destroy_by(date(2010, 11, 21), registered) == date(2033, 11, 21)
    assert destroy_by(date(2004, 1, 31), registered) == date(2027, 1, 31)


def read_vectors(group: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(VECTORS.read_text())[group]
    return found


def normalise(kind: str, parts: dict[str, str]) -> str:
    return NORMALISERS[kind](*parts.values())


def test_the_vectors_cover_every_kind() -> None:
    for group in ("vectors", "refused"):
        assert {vector["kind"] for vector in read_vectors(group)} == NORMALISERS.keys()
    assert len(read_vectors("vectors")) >= 24


@pytest.mark.parametrize("vector", read_vectors("vectors"))
def test_a_vector_can_be_computed_from_the_file_alone(vector: dict[str, Any]) -> None:
    kind, value = vector["kind"], vector["value"]
    framed = b"VIN-v1" + reference.lp(kind.encode()) + reference.lp(value.encode())
    element = reference.Mode(1).hash_to_group(framed)

    assert vector["frame"] == framed.hex() == frame(kind, value).hex()
    assert vector["element"] == reference.encode(element).hex() == hash_to_group(framed).hex()
    assert normalise(kind, vector["input"]) == value


@pytest.mark.parametrize("vector", read_vectors("refused"))
def test_a_refused_vector_is_refused_for_its_reason(vector: dict[str, Any]) -> None:
    with pytest.raises(IdentifierError, match=re.escape(vector["why"])):
        normalise(vector["kind"], vector["input"])


def test_the_vectors_hold_no_number_that_may_be_a_persons() -> None:
    bsns = [vector["value"] for vector in read_vectors("vectors") if vector["kind"] == "nl.bsn"]

    assert all(bsn.startswith(("9999", "0000000")) for bsn in bsns)
