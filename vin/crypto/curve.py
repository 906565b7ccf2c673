"""P-256 on the ECDH of `cryptography`, which tells only x: y follows from a second one.

Python's integers are not constant in time. They see scalars when a proof or an unblinding
is made, products that are about to be handed out and, in `hash_to_curve`, the message of
the caller itself; everything else happens inside ECDH.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import sha256
from itertools import accumulate
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ELEMENT_BYTES: Final = 33
ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551

_CURVE: Final = ec.SECP256R1()
_ECDH: Final = ec.ECDH()
_P: Final = 2**256 - 2**224 + 2**192 + 2**96 - 1
_A: Final = -3
_B: Final = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
_Z: Final = -10  # RFC 9380 §8.2
_B_OVER_3: Final = _B * pow(3, -1, _P) % _P
_X_OF_ZERO: Final = _B * pow(_Z * _A, -1, _P) % _P
_FIELD_BYTES: Final = 48  # RFC 9380 §5: 256 bits, and 128 more against bias

Point = ec.EllipticCurvePublicKey


class ElementError(ValueError):
    """The bytes or the sum are no element of the group, or are its identity."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Scalar:
    """A number that multiplies points; its repr shows nothing."""

    value: int
    exact: ec.EllipticCurvePrivateKey
    beside: ec.EllipticCurvePrivateKey
    step: int

    @classmethod
    def of(cls, value: int) -> Self:
        """Take a number from 1 to ORDER - 1; any other is a ValueError."""
        if not 0 < value < ORDER:
            message = "a scalar is from 1 to the order less 1"
            raise ValueError(message)
        step = 1 if value < ORDER - 1 else -1  # ORDER itself gives no x-coordinate
        exact = ec.derive_private_key(value, _CURVE)
        return cls(value, exact, ec.derive_private_key(value + step, _CURVE), step)

    def times_base(self) -> Point:
        return self.exact.public_key()

    def x_times(self, point: Point) -> bytes:
        return self.exact.exchange(_ECDH, point)

    def x_beside(self, point: Point) -> bytes:
        return self.beside.exchange(_ECDH, point)


def decode(element: bytes) -> Point:
    if len(element) != ELEMENT_BYTES or element[0] not in (2, 3):
        message = f"an element is {ELEMENT_BYTES} bytes, a compressed point"
        raise ElementError(message)
    try:
        return Point.from_encoded_point(_CURVE, element)
    except ValueError as error:
        message = "not a point of P-256"
        raise ElementError(message) from error


def encode(point: Point) -> bytes:
    return point.public_bytes(Encoding.X962, PublicFormat.CompressedPoint)


def multiply(pairs: Sequence[tuple[Scalar, Point]]) -> list[Point]:
    """Multiply each point by its scalar; one modular inversion serves all."""
    numbers = [point.public_numbers() for _, point in pairs]
    inverses = _invert(
        [2 * scalar.step * n.y for (scalar, _), n in zip(pairs, numbers, strict=True)]
    )
    return [
        _product(scalar, point, n.x, inverse)
        for (scalar, point), n, inverse in zip(pairs, numbers, inverses, strict=True)
    ]


def _product(scalar: Scalar, point: Point, x: int, inverse: int) -> Point:
    """Recover y as Okeya and Sakurai do (2001); `inverse` is 1 / (2 * step * y)."""
    x1 = int.from_bytes(scalar.x_times(point))
    x2 = int.from_bytes(scalar.x_beside(point))
    y1 = (2 * _B + (_A + x * x1) * (x + x1) - x2 * (x - x1) ** 2) * inverse
    return _point(x1, y1 % _P)


def _invert(values: Sequence[int]) -> list[int]:
    """Invert modulo P with one inversion in all (Montgomery's trick); none may be 0."""
    *products, product = accumulate(values, lambda a, b: a * b % _P, initial=1)
    rest = pow(product, -1, _P)
    inverses = []
    for value, before in zip(reversed(values), reversed(products), strict=True):
        inverses.append(rest * before % _P)
        rest = rest * value % _P
    return inverses[::-1]


def add(points: Iterable[Point]) -> Point:
    """Sum at least one point; ElementError where a partial sum is the identity."""
    numbers = (point.public_numbers() for point in points)
    return _point(*reduce(_sum, ((n.x, n.y) for n in numbers)))


def _sum(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    (x1, y1), (x2, y2) = a, b
    if x1 != x2:
        slope = (y2 - y1) * pow(x2 - x1, -1, _P)
    elif y1 == y2:
        slope = (3 * x1 * x1 + _A) * pow(2 * y1, -1, _P)
    else:
        message = "the sum is the identity"
        raise ElementError(message)
    x3 = (slope * slope - x1 - x2) % _P
    return x3, (slope * (x1 - x3) - y1) % _P


def _point(x: int, y: int) -> Point:
    return ec.EllipticCurvePublicNumbers(x, y, _CURVE).public_key()


def hash_to_scalar(message: bytes, dst: bytes) -> int:
    return _hash_to_field(message, dst, 1, ORDER)[0]


def hash_to_curve(message: bytes, dst: bytes) -> Point:
    """P256_XMD:SHA-256_SSWU_RO_ of RFC 9380."""
    return add(map_to_curve(u) for u in _hash_to_field(message, dst, 2, _P))


def _hash_to_field(message: bytes, dst: bytes, count: int, modulus: int) -> list[int]:
    data = _expand(message, dst, count * _FIELD_BYTES)
    return [
        int.from_bytes(data[start : start + _FIELD_BYTES]) % modulus
        for start in range(0, len(data), _FIELD_BYTES)
    ]


def _expand(message: bytes, dst: bytes, size: int) -> bytes:
    """Be expand_message_xmd of RFC 9380 §5.3.1."""
    tail = dst + bytes([len(dst)])
    padding = bytes(sha256().block_size)
    first = sha256(padding + message + size.to_bytes(2) + b"\0" + tail).digest()
    block = data = sha256(first + b"\1" + tail).digest()
    for number in range(2, -(-size // sha256().digest_size) + 1):
        mixed = bytes(a ^ b for a, b in zip(first, block, strict=True))
        block = sha256(mixed + bytes([number]) + tail).digest()
        data += block
    return data[:size]


def map_to_curve(u: int) -> Point:
    """Be the simplified SWU map of RFC 9380 §6.6.2; y gets the parity of u."""
    zuu = _Z * u * u % _P
    bend = (zuu * zuu + zuu) % _P
    x = (_B_OVER_3 * (1 + pow(bend, -1, _P)) if bend else _X_OF_ZERO) % _P
    prefix = bytes([2 + u % 2])
    try:
        return decode(prefix + x.to_bytes(32))
    except ElementError:
        return decode(prefix + (zuu * x % _P).to_bytes(32))
