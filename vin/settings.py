"""What each process is told through its environment; secrets are files."""

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, TypeVar
from urllib.parse import urlsplit

from notify.targets import PUBLIC_ONLY, Targets
from vin.errors import StartError
from vin.fields import is_email

MAX_PORT = 65535


class SmtpTls(StrEnum):
    """Whether mail may leave unencrypted where the other server offers no TLS."""

    OPPORTUNISTIC = "opportunistic"
    REQUIRED = "required"


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens."""

    host: str
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What all processes share; each class below declares what one process needs.

    A field without a default must be set, and of the fields in `any_of` at least one.
    """

    any_of: ClassVar[tuple[str, ...]] = ()

    clock_offset: timedelta = timedelta()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiSettings(Settings):
    """The index's HTTP service."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int
    api_url: str
    keyholder_url: str
    keys: Path
    webhook_targets: Targets = PUBLIC_ONLY


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyholderSettings(Settings):
    """The key holder: it reaches neither the index's database nor its Redis."""

    keyholder_database_url: str = field(repr=False)
    host: str = "127.0.0.1"
    port: int
    api_url: str
    keyholder_url: str
    keys: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings(Settings):
    """The matcher, the relay and the notifier; `api_url` is where links in mails lead."""

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    keys: Path
    smtp: Address
    smtp_tls: SmtpTls = SmtpTls.OPPORTUNISTIC
    mail_from: str
    api_url: str | None = None
    bounce_domain: str | None = None
    bounce_listen: Address | None = None
    metrics: Address | None = None
    webhook_targets: Targets = PUBLIC_ONLY
    oin: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrateSettings(Settings):
    """`vin migrate`: the index's database, the key holder's, or both."""

    any_of: ClassVar[tuple[str, ...]] = ("database_url", "keyholder_database_url")

    database_url: str | None = field(default=None, repr=False)
    keyholder_database_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OnboardSettings(MigrateSettings):
    """`vin onboard`: as `vin migrate`; for the index also the key that seals contact data."""

    keys: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class OperatorSettings(Settings):
    """Commands that an operator runs on the index: `vin audit`, `vin deliveries`."""

    database_url: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UpSettings(Settings):
    """`vin up`: servers to use instead of the embedded ones."""

    database_url: str | None = field(default=None, repr=False)
    keyholder_database_url: str | None = field(default=None, repr=False)
    redis_url: str | None = field(default=None, repr=False)


S = TypeVar("S", bound=Settings)


def read_settings(kind: type[S], environment: Mapping[str, str]) -> S:
    """Return what one kind of process needs, or raise StartError with every fault.

    An empty value counts as absent. No value is repeated: a URL may hold a password.
    """
    given = {name: value for name, value in environment.items() if value}
    faults = [f"{name} is no setting of VIN." for name in _unknown(given)]
    values: dict[str, object] = {}
    for each in fields(kind):
        _read_one(each, given, values, faults)
    if kind.any_of and not any(VARIABLES[name].name in given for name in kind.any_of):
        names = " or ".join(VARIABLES[name].name for name in kind.any_of)
        faults.append(f"{names} must be set.")
    if faults:
        raise StartError("\n".join(faults))
    make: Callable[..., S] = kind
    return make(**values)


def _read_one(
    each: "Field[object]",
    given: Mapping[str, str],
    values: dict[str, object],
    faults: list[str],
) -> None:
    variable = VARIABLES[each.name]
    if variable.name in given:
        try:
            values[each.name] = variable.parse(given[variable.name])
        except ValueError:
            faults.append(f"{variable.name} must be {variable.wanted}.")
    elif each.default is MISSING:
        faults.append(f"{variable.name} must be set: {variable.wanted}.")


def _unknown(given: Mapping[str, str]) -> list[str]:
    known = {variable.name for variable in VARIABLES.values()}
    return sorted(name for name in given if name.startswith("VIN_") and name not in known)


@dataclass(frozen=True, slots=True)
class Variable:
    """A name in the environment, how to read its text, and what it must be."""

    name: str
    parse: Callable[[str], object]
    wanted: str


def _url(*schemes: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        parts = urlsplit(text)
        if parts.scheme not in schemes or re.search(r"\s", text):
            raise ValueError
        return text

    return parse


def _base_url(text: str) -> str:
    parts = urlsplit(text)
    plain = parts._replace(path="", query="", fragment="").geturl() == text
    if parts.scheme not in {"http", "https"} or not parts.hostname or not plain:
        raise ValueError
    return text


def _port(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_PORT:
        raise ValueError
    return int(text)


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not re.fullmatch(r"[A-Za-z0-9.:_-]+", host):
        raise ValueError
    return Address(host, _port(port))


def _email(text: str) -> str:
    if not is_email(text):
        raise ValueError
    return text


def _domain(text: str) -> str:
    if not is_email(f"b@{text}"):
        raise ValueError
    return text


def _oin(text: str) -> str:
    if not re.fullmatch(r"[0-9]{20}", text):
        raise ValueError
    return text


def _seconds(text: str) -> timedelta:
    if not re.fullmatch(r"-?[0-9]{1,10}", text):
        raise ValueError
    return timedelta(seconds=int(text))


_POSTGRES = (_url("postgresql", "postgres"), "a URL that begins with postgresql://")
_BASE = (_base_url, "an http or https URL without path or closing slash")

VARIABLES: Mapping[str, Variable] = {
    "database_url": Variable("DATABASE_URL", *_POSTGRES),
    "keyholder_database_url": Variable("VIN_KEYHOLDER_DATABASE_URL", *_POSTGRES),
    "redis_url": Variable(
        "REDIS_URL",
        _url("redis", "rediss", "unix"),
        "a URL that begins with redis://, rediss:// or unix://",
    ),
    "host": Variable("VIN_HOST", str, "the address to listen on"),
    "port": Variable("VIN_PORT", _port, f"a port from 1 to {MAX_PORT}"),
    "api_url": Variable("VIN_API_URL", *_BASE),
    "keyholder_url": Variable("VIN_KEYHOLDER_URL", *_BASE),
    "keys": Variable("VIN_KEYS", Path, "the folder with the key files"),
    "smtp": Variable("VIN_SMTP", _address, "HOST:PORT of the mail server"),
    "smtp_tls": Variable("VIN_SMTP_TLS", SmtpTls, "opportunistic or required"),
    "mail_from": Variable("VIN_MAIL_FROM", _email, "one e-mail address"),
    "bounce_domain": Variable("VIN_BOUNCE_DOMAIN", _domain, "a domain that mail comes back to"),
    "bounce_listen": Variable(
        "VIN_BOUNCE_LISTEN", _address, "HOST:PORT to take mail on that comes back"
    ),
    "metrics": Variable("VIN_METRICS", _address, "HOST:PORT to show metrics on"),
    "webhook_targets": Variable(
        "VIN_WEBHOOK_TARGETS", Targets.parse, "names of hosts and networks, with commas between"
    ),
    "oin": Variable("VIN_OIN", _oin, "an organisation identification number of 20 digits"),
    "clock_offset": Variable("VIN_CLOCK_OFFSET", _seconds, "a whole number of seconds"),
}
