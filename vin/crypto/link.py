"""What tells our own links and return addresses from forged ones: a keyed hash of 16 bytes."""

import hmac
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from vin.crypto.keyfile import read_key
from vin.crypto.oprf import framed

TAG_BYTES: Final = 16


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class LinkKey:
    """Signs what goes out by mail and must come back unchanged; its repr shows nothing."""

    key: bytes

    @classmethod
    def load(cls, path: Path) -> Self:
        return cls(read_key(path, "key"))

    def sign(self, purpose: str, data: bytes) -> bytes:
        """The 16 bytes that vouch for the data; what is for one purpose fits no other."""
        framing = framed(purpose.encode(), data)
        return hmac.digest(self.key, framing, "sha256")[:TAG_BYTES]

    def fits(self, purpose: str, data: bytes, tag: bytes) -> bool:
        """Tell whether `sign` made the tag, in a time that tells nothing of where it differs."""
        return hmac.compare_digest(self.sign(purpose, data), tag)
