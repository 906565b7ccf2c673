"""RFC 9497 VOPRF (mode 1, suite P256-SHA256), without Finalize.

Finalize would hash the message in again. What is kept instead is the group element, since
that alone can be given another key later.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final, Self

from vin.crypto import curve
from vin.crypto.curve import ELEMENT_BYTES, ORDER, ElementError, Point, Scalar

__all__ = [
    "ELEMENT_BYTES",
    "ORDER",
    "PROOF_BYTES",
    "ElementError",
    "Key",
    "ProofError",
    "SelfTestError",
    "blind",
    "check_element",
    "framed",
    "hash_to_group",
    "multiply",
    "multiply_all",
    "multiply_x",
    "prove",
    "self_test",
    "unblind",
    "verify",
]

PROOF_BYTES: Final = 64

_CONTEXT: Final = b"OPRFV1-\x01-P256-SHA256"
_SCALAR_BYTES: Final = 32


class ProofError(ValueError):
    """The proof does not show that one key, the expected one, made all the elements."""


class SelfTestError(Exception):
    """What RFC 9497 says is not what is computed here; nothing may be served."""


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Key:
    """A secret key of one domain and epoch; its repr shows nothing."""

    scalar: Scalar
    public_key: bytes

    @classmethod
    def from_scalar(cls, value: int) -> Self:
        scalar = Scalar.of(value)
        return cls(scalar, curve.encode(scalar.times_base()))

    @classmethod
    def from_seed(cls, seed: bytes, info: bytes) -> Self:
        """Derive a key (RFC 9497 §3.2.1); the seed is 32 random bytes."""
        material = seed + framed(info)
        candidates = (
            curve.hash_to_scalar(material + bytes([count]), b"DeriveKeyPair" + _CONTEXT)
            for count in range(256)
        )
        return cls.from_scalar(next(filter(None, candidates)))


def hash_to_group(message: bytes) -> bytes:
    return curve.encode(_hash(message))


def _hash(message: bytes) -> Point:
    return curve.hash_to_curve(message, b"HashToGroup-" + _CONTEXT)


def check_element(element: bytes) -> None:
    """Raise ElementError unless the bytes are a compressed point."""
    curve.decode(element)


def blind(message: bytes, scalar: int | None = None) -> tuple[int, bytes]:
    """Hide a message; the number unblinds, and must never leave this side."""
    value = _random_scalar() if scalar is None else scalar
    [blinded] = curve.multiply([(Scalar.of(value), _hash(message))])
    return value, curve.encode(blinded)


def unblind(scalar: int, evaluated: bytes) -> bytes:
    return multiply(Key.from_scalar(pow(scalar, -1, ORDER)), evaluated)


def multiply(key: Key, element: bytes) -> bytes:
    [product] = multiply_all(key, [element])
    return product


def multiply_all(key: Key, elements: Sequence[bytes]) -> list[bytes]:
    """Multiply a batch, a tenth faster than one by one."""
    points = [curve.decode(element) for element in elements]
    return [curve.encode(p) for p in curve.multiply([(key.scalar, p) for p in points])]


def multiply_x(key: Key, element: bytes) -> bytes:
    """Give the 32-byte x-coordinate of the product, at half the cost."""
    return key.scalar.x_times(curve.decode(element))


def prove(
    key: Key,
    blinded: Sequence[bytes],
    evaluated: Sequence[bytes],
    nonce: int | None = None,
) -> bytes:
    """Prove that the key made each of `evaluated` of its `blinded` (RFC 9497 §2.2.1)."""
    weights = _weights(key.public_key, blinded, evaluated)
    m = _weighted_sum(weights, blinded)
    once = Scalar.of(_random_scalar() if nonce is None else nonce)
    z, t3 = curve.multiply([(key.scalar, m), (once, m)])
    c = _challenge(key.public_key, (m, z, once.times_base(), t3))
    s = (once.value - c * key.scalar.value) % ORDER
    return c.to_bytes(_SCALAR_BYTES) + s.to_bytes(_SCALAR_BYTES)


def verify(
    public_key: bytes,
    blinded: Sequence[bytes],
    evaluated: Sequence[bytes],
    proof: bytes,
) -> None:
    """Check a proof (RFC 9497 §2.2.2); whatever is wrong is a ProofError."""
    try:
        holds = _holds(public_key, blinded, evaluated, proof)
    except ValueError as error:
        raise ProofError(str(error)) from error
    if not holds:
        message = "the elements were not all made by the expected key"
        raise ProofError(message)


def _holds(
    public_key: bytes,
    blinded: Sequence[bytes],
    evaluated: Sequence[bytes],
    proof: bytes,
) -> bool:
    if len(proof) != PROOF_BYTES:
        message = f"a proof is {PROOF_BYTES} bytes"
        raise ValueError(message)
    c = Scalar.of(int.from_bytes(proof[:_SCALAR_BYTES]))
    s = Scalar.of(int.from_bytes(proof[_SCALAR_BYTES:]))
    weights = _weights(public_key, blinded, evaluated)
    m, z = _weighted_sum(weights, blinded), _weighted_sum(weights, evaluated)
    cb, sm, cz = curve.multiply([(c, curve.decode(public_key)), (s, m), (c, z)])
    t2, t3 = curve.add([s.times_base(), cb]), curve.add([sm, cz])
    return _challenge(public_key, (m, z, t2, t3)) == c.value


def _weights(
    public_key: bytes, blinded: Sequence[bytes], evaluated: Sequence[bytes]
) -> list[Scalar]:
    """Draw the weights of a batch from all that it holds."""
    if not 0 < len(blinded) == len(evaluated):
        message = "as many elements are evaluated as were blinded, and at least one"
        raise ValueError(message)
    seed = framed(sha256(framed(public_key, b"Seed-" + _CONTEXT)).digest())
    transcripts = (
        seed + number.to_bytes(2) + framed(*pair) + b"Composite"
        for number, pair in enumerate(zip(blinded, evaluated, strict=True))
    )
    return [Scalar.of(_hash_to_scalar(transcript)) for transcript in transcripts]


def _weighted_sum(weights: Sequence[Scalar], elements: Sequence[bytes]) -> Point:
    points = map(curve.decode, elements)
    return curve.add(curve.multiply(list(zip(weights, points, strict=True))))


def _challenge(public_key: bytes, points: tuple[Point, ...]) -> int:
    parts = map(curve.encode, points)
    return _hash_to_scalar(framed(public_key, *parts) + b"Challenge")


def _hash_to_scalar(transcript: bytes) -> int:
    return curve.hash_to_scalar(transcript, b"HashToScalar-" + _CONTEXT)


def framed(*parts: bytes) -> bytes:
    """Join parts of at most 65,535 bytes so that other parts never join alike."""
    return b"".join(len(part).to_bytes(2) + part for part in parts)


def _random_scalar() -> int:
    return 1 + secrets.randbelow(ORDER - 1)


def self_test() -> None:
    """Compute mode 1's vectors except the outputs; SelfTestError if they differ."""
    key = Key.from_seed(bytes.fromhex(_SEED), _KEY_INFO)
    try:
        passed = all(_passes(key, batch) for batch in _BATCHES)
    except ValueError:
        passed = False
    if not passed:
        message = "this build does not reproduce the vectors of RFC 9497"
        raise SelfTestError(message)


