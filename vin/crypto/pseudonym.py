"""What the index makes of an element: a token to look up, and the same sealed for re-keying."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from vin.crypto.keyfile import KEY_BYTES, read_epochs, read_key
from vin.crypto.oprf import Key, framed, multiply_x
from vin.crypto.seal import seal_box

_UUID_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Token:
    """A pseudonym as it is stored: `lookup` finds it, `sealed` holds T for re-keying."""

    lookup: UUID
    key_epoch: int
    index_epoch: int
    sealed: bytes = field(repr=False)


def domain_key(seed: bytes, domain: str, epoch: int) -> Key:
    """Derive the key of one domain and epoch, for key holder and index alike."""
    return Key.from_seed(seed, framed(b"VIN-v1", domain.encode(), epoch.to_bytes(4)))


class IndexKeys:
    """The keys of the index; the highest epoch makes the tokens."""

    def __init__(self, seeds: Mapping[int, bytes], secret: bytes) -> None:
        self._epoch = max(seeds)
        self._seed = seeds[self._epoch]
        self._domain_keys: dict[str, Key] = {}
        self._tag = _sub_key(secret, "tag")
        self._seal = AESGCMSIV(_sub_key(secret, "seal"))
        self._idempotency = _sub_key(secret, "idempotency")
        self._person = _sub_key(secret, "person")
        self._reference = _sub_key(secret, "reference")

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls(read_epochs(path), read_key(path, "secret"))

    def token(self, domain: str, key_epoch: int, element: bytes) -> Token:
        """Make the token of an unblinded element; ElementError if it is none."""
        product = multiply_x(self._domain_key(domain), element)
        epochs = key_epoch.to_bytes(4), self._epoch.to_bytes(4)
        return Token(
            lookup=_tag(self._tag, product),
            key_epoch=key_epoch,
            index_epoch=self._epoch,
            sealed=seal_box(self._seal, product, framed(domain.encode(), *epochs)),
        )

    def _domain_key(self, domain: str) -> Key:
        if domain not in self._domain_keys:
            key = domain_key(self._seed, domain, self._epoch)
            self._domain_keys[domain] = key
        return self._domain_keys[domain]

    def person(self, value: str) -> UUID:
        """Name a person by address or registration number, without showing it."""
        return _tag(self._person, value.encode())

    def fingerprint(self, data: bytes) -> bytes:
        """Take 32 bytes by which a repeated request is known again."""
        return hmac.digest(self._idempotency, data, "sha256")

    def file_key(self, weak: UUID, reference: str) -> UUID:
        """Name one file of one child without a number."""
        return _tag(self._reference, weak.bytes + reference.encode())


def _tag(key: bytes, data: bytes) -> UUID:
    return UUID(bytes=hmac.digest(key, data, "sha256")[:_UUID_BYTES])


def _sub_key(secret: bytes, label: str) -> bytes:
    return HKDF(SHA256(), KEY_BYTES, salt=None, info=label.encode()).derive(secret)
