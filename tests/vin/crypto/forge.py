"""Makes any JWS, right or wrong, from RFC 7515 and without `joserfc`."""

import hmac
import json
from base64 import urlsafe_b64encode
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa, utils
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

Signer = Callable[[bytes], bytes]
PrivateKey = (
    ec.EllipticCurvePrivateKey
    | ed25519.Ed25519PrivateKey
    | ed448.Ed448PrivateKey
    | rsa.RSAPrivateKey
)


def forge(header: object, claims: object, signer: Signer) -> str:
    return seal(json.dumps(header).encode(), json.dumps(claims).encode(), signer)


def seal(header: bytes, payload: bytes, signer: Signer) -> str:
    signed = f"{base64url(header)}.{base64url(payload)}"
    return f"{signed}.{base64url(signer(signed.encode()))}"


def base64url(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def es256(key: ec.EllipticCurvePrivateKey) -> Signer:
    def sign(data: bytes) -> bytes:
        r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(SHA256())))
        return r.to_bytes(32) + s.to_bytes(32)

    return sign


def rs256(key: rsa.RSAPrivateKey) -> Signer:
    return lambda data: key.sign(data, padding.PKCS1v15(), SHA256())


def ps256(key: rsa.RSAPrivateKey) -> Signer:
    pss = padding.PSS(mgf=padding.MGF1(SHA256()), salt_length=32)
    return lambda data: key.sign(data, pss, SHA256())


def hs256(secret: bytes) -> Signer:
    return lambda data: hmac.digest(secret, data, "sha256")


def unsigned(_: bytes) -> bytes:
    return b""


def private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def encrypted_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"word"))


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def ec_jwk(key: ec.EllipticCurvePrivateKey) -> dict[str, str | list[str]]:
    numbers = key.public_key().public_numbers()
    x, y = (base64url(each.to_bytes(32)) for each in (numbers.x, numbers.y))
    return {"kty": "EC", "crv": "P-256", "x": x, "y": y}


def rsa_jwk(key: rsa.RSAPrivateKey) -> dict[str, str | list[str]]:
    n = key.public_key().public_numbers().n
    return {"kty": "RSA", "n": base64url(n.to_bytes((n.bit_length() + 7) // 8)), "e": "AQAB"}
