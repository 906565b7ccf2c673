"""Public keys of nobody, for tests."""

import base64

_RSA_2048 = (1 << 2047) + 1
_RSA_1024 = (1 << 1023) + 1


def _number(value: int) -> str:
    data = value.to_bytes((value.bit_length() + 7) // 8)
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# The generator of P-256 itself: its private key is 1.
EC_JWK = {
    "kty": "EC",
    "crv": "P-256",
    "x": _number(0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296),
    "y": _number(0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5),
}
RSA_JWK = {"kty": "RSA", "n": _number(_RSA_2048), "e": "AQAB"}
RSA_1024_JWK = {"kty": "RSA", "n": _number(_RSA_1024), "e": "AQAB"}
