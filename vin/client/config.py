"""Who the client is and whom it talks to: a TOML file, or the same names in Python."""

import tomllib
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)
from pydantic_core import ErrorDetails

from vin.client.errors import ConfigError
from vin.client.keys import decode
from vin.client.registration import Number
from vin.fields import refuse

THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})
SENTENCES = {
    "missing": "is missing",
    "extra_forbidden": "is not known here",
    "unexpected_keyword_argument": "is not known here",
}


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in THIS_MACHINE)
    if not safe or not parts.hostname or parts.path or parts.query or parts.fragment:
        refuse("url", "must be an https URL without path or closing slash")
    return text


def _pin(pin: object) -> bytes:
    try:
        return pin if isinstance(pin, bytes) else decode(pin)
    except ValueError:
        refuse("pin", "must be base64url without padding")


BaseUrl = Annotated[str, AfterValidator(_base_url)]
Pin = Annotated[bytes, BeforeValidator(_pin)]


class Config(BaseModel):
    """What a client needs to know; `own_numbers` are compared here and go nowhere (S17).

    A pin is the public key that must be in use, by domain and epoch, as in `nhn/child/1`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    api: BaseUrl
    keyholder: BaseUrl
    client_id: Annotated[str, Field(min_length=1)]
    private_key_file: Path
    pins: dict[str, Pin] = {}
    own_numbers: dict[str, Number] = Field({}, repr=False)
    coordinator: Annotated[str, Field(min_length=1)] = "the coordinator of your organisation"


def load_config(path: Path) -> Config:
    """Read a configuration file, or raise ConfigError with all that is wrong in it.

    A relative `private_key_file` is sought beside the file.
    """
    try:
        config = Config.model_validate(tomllib.loads(path.read_text("utf-8")))
    except OSError as error:
        raise ConfigError(path, [f"it cannot be read: {error.strerror}"]) from error
    except ValidationError as error:
        raise ConfigError(path, sentences(error)) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise ConfigError(path, ["it is no TOML file"]) from None
    key_file = path.parent / config.private_key_file
    return config.model_copy(update={"private_key_file": key_file})


def sentences(error: ValidationError) -> list[str]:
    """Say each fault and its place, without what stands there."""
    return [_sentence(fault) for fault in error.errors(include_input=False, include_url=False)]


def _sentence(fault: ErrorDetails) -> str:
    place = ".".join(map(str, fault["loc"]))
    words = SENTENCES.get(fault["type"], fault["msg"].removeprefix("Value error, "))
    return f"{place}: {words}" if place else words
