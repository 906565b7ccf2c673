"""`vin demo`: starts VIN, plays the region, compares, tells."""

import argparse
import asyncio
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeAlias, cast

from vin.client import ClientError
from vin.demo import report
from vin.demo.families import MOST_FAMILIES
from vin.demo.play import play
from vin.demo.server import running
from vin.errors import StartError

FAMILIES = 60
SEED = 7
INTERRUPTED = 130

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"  # noqa: SLF001 - has no other name


def add_command(commands: Commands) -> None:
    """Add `demo`."""
    command = commands.add_parser("demo", help="play a made-up region on a fresh VIN")
    command.add_argument("--families", type=_families, default=FAMILIES, metavar="N")
    command.add_argument("--seed", type=int, default=SEED, metavar="S")
    command.add_argument("--once", action="store_true", help="print JSON and stop")
    command.add_argument("--data", type=Path, metavar="DIR", help="a new folder, which is kept")
    command.set_defaults(run=run)


def _families(text: str) -> int:
    number = int(text)
    if not 1 <= number <= MOST_FAMILIES:
        message = f"from 1 to {MOST_FAMILIES}"
        raise argparse.ArgumentTypeError(message)
    return number


def run(options: argparse.Namespace) -> int:
    """Play; 0 if everything that should match did, and told its people once."""
    with folder(options.data) as data, one_error():
        return asyncio.run(perform(options, data))


@contextmanager
def folder(given: Path | None) -> Iterator[Path]:
    """Use the given folder, or one that is gone afterwards."""
    folder = given or Path(tempfile.mkdtemp(prefix="vin-demo-"))
    try:
        yield folder
    finally:
        if given is None:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def one_error() -> Iterator[None]:
    """Turn what many clients at once may say into one sentence."""
    try:
        yield
    except* ClientError as group:
        failures = group.exceptions
    else:
        failures = ()
    if failures:
        raise StartError(str(failures[0]))


async def perform(options: argparse.Namespace, data: Path) -> int:
    """Play until the end or a signal, and leave no process behind in either case."""
    end_at_signals()
    try:
        async with running(data) as ready:
            result, mails = await play(ready, options.families, options.seed)
            if options.once:
                sys.stdout.write(f"{result.as_json()}\n")
            else:
                report.show(result, mails)
                report.tell_where(ready)
                await _until_cancelled()
    except asyncio.CancelledError:
        return INTERRUPTED
    return 0 if result.fits else 1


def end_at_signals() -> None:
    """Turn Ctrl-C and SIGTERM into the end of the running task."""
    task = cast("asyncio.Task[int]", asyncio.current_task())
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


async def _until_cancelled() -> None:
    with suppress(asyncio.CancelledError):
        await asyncio.Event().wait()
