"""The one command line."""

import argparse
import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from vin import operate, wiring
from vin.client import cli as client_cli
from vin.crypto import keyfile
from vin.crypto.keyfile import KeyFileError
from vin.crypto.sign import UnfitKeyError
from vin.demo import cli as demo_cli
from vin.errors import StartError
from vin.migrate import MigrationError
from vin.settings import (
    ApiSettings,
    KeyholderSettings,
    MigrateSettings,
    OnboardSettings,
    OperatorSettings,
    UpSettings,
    WorkerSettings,
    read_settings,
)
from vin.up import DEFAULT_PORT, Options, up

# What an operator can cure; each message is a sentence.
FAULTS = (StartError, KeyFileError, UnfitKeyError, MigrationError)

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - has no other name
Command = Callable[[argparse.Namespace], int | None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 1 when it could not be done, with the reason on standard error."""
    options = parser().parse_args(arguments)
    run: Command = options.run
    try:
        return run(options) or 0
    except FAULTS as error:
        sys.stderr.write(f"vin: {error}\n")
        return 1


def parser() -> argparse.ArgumentParser:
    """All commands; each sets `run`."""
    root = argparse.ArgumentParser(prog="vin", description="Referral index for children.")
    commands = root.add_subparsers(required=True, metavar="COMMAND")
    add_up(commands)
    demo_cli.add_command(commands)
    add_services(commands)
    add_operations(commands)
    client_cli.add_commands(commands)
    return root


def add_up(commands: Commands) -> None:
    command = commands.add_parser("up", help="run all of VIN on this machine, to try it")
    command.add_argument("--data", type=Path, required=True, metavar="DIR")
    command.add_argument("--port", type=int, default=DEFAULT_PORT, metavar="P")
    command.add_argument("--smtp", metavar="HOST:PORT", help="instead of the built-in mail server")
    command.add_argument("--region", type=Path, metavar="FILE", help="instead of the demo region")
    command.add_argument(
        "--clock-offset", type=int, default=0, metavar="SECONDS", help="how far ahead the clock is"
    )
    command.set_defaults(run=run_up)


def run_up(options: argparse.Namespace) -> None:
    asyncio.run(
        up(
            Options(
                data=options.data,
                port=options.port,
                smtp=options.smtp,
                region=options.region,
                clock_offset=options.clock_offset,
            ),
            read_settings(UpSettings, os.environ),
        )
    )


def add_services(commands: Commands) -> None:
    """The processes of a deployment; each reads the environment."""
    services = {
        "api": ("the index's HTTP service", ApiSettings, wiring.run_api),
        "keyholder": ("the key holder's HTTP service", KeyholderSettings, wiring.run_keyholder),
        "worker": ("matcher, sweeper and notifier", WorkerSettings, wiring.run_worker_process),
        "migrate": ("bring the databases to this version", MigrateSettings, wiring.run_migrate),
    }
    for name, (text, kind, start) in services.items():
        command = commands.add_parser(name, help=text)
        command.set_defaults(
            run=lambda _, kind=kind, start=start: asyncio.run(
                start(read_settings(kind, os.environ))
            )
        )


def add_operations(commands: Commands) -> None:
    """What an operator does to a running index."""
    onboard = commands.add_parser("onboard", help="apply a region file")
    onboard.add_argument("file", type=Path)
    onboard.set_defaults(
        run=lambda options: asyncio.run(
            wiring.run_onboard(read_settings(OnboardSettings, os.environ), options.file)
        )
    )
    keys = commands.add_parser("keys", help="make key files for production")
    made = keys.add_subparsers(required=True)
    for name, make, text in (
        ("index", keyfile.generate_index, "the keys of the index; give away token-public.pem only"),
        ("keyholder", keyfile.generate_keyholder, "of the key holder; only permit-public.pem"),
        ("complete", keyfile.complete_index, "what an older version's keys of the index lack"),
    ):
        command = made.add_parser(name, help=text)
        command.add_argument("folder", type=Path, metavar="DIR")
        command.set_defaults(run=lambda options, make=make: make(options.folder))
    operate.add_commands(commands, lambda: read_settings(OperatorSettings, os.environ))


if __name__ == "__main__":
    sys.exit(main())
