"""Signatures on what webhooks are told (Standard Webhooks): a shared secret, and our own key."""

import base64
import binascii
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from vin.crypto.keyfile import read_secret
from vin.crypto.signkey import UnfitKeyError

SECRET_BYTES: Final = range(24, 65)
_NEW_SECRET_BYTES: Final = 32
_SHARED: Final = "whsec_"
_PUBLIC: Final = "whpk_"


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class WebhookKey:
    """Our Ed25519 key, the same for all webhooks; its repr shows nothing."""

    key: Ed25519PrivateKey

    @classmethod
    def load(cls, path: Path) -> Self:
        try:
            key = load_pem_private_key(read_secret(path), password=None)
        except (TypeError, ValueError, UnsupportedAlgorithm):
            key = None
        if not isinstance(key, Ed25519PrivateKey):
            message = "webhooks need a private Ed25519 key in PEM"
            raise UnfitKeyError(message)
        return cls(key)

    @property
    def public(self) -> str:
        """What receivers check `v1a` with."""
        return _PUBLIC + _encode(self.key.public_key().public_bytes_raw())

    def sign(self, signed: bytes, shared: Sequence[bytes]) -> str:
        """The header `webhook-signature`: one `v1` for each secret in force, then `v1a`."""
        signatures = [f"v1,{_encode(hmac.digest(each, signed, 'sha256'))}" for each in shared]
        return " ".join([*signatures, f"v1a,{_encode(self.key.sign(signed))}"])


def signed_content(message: str, timestamp: int, body: bytes) -> bytes:
    """What is signed of a message: its id, the second of the attempt, the body."""
    return f"{message}.{timestamp}.".encode() + body


def new_secret() -> bytes:
    return secrets.token_bytes(_NEW_SECRET_BYTES)


def secret_text(secret: bytes) -> str:
    return _SHARED + _encode(secret)


def read_secret_text(text: str) -> bytes | None:
    """The secret that a text stands for; None where it is none, or not of 24 to 64 bytes."""
    try:
        secret = base64.b64decode(text.removeprefix(_SHARED), validate=True)
    except (binascii.Error, ValueError):
        return None
    fits = text.startswith(_SHARED) and len(secret) in SECRET_BYTES
    return secret if fits else None


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()