@dataclass(frozen=True, slots=True)
class _Batch:
    messages: tuple[str, ...]
    blinds: tuple[str, ...]
    nonce: str
    blinded: tuple[str, ...]
    evaluated: tuple[str, ...]
    proof: str


def _passes(key: Key, batch: _Batch) -> bool:
    hidden = zip(batch.messages, batch.blinds, strict=True)
    blinded = [blind(bytes.fromhex(text), int(by, 16))[1] for text, by in hidden]
    evaluated = multiply_all(key, blinded)
    proof = prove(key, blinded, evaluated, int(batch.nonce, 16))
    verify(key.public_key, blinded, evaluated, proof)
    made = [each.hex() for each in (*blinded, *evaluated, proof)]
    return made == [*batch.blinded, *batch.evaluated, batch.proof]


# RFC 9497 appendix A.3.2
_SEED: Final = "a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3a3"
_KEY_INFO: Final = b"test key"
_BATCHES: Final = (
    _Batch(
        messages=("00",),
        blinds=("3338fa65ec36e0290022b48eb562889d89dbfa691d1cde91517fa222ed7ad364",),
        nonce="f9db001266677f62c095021db018cd8cbb55941d4073698ce45c405d1348b7b1",
        blinded=("02dd05901038bb31a6fae01828fd8d0e49e35a486b5c5d4b4994013648c01277da",),
        evaluated=("0209f33cab60cf8fe69239b0afbcfcd261af4c1c5632624f2e9ba29b90ae83e4a2",),
        proof="e7c2b3c5c954c035949f1f74e6bce2ed539a3be267d1481e9ddb178533df4c26"
        "64f69d065c604a4fd953e100b856ad83804eb3845189babfa5a702090d6fc5fa",
    ),
    _Batch(
        messages=("5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",),
        blinds=("3338fa65ec36e0290022b48eb562889d89dbfa691d1cde91517fa222ed7ad364",),
        nonce="f9db001266677f62c095021db018cd8cbb55941d4073698ce45c405d1348b7b1",
        blinded=("03cd0f033e791c4d79dfa9c6ed750f2ac009ec46cd4195ca6fd3800d1e9b887dbd",),
        evaluated=("030d2985865c693bf7af47ba4d3a3813176576383d19aff003ef7b0784a0d83cf1",),
        proof="2787d729c57e3d9512d3aa9e8708ad226bc48e0f1750b0767aaff73482c44b8d"
        "2873d74ec88aebd3504961acea16790a05c542d9fbff4fe269a77510db00abab",
    ),
    _Batch(
        messages=(
            "00",
            "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a",
        ),
        blinds=(
            "3338fa65ec36e0290022b48eb562889d89dbfa691d1cde91517fa222ed7ad364",
            "f9db001266677f62c095021db018cd8cbb55941d4073698ce45c405d1348b7b1",
        ),
        nonce="350e8040f828bf6ceca27405420cdf3d63cb3aef005f40ba51943c8026877963",
        blinded=(
            "02dd05901038bb31a6fae01828fd8d0e49e35a486b5c5d4b4994013648c01277da",
            "03462e9ae64cae5b83ba98a6b360d942266389ac369b923eb3d557213b1922f8ab",
        ),
        evaluated=(
            "0209f33cab60cf8fe69239b0afbcfcd261af4c1c5632624f2e9ba29b90ae83e4a2",
            "02bb24f4d838414aef052a8f044a6771230ca69c0a5677540fff738dd31bb69771",
        ),
        proof="bdcc351707d02a72ce49511c7db990566d29d6153ad6f8982fad2b435d6ce4d6"
        "0da1e6b3fa740811bde34dd4fe0aa1b5fe6600d0440c9ddee95ea7fad7a60cf2",
    ),
)
