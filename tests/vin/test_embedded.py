"""The embedded servers in use: what they keep, what they hide, how they end."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from vin.embedded import EmbeddedError, home, postgres, server, valkey

ROOT = Path(__file__).parents[2]
NOBODY = 65534
HOLDER = """
import asyncio, sys
from pathlib import Path
from vin.embedded import postgres, valkey

async def hold(folder):
    async with postgres(folder) as database, valkey(folder) as queue:
        print(database, queue, flush=True)
        await asyncio.Event().wait()

asyncio.run(hold(Path(sys.argv[1])))
"""


async def query(url: str, *statements: str) -> object:
    """Run the statements and return the value of the last one."""
    db = await asyncpg.connect(url)
    try:
        for statement in statements[:-1]:
            await db.execute(statement)
        return await db.fetchval(statements[-1])
    finally:
        await db.close()


@contextmanager
def holder(
    folder: Path, *, user: int | None = None, env: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """Run both servers under a process of its own, in a group of its own."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
        user=user,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(process: "subprocess.Popen[str]") -> list[str]:
    assert process.stdout
    return process.stdout.readline().split()


def children(parent: int) -> list[int]:
    """Every process below `parent`."""
    listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [pid for child in map(int, listed) for pid in (child, *children(child))]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def seconds_until_gone(pids: Sequence[int]) -> float:
    began = time.monotonic()
    while any(map(is_alive, pids)) and time.monotonic() < began + 10:
        time.sleep(0.01)
    return time.monotonic() - began


async def test_a_second_start_goes_on_where_the_first_one_was(tmp_path: Path) -> None:
    async with postgres(tmp_path) as database, valkey(tmp_path) as queue:
        await query(database, "CREATE TABLE kept AS SELECT 42 AS value", "SELECT 1")
        async with Redis.from_url(queue) as client:
            await client.set("kept", 42)

    async with postgres(tmp_path) as database, valkey(tmp_path) as queue:
        assert await query(database, "SELECT value FROM kept") == 42
        async with Redis.from_url(queue) as client:
            assert await client.get("kept") == b"42"


async def test_the_servers_listen_on_sockets_in_a_private_folder_only(tmp_path: Path) -> None:
    async with postgres(tmp_path) as database, valkey(tmp_path) as queue:
        assert await query(database, "SHOW listen_addresses") == ""
        async with Redis.from_url(queue) as client:
            assert await client.config_get("port") == {"port": "0"}

        sockets = [path for path in tmp_path.rglob("*") if path.is_socket()]
        folders = {stat.S_IMODE(path.parent.stat().st_mode) for path in sockets}

    assert len(sockets) == 2
    assert folders == {0o700}


@pytest.mark.parametrize(("durable", "fsync"), [(True, "on"), (False, "off")])
async def test_only_a_server_that_need_not_last_skips_fsync(
    tmp_path: Path, *, durable: bool, fsync: str
) -> None:
    async with postgres(tmp_path, durable=durable) as database:
        assert await query(database, "SHOW fsync") == fsync
        assert await query(database, "SHOW synchronous_commit") == "on"


async def test_the_log_shows_no_value_of_a_failed_statement(tmp_path: Path) -> None:
    async with postgres(tmp_path, durable=False) as url:
        db = await asyncpg.connect(url)
        await db.execute("CREATE TABLE secret (token text UNIQUE, low int CHECK (low > 0))")
        for low in (1, 1, -7654321):
            try:
                await db.execute("INSERT INTO secret VALUES ($1, $2)", "s3cr3t-token", low)
            except asyncpg.IntegrityConstraintViolationError as error:
                assert "s3cr3t-token" in (error.detail or "")
        await db.close()

    log = (tmp_path / "log" / "postgres.log").read_text()
    assert "secret_token_key" in log
    assert "s3cr3t-token" not in log
    assert "7654321" not in log


@pytest.mark.parametrize("end", [os.kill, os.killpg], ids=["alone", "with its group"])
async def test_no_server_outlives_a_parent_that_is_killed(
    tmp_path: Path, end: "type[os.kill]"
) -> None:
    ...
