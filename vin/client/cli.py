"""`vin client`: what the client does, from the command line. Identifiers come in files only."""

import argparse
import asyncio
import json
import sys
import tomllib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeAlias, TypeVar
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from vin.client.addresses import read_addresses
from vin.client.answers import MATCH, SIGNAL, Ground
from vin.client.client import Client
from vin.client.config import load_config, sentences
from vin.client.errors import ClientError, ConfigError
from vin.client.registration import Registration, Reporter
from vin.crypto.keyfile import write_secret
from vin.crypto.sign import new_client_key, public_jwk

CONFIG = Path("vin-client.toml")
STANDARD_INPUT = Path("-")

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - has no other name
Work = Callable[[Client, argparse.Namespace], Awaitable[None]]
T = TypeVar("T")


REGISTRATION = TypeAdapter(Registration)
REPORTER = TypeAdapter(Reporter)


def add_commands(commands: Commands) -> None:
    """Add `client` and what it can do."""
    client = commands.add_parser("client", help="what a vendor's system does: register, list, …")
    client.add_argument("--config", type=Path, default=CONFIG, metavar="FILE")
    actions = client.add_subparsers(required=True, metavar="ACTION")
    _add(actions, "check", check, "see whether the keys and the access token work")
    for name, work, text in (
        ("register", register, "register the signal that FILE describes"),
        ("reporter", reporter, "make the reporter known that FILE describes"),
    ):
        command = _add(actions, name, work, text)
        command.add_argument("file", type=Path, help="TOML or JSON; - is standard input")
    key = actions.add_parser(
        "key", help="make a private key; prints the public one, for the region"
    )
    key.add_argument("file", type=Path)
    key.set_defaults(run=make_key)
    addresses = _add(actions, "elements", elements, "make elements of the addresses in FILE")
    addresses.add_argument("file", type=Path, help="CSV: postcode,number,letter,addition")
    addresses.add_argument("--reporter", metavar="ID", default="region", help="who is counted")
    withdrawal = _add(actions, "withdraw", withdraw, "end a signal")
    withdrawal.add_argument("id", type=UUID)
    withdrawal.add_argument("--ground", type=Ground, choices=list(Ground), required=True)
    for name, work, text in (
        ("signals", signals, "list the own signals"),
        ("matches", matches, "list the own matches"),
    ):
        command = _add(actions, name, work, text)
        command.add_argument("--reporter", metavar="ID", help="of this reporter alone")


def _add(actions: Commands, name: str, work: Work, text: str) -> argparse.ArgumentParser:
    command = actions.add_parser(name, help=text)
    command.set_defaults(run=run, work=work)
    return command


def run(options: argparse.Namespace) -> int:
    """Do what was asked; 1 with the reason on standard error if that could not be done."""
    try:
        asyncio.run(_run(options))
    except ClientError as error:
        sys.stderr.write(f"vin client: {error}\n")
        return 1
    return 0


def make_key(options: argparse.Namespace) -> int:
    """Make a client's key pair; the private half stays in a file of this user alone."""
    pem = new_client_key()
    write_secret(options.file, pem)
    members = ", ".join(f'{name} = "{value}"' for name, value in public_jwk(pem).items())
    _print(f"{{ {members} }}")
    return 0


async def _run(options: argparse.Namespace) -> None:
    work: Work = options.work
    async with Client.connect(load_config(options.config)) as client:
        await work(client, options)


async def check(client: Client, _options: argparse.Namespace) -> None:
    _print(json.dumps({"keys": await client.check(), "accessToken": True}))


async def register(client: Client, options: argparse.Namespace) -> None:
    signal = await client.register(_read(options.file, REGISTRATION))
    _print(SIGNAL.dump_json(signal, by_alias=True))


async def reporter(client: Client, options: argparse.Namespace) -> None:
    given = _read(options.file, REPORTER)
    await client.register_reporter(given)
    _print(json.dumps({"reporterId": given.id}))


async def elements(client: Client, options: argparse.Namespace) -> None:
    async for element in client.elements(read_addresses(options.file), options.reporter):
        _print(json.dumps(element))


async def withdraw(client: Client, options: argparse.Namespace) -> None:
    _print(SIGNAL.dump_json(await client.withdraw(options.id, options.ground), by_alias=True))


async def signals(client: Client, options: argparse.Namespace) -> None:
    async for signal in client.signals(options.reporter):
        _print(SIGNAL.dump_json(signal, by_alias=True))


async def matches(client: Client, options: argparse.Namespace) -> None:
    async for match in client.matches(options.reporter):
        _print(MATCH.dump_json(match, by_alias=True))


def _print(line: str | bytes) -> None:
    text = line if isinstance(line, str) else line.decode()
    sys.stdout.write(f"{text}\n")


def _read(path: Path, kind: TypeAdapter[T]) -> T:
    """Read a file of either form, or raise ConfigError with all its faults, none of its values."""
    try:
        return kind.validate_python(_parse(path))
    except ValidationError as error:
        faults = sentences(error)
    raise ConfigError(path, faults)


def _parse(path: Path) -> Mapping[str, object]:
    try:
        text = sys.stdin.read() if path == STANDARD_INPUT else path.read_text("utf-8")
    except OSError as error:
        raise ConfigError(path, [f"it cannot be read: {error.strerror}"]) from error
    parse = json.loads if text.lstrip().startswith("{") else tomllib.loads
    try:
        document: Mapping[str, object] = parse(text)
    except ValueError:
        # The error's own words would repeat a line of the file.
        raise ConfigError(path, ["it is neither JSON nor TOML"]) from None
    return document
