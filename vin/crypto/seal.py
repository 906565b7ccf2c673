"""Sealing of columns with AES-256-GCM-SIV: a key per epoch, a box tied to its place."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, Self
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from cryptography.hazmat.primitives.keywrap import (
    InvalidUnwrap,
    aes_key_unwrap,
    aes_key_wrap,
)

from vin.crypto.keyfile import KEY_BYTES, read_key
from vin.crypto.oprf import framed

_NONCE_BYTES: Final = 12


class SealError(Exception):
    """The box was not sealed for this place, or not with a key that is at hand."""


@dataclass(frozen=True, slots=True)
class Binding:
    """The one place in the database where a box can be opened."""

    table: str
    column: str
    row: UUID
    organisation: UUID | None = None

    def associated(self, epoch: int) -> bytes:
        organisation = self.organisation.bytes if self.organisation else b""
        names = self.table.encode(), self.column.encode()
        return framed(*names, self.row.bytes, organisation, epoch.to_bytes(4))


@dataclass(frozen=True, slots=True)
class Sealed:
    """A nonce of 12 bytes and the ciphertext, with the epoch of the key."""

    epoch: int
    box: bytes


class DataKeys:
    """The data keys by epoch, at least one; the highest epoch seals."""

    def __init__(self, keys: Mapping[int, bytes]) -> None:
        self._ciphers = {epoch: AESGCMSIV(key) for epoch, key in keys.items()}
        self._current = max(keys)

    def seal(self, plain: bytes, binding: Binding) -> Sealed:
        epoch = self._current
        associated = binding.associated(epoch)
        return Sealed(epoch, seal_box(self._ciphers[epoch], plain, associated))

    def open(self, sealed: Sealed, binding: Binding) -> bytes:
        """Give back what was sealed at this very place; else SealError."""
        if sealed.epoch not in self._ciphers:
            message = f"no data key of epoch {sealed.epoch}"
            raise SealError(message)
        nonce, text = sealed.box[:_NONCE_BYTES], sealed.box[_NONCE_BYTES:]
        cipher = self._ciphers[sealed.epoch]
        try:
            return cipher.decrypt(nonce, text, binding.associated(sealed.epoch))
        except (InvalidTag, ValueError) as error:
            message = f"{binding.table}.{binding.column} of {binding.row} does not open"
            raise SealError(message) from error


def seal_box(cipher: AESGCMSIV, plain: bytes, associated: bytes) -> bytes:
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + cipher.encrypt(nonce, plain, associated)


def new_data_key() -> bytes:
    return secrets.token_bytes(KEY_BYTES)


class KeyEncryptionKey(Protocol):
    """What keeps data keys: a file here, a hardware module elsewhere."""

    def wrap(self, data_key: bytes) -> bytes: ...

    def unwrap(self, wrapped: bytes) -> bytes: ...


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class FileKek:
    """AES key wrap (RFC 3394), which PKCS#11 modules speak too; its repr shows nothing."""

    key: bytes

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls(read_key(path, "key"))

    def wrap(self, data_key: bytes) -> bytes:
        return aes_key_wrap(self.key, data_key)

    def unwrap(self, wrapped: bytes) -> bytes:
        try:
            return aes_key_unwrap(self.key, wrapped)
        except InvalidUnwrap as error:
            message = "the data key was not wrapped with this key-encryption key"
            raise SealError(message) from error
