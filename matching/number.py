"""Match numbers (A6): `M-7KQ4-9XWD-2`, to be read over the phone and not to be guessed.

Eight random symbols of Crockford's base 32 and a check symbol over the field GF(2^5),
which catches every single wrong symbol and every swap of two neighbours.
"""

import re
import secrets

from matching.errors import MatchNumberError

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LOOK_ALIKES = str.maketrans("OIL", "011")
SHAPE = re.compile(rf"M-?([{ALPHABET}]{{4}})-?([{ALPHABET}]{{4}})-?([{ALPHABET}])")
REDUCTION = 0b100101  # x^5 + x^2 + 1, irreducible over GF(2)


def draw() -> str:
    """A new number with 40 random bits."""
    symbols = "".join(secrets.choice(ALPHABET) for _ in range(8))
    return f"M-{symbols[:4]}-{symbols[4:]}-{check_symbol(symbols)}"


def parse(text: str) -> str:
    """The canonical form of a number as people write it; MatchNumberError when it cannot be one."""
    shape = SHAPE.fullmatch(text.strip().upper().translate(LOOK_ALIKES))
    if shape is None or check_symbol(shape[1] + shape[2]) != shape[3]:
        raise MatchNumberError
    return f"M-{shape[1]}-{shape[2]}-{shape[3]}"


def check_symbol(symbols: str) -> str:
    """The symbol that makes the whole a multiple of x in GF(2^5), position by position."""
    remainder = 0
    for symbol in symbols:
        remainder = times_x(remainder ^ ALPHABET.index(symbol))
    return ALPHABET[remainder]


def times_x(value: int) -> int:
    """Multiply by x in GF(2^5)."""
    value <<= 1
    return value ^ REDUCTION if value & 0b100000 else value
