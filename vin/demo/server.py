"""`vin up` as a child process: started, waited for, ended with us whatever happens."""

import asyncio
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, TypeAdapter
from pydantic.alias_generators import to_camel

from vin.embedded.server import CHILD
from vin.errors import StartError

READY_SECONDS = 60
END_SECONDS = 15
POLL_SECONDS = 0.05
CAMEL = ConfigDict(alias_generator=to_camel)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientEntry:
    """A client that may connect, and the unit of its reporters."""

    __pydantic_config__ = CAMEL

    organisation: str
    unit: str
    client_id: str
    private_key_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    """What `ready.json` tells."""

    __pydantic_config__ = CAMEL

    api: str
    keyholder: str
    mail_dir: Path
    clients: tuple[ClientEntry, ...]


READY = TypeAdapter(Ready)


def _no_longer_ready(data: Path) -> Path:
    """Drop what an earlier run may have announced; return where this one will."""
    ready = data.absolute() / "ready.json"
    with suppress(FileNotFoundError, NotADirectoryError):
        ready.unlink()
    return ready


def _announced(ready: Path) -> Ready | None:
    return READY.validate_json(ready.read_bytes()) if ready.exists() else None


@asynccontextmanager
async def running(data: Path) -> AsyncIterator[Ready]:
    """Run `vin up` in a folder; StartError if it does not come up, having said why itself."""
    ready = _no_longer_ready(data)
    process = await _start(data)
    try:
        yield await _until_ready(process, ready)
    finally:
        await end(process, END_SECONDS)


async def _start(data: Path) -> Process:
    """Start in a session of its own, so that a Ctrl-C reaches us alone."""
    death = str(int(signal.SIGTERM))
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-IS", CHILD, str(os.getpid()), death, "stay"),
        *(sys.executable, "-m", "vin", "up", "--data", data, "--port", "0"),
        stdin=DEVNULL,
        stdout=DEVNULL,
        start_new_session=True,
    )


async def _until_ready(process: Process, ready: Path) -> Ready:
    with suppress(TimeoutError):
        async with asyncio.timeout(READY_SECONDS):
            while process.returncode is None:
                announced = _announced(ready)
                if announced:
                    return announced
                await asyncio.sleep(POLL_SECONDS)
    message = "vin up did not start."
    raise StartError(message)


async def end(process: Process, seconds: float) -> None:
    """Ask a process to end, and make it after so many seconds."""
    with suppress(ProcessLookupError, TimeoutError):
        process.terminate()
        await asyncio.wait_for(process.wait(), seconds)
    if process.returncode is None:
        process.kill()
        await process.wait()
