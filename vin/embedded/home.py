"""A server's own folder: private, with one launcher at a time, and a socket within reach."""

import asyncio
import fcntl
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vin.errors import StartError

LAUNCHER_SECONDS = 1.0  # a killed process needs a moment to die
SERVER_SECONDS = 15.0
POLL_SECONDS = 0.02
# A sockaddr_un has room for 107 bytes; other characters would need quoting in settings and URLs.
SOCKET_PATH = re.compile(r"[\w./-]{1,107}", re.ASCII)


class EmbeddedError(StartError):
    """A server cannot be used; the message is a sentence for whoever started it."""


@dataclass(frozen=True, slots=True)
class Home:
    """A server's own folder while it is ours; the server inherits the descriptor `lock`."""

    folder: Path
    log: Path
    lock: int


@contextmanager
def told_as_sentence(path: Path) -> Iterator[None]:
    """Turn what the file system refuses into a sentence that names the place."""
    try:
        yield
    except OSError as error:
        message = f"Cannot use {error.filename or path}: {error.strerror}."
        raise EmbeddedError(message) from error


def make_private(folder: Path) -> None:
    """Make a folder that is ours alone; refuse one of somebody else's that stands there."""
    with told_as_sentence(folder):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if folder.lstat().st_uid != os.geteuid():
            message = f"Cannot use {folder}: it belongs to another user."
            raise EmbeddedError(message)
        folder.chmod(0o700)


@asynccontextmanager
async def open_home(folder: Path, name: str) -> AsyncIterator[Home]:
    """Hold the folder of the server `name`: no other launcher and no earlier server is in it."""
    home, log = _make(folder, name)
    with _open(home / "launcher.lock") as launcher, _open(home / "server.lock") as lock:
        await _lock(launcher, LAUNCHER_SECONDS, f"Cannot use {folder}: another vin runs in it.")
        # Servers of a launcher that was killed hold the lock that they inherited to their end.
        await _lock(lock, SERVER_SECONDS, f"Cannot use {home}: an earlier server does not end.")
        yield Home(home, log, lock)


def _make(folder: Path, name: str) -> tuple[Path, Path]:
    home, logs = folder.absolute() / name, folder.absolute() / "log"
    make_private(home)
    make_private(logs)
    return home, logs / f"{name}.log"


@contextmanager
def _open(path: Path) -> Iterator[int]:
    with told_as_sentence(path):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


async def _lock(descriptor: int, seconds: float, refusal: str) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not _try_lock(descriptor):  # noqa: ASYNC110 - a file lock calls nobody back
                await asyncio.sleep(POLL_SECONDS)
    except TimeoutError as error:
        raise EmbeddedError(refusal) from error


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def socket_folder(home: Path, name: str) -> Iterator[Path]:
    """Yield a private folder for the socket `name`: `home`, or one with a short plain path."""
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()
    short = Path(tempfile.gettempdir(), f"vin-{os.geteuid()}-{digest[:16]}")
    if SOCKET_PATH.fullmatch(str(home / name)):
        yield home
    elif SOCKET_PATH.fullmatch(str(short / name)):
        make_private(short)
        try:
            yield short
        finally:
            shutil.rmtree(short, ignore_errors=True)
    else:
        message = f"Cannot use {home}: its path and TMPDIR are too long for a socket."
        raise EmbeddedError(message)
