"""The key holder's public keys: fetched once, and again when an epoch has passed."""

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Final

from pydantic import BeforeValidator, TypeAdapter

from vin.client.answers import read_answer
from vin.client.errors import CAMEL, KeyHolderError
from vin.client.transport import Request, Transport

SUITE: Final = "P256-SHA256"


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: object) -> bytes:
    """Read base64url without padding; anything else is a ValueError."""
    if not isinstance(text, str):
        raise ValueError  # noqa: TRY004 - pydantic passes on a TypeError
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


Bytes = Annotated[bytes, BeforeValidator(decode)]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """The key of one domain, as `nhn/child`, that is in use now."""

    __pydantic_config__ = CAMEL

    domain: str
    epoch: int
    suite: str
    public_key: Bytes

    @property
    def name(self) -> str:
        return f"{self.domain}/{self.epoch}"


@dataclass(frozen=True, slots=True)
class KeyList:
    """What the key holder answers."""

    keys: tuple[PublicKey, ...]


KEY_LIST = TypeAdapter(KeyList)


class KeyRing:
    """The keys by what they are for: child, parent, address or weak."""

    def __init__(self, transport: Transport, url: str, pins: Mapping[str, bytes]) -> None:
        self._transport = transport
        self._url = url
        self._pins = pins
        self._keys: Mapping[str, PublicKey] = {}
        self._fetching = asyncio.Lock()

    async def current(self) -> Mapping[str, PublicKey]:
        """Return the keys, of which KeyHolderError says if one cannot be trusted."""
        async with self._fetching:
            if not self._keys:
                document = await self._transport.send(Request(method="GET", url=self._url))
                self._keys = by_use(read_answer(KEY_LIST, document).keys, self._pins)
            return self._keys

    def forget(self) -> None:
        self._keys = {}


def by_use(keys: tuple[PublicKey, ...], pins: Mapping[str, bytes]) -> dict[str, PublicKey]:
    """Sort the keys of one region by use; with pins, each key must be among them."""
    if len({key.domain.partition("/")[0] for key in keys}) != 1:
        message = "The key holder gives no keys of one region."
        raise KeyHolderError(message)
    for key in keys:
        _check(key, pins)
    return {key.domain.partition("/")[2]: key for key in keys}


def _check(key: PublicKey, pins: Mapping[str, bytes]) -> None:
    if key.suite != SUITE:
        message = f"The key {key.name} is for the unknown suite {key.suite}."
        raise KeyHolderError(message)
    if pins and pins.get(key.name) != key.public_key:
        message = f"The key {key.name} is not the one that the configuration pins."
        raise KeyHolderError(message)
