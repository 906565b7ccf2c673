"""RFC 9497 for P256-SHA256 in all three modes, slowly, from the text and without `vin`."""

from collections.abc import Sequence
from hashlib import sha256

P = 2**256 - 2**224 + 2**192 + 2**96 - 1
A = -3
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
BASE = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)

Point = tuple[int, int] | None  # None is the identity


def add(a: Point, b: Point) -> Point:
    if a is None or b is None:
        return a or b
    (x1, y1), (x2, y2) = a, b
    if x1 == x2 and (y1 + y2) % P == 0:
        return None
    rise, run = (3 * x1 * x1 + A, 2 * y1) if a == b else (y2 - y1, x2 - x1)
    slope = rise * pow(run, -1, P)
    x3 = (slope * slope - x1 - x2) % P
    return x3, (slope * (x1 - x3) - y1) % P


def multiply(scalar: int, point: Point) -> Point:
    product: Point = None
    for bit in f"{scalar % ORDER:b}":
        product = add(product, product)
        if bit == "1":
            product = add(product, point)
    return product


def root(square: int) -> int | None:
    candidate = pow(square, (P + 1) // 4, P)
    return candidate if (candidate * candidate - square) % P == 0 else None


def encode(point: Point) -> bytes:
    assert point is not None
    x, y = point
    return bytes([2 + y % 2]) + x.to_bytes(32)


def decode(data: bytes) -> Point:
    x = int.from_bytes(data[1:])
    y = root((x**3 + A * x + B) % P)
    assert y is not None
    return x, y if y % 2 == data[0] % 2 else P - y


def lp(data: bytes) -> bytes:
    return len(data).to_bytes(2) + data


def expand_message_xmd(message: bytes, dst: bytes, size: int) -> bytes:
    """RFC 9380 §5.3.1."""
    dst_prime = dst + len(dst).to_bytes(1)
    b_0 = sha256(bytes(64) + message + size.to_bytes(2) + bytes(1) + dst_prime).digest()
    blocks = [sha256(b_0 + b"\1" + dst_prime).digest()]
    while len(blocks) * 32 < size:
        mixed = (int.from_bytes(b_0) ^ int.from_bytes(blocks[-1])).to_bytes(32)
        blocks.append(sha256(mixed + bytes([len(blocks) + 1]) + dst_prime).digest())
    return b"".join(blocks)[:size]


def map_to_curve(u: int) -> Point:
    """RFC 9380 §6.6.2, with Z = -10."""
    tv1 = (100 * pow(u, 4, P) - 10 * u * u) % P
    over, under = (B, -10 * A) if tv1 == 0 else (-B * (1 + pow(tv1, -1, P)), A)
    x = over * pow(under, -1, P) % P
    y = root((x**3 + A * x + B) % P)
    if y is None:
        x = -10 * u * u * x % P
        y = root((x**3 + A * x + B) % P)
    assert y is not None
    return x, y if y % 2 == u % 2 else P - y


class Mode:
    """One of the protocol's modes: 0 OPRF, 1 VOPRF, 2 POPRF."""

    def __init__(self, number: int) -> None:
        self.context = b"OPRFV1-" + bytes([number]) + b"-P256-SHA256"

    def hash_to_scalar(self, data: bytes, label: bytes = b"HashToScalar-") -> int:
        return int.from_bytes(expand_message_xmd(data, label + self.context, 48)) % ORDER

    def hash_to_group(self, message: bytes) -> Point:
        uniform = expand_message_xmd(message, b"HashToGroup-" + self.context, 96)
        first, second = (int.from_bytes(part) % P for part in (uniform[:48], uniform[48:]))
        return add(map_to_curve(first), map_to_curve(second))

    def derive_key(self, seed: bytes, info: bytes) -> int:
        return self.hash_to_scalar(seed + lp(info) + bytes(1), b"DeriveKeyPair")

    def tweak(self, info: bytes) -> int:
        """The public part of the key in mode 2."""
        return self.hash_to_scalar(b"Info" + lp(info))

    def prove(self, key: int, c: Sequence[bytes], d: Sequence[bytes], nonce: int) -> bytes:
        """GenerateProof of §2.2.1, A being the base and B the key's public part."""
        public = lp(encode(multiply(key, BASE)))
        seed = sha256(public + lp(b"Seed-" + self.context)).digest()
        m: Point = None
        for i, (c_i, d_i) in enumerate(zip(c, d, strict=True)):
            transcript = lp(seed) + i.to_bytes(2) + lp(c_i) + lp(d_i) + b"Composite"
            m = add(m, multiply(self.hash_to_scalar(transcript), decode(c_i)))
        points = m, multiply(key, m), multiply(nonce, BASE), multiply(nonce, m)
        joined = b"".join(lp(encode(point)) for point in points)
        challenge = self.hash_to_scalar(public + joined + b"Challenge")
        response = (nonce - challenge * key) % ORDER
        return challenge.to_bytes(32) + response.to_bytes(32)


def finalize(message: bytes, blind: int, evaluated: bytes, info: bytes | None) -> bytes:
    """§3.3.1 to §3.3.3; `info` only in mode 2."""
    element = encode(multiply(pow(blind, -1, ORDER), decode(evaluated)))
    public = b"" if info is None else lp(info)
    return sha256(lp(message) + public + lp(element) + b"Finalize").digest()
