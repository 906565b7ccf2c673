"""Normal forms of what identifies a child, a parent or an address (contract §3.1).

They are hashed, so that two spellings of one thing are two things: a difference here is a
match that is missed without anyone noticing. `schemas/vectors.json` pins them.
"""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import suppress
from datetime import date
from enum import StrEnum
from typing import Final

from vin.crypto.oprf import framed

BSN: Final = "nl.bsn"
ADDRESS: Final = "nl.address"
DEMOGRAPHIC: Final = "nl.demographic"
TEST: Final = "nl.test"

_FRAME: Final = b"VIN-v1"
_LONGEST: Final = 0xFFFF  # a length is two bytes

_BSN: Final = re.compile(r"[0-9]{8,9}")
_BSN_WEIGHTS: Final = (9, 8, 7, 6, 5, 4, 3, 2, -1)
_POSTCODE: Final = re.compile(r"[1-9][0-9]{3}[A-Za-z]{2}")
_NUMBER: Final = re.compile(r"0*([1-9][0-9]{0,4})")
_LETTER: Final = re.compile(r"[A-Za-z]?")
_ADDITION: Final = re.compile(r"(?:[A-Za-z0-9]+(?:-+[A-Za-z0-9]+)*)?")
_DATE: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DIGITS: Final = re.compile(r"[0-9]+")

_APOSTROPHES: Final = str.maketrans(dict.fromkeys("\u2018\u2019\u201b\u02bc\u2032\u00b4`", "'"))
# The letters that neither NFKD nor upper(), which knows \u00df and \u0131, brings to A-Z.
_LETTERS: Final = str.maketrans(
    {"Ø": "O", "Ł": "L", "Đ": "D", "Æ": "AE", "Œ": "OE", "ẞ": "SS", "Þ": "TH"}
)
_PREFIXES: Final = re.compile(
    r"""(?: (?: AAN|BIJ|DEN?|DER|DES|HET|IN|ONDER|OP|OVER|TEN?|TER|TOT|UIJT|UIT|VAN|VER|VOOR )
            (?: \s+ | (?=') )
          | 'T\s* | 'S[\s-]+ | D'\s* )+""",
    re.VERBOSE,
)


class Fault(StrEnum):
    """What can be wrong with an identifier."""

    BSN = "a BSN is eight or nine digits"
    BSN_CHECK = "the BSN fails the 11-test"
    POSTCODE = "a postcode is four digits, the first not 0, and two letters"
    NUMBER = "a house number is from 1 to 99999"
    LETTER = "a house letter is one letter from A to Z"
    ADDITION = "an addition is letters from A to Z, digits and inner hyphens"
    SURNAME = "a surname has a letter that becomes one from A to Z"
    DATE = "a birth date is a date of the calendar, YYYY-MM-DD"
    SEX = "sex is F, M or X"
    DIGITS = "a test value is digits"
    LENGTH = "a value is at most 65535 bytes"


class IdentifierError(ValueError):
    """Names the fault, and never repeats the identifier."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def frame(kind: str, value: str) -> bytes:
    """Give the bytes that are hashed to the group and blinded."""
    data = value.encode()
    _require(len(data) <= _LONGEST, Fault.LENGTH)
    return _FRAME + framed(kind.encode(), data)


def normalise_bsn(text: str) -> str:
    """Drop spaces, dots and hyphens; give eight digits their leading zero."""
    digits = re.sub("[ .-]", "", text)
    _require(_BSN.fullmatch(digits), Fault.BSN)
    bsn = digits.zfill(9)
    _require(_passes_11_test(bsn) and bsn.strip("0"), Fault.BSN_CHECK)
    return bsn


def _passes_11_test(digits: str) -> bool:
    weighted = zip(_BSN_WEIGHTS, map(int, digits), strict=True)
    return sum(weight * digit for weight, digit in weighted) % 11 == 0


def test_bsns() -> Iterator[str]:
    """Give the 9,091 numbers from 999900000 on that pass the 11-test; none is ever issued."""
    return filter(_passes_11_test, map(str, range(999_900_000, 1_000_000_000)))


def normalise_address(postcode: str, number: str, letter: str = "", addition: str = "") -> str:
    """Join the parts of an address as the register keeps them; empty ones stay."""
    postcode, number, letter, addition = (
        "".join(part.split()) for part in (postcode, number, letter, addition)
    )
    addition = addition.strip("-")
    _require(_POSTCODE.fullmatch(postcode), Fault.POSTCODE)
    _require(_NUMBER.fullmatch(number), Fault.NUMBER)
    _require(_LETTER.fullmatch(letter), Fault.LETTER)
    _require(_ADDITION.fullmatch(addition), Fault.ADDITION)
    return "|".join((postcode, number.lstrip("0"), letter, addition)).upper()


def normalise_demographic(birth_surname: str, birth_date: str, sex: str) -> str:
    """Join surname at birth without its Dutch prefixes, date and sex."""
    surname = _bare_surname(birth_surname)
    _require(surname, Fault.SURNAME)
    born = parse_birth_date(birth_date)
    _require(sex in {"F", "M", "X"}, Fault.SEX)
    return f"{surname}|{born.isoformat()}|{sex}"


def _bare_surname(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text.translate(_APOSTROPHES))
    unmarked = "".join(c for c in decomposed if not unicodedata.category(c).startswith("M"))
    capitals = unmarked.upper().translate(_LETTERS).strip()
    prefixes = _PREFIXES.match(capitals)
    return re.sub("[^A-Z]", "", capitals[prefixes.end() :] if prefixes else capitals)


def parse_birth_date(text: str) -> date:
    born = None
    if _DATE.fullmatch(text):
        with suppress(ValueError):  # which would repeat the date
            born = date.fromisoformat(text)
    if born is None:
        raise IdentifierError(Fault.DATE)
    return born


def normalise_test(text: str) -> str:
    """Take digits as they are; for measuring, with no person behind them."""
    _require(_DIGITS.fullmatch(text), Fault.DIGITS)
    return text


def remove_on(registered: date) -> date:
    """The date at whose start a signal ends, at the latest: the same day two years later."""
    return _years_after(registered, 2)


def destroy_by(birth_date: date | None, registered: date) -> date:
    """The 23rd birthday or seven years after registration, whichever comes first."""
    latest = _years_after(registered, 7)
    return latest if birth_date is None else min(latest, _years_after(birth_date, 23))


def _years_after(day: date, years: int) -> date:
    """Find the same day in another year; 29 February may become 1 March."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)


def _require(holds: object, fault: Fault) -> None:
    if not holds:
        raise IdentifierError(fault)
