"""The embedded servers and the process that started them, which may be killed."""

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import asyncpg
import pytest

from vin.embedded import postgres, valkey

ROOT = Path(__file__).parents[2]
NOBODY = 65534
PACKAGES = {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}  # for another Python too
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


@contextmanager
def holder(
    folder: Path, *, user: int | None = None, python: str = sys.executable
) -> Iterator["subprocess.Popen[str]"]:
    """Run both servers under a process with a group of its own, and kill it in the end."""
    with subprocess.Popen(
        [python, "-c", HOLDER, str(folder)],
        cwd="/",
        env={**os.environ, **PACKAGES},
        user=user,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def announced(process: "subprocess.Popen[str]") -> list[str]:
    """Wait for the two URLs."""
    assert process.stdout
    return process.stdout.readline().split()


def processes_below(parent: int) -> list[int]:
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [pid for child in map(int, children) for pid in (child, *processes_below(child))]


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def all_end(pids: Sequence[int], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(0.01)
    return not any(map(is_alive, pids))


async def kept(folder: Path) -> object:
    """Start once more and read what the killed one had committed."""
    async with postgres(folder) as database, valkey(folder):
        db = await asyncpg.connect(database)
        try:
            return await db.fetchval("SELECT value FROM kept")
        finally:
            await db.close()


async def keep(database: str) -> None:
    db = await asyncpg.connect(database)
    await db.execute("CREATE TABLE kept AS SELECT 42 AS value")
    await db.close()


@pytest.mark.parametrize("kill", [os.kill, os.killpg], ids=["alone", "with its group"])
def test_no_server_outlives_its_parent(tmp_path: Path, kill: Callable[[int, int], None]) -> None:
    with holder(tmp_path) as process:
        assert announced(process)
        servers = processes_below(process.pid)
        assert len(servers) > 2

        kill(process.pid, signal.SIGKILL)

        assert all_end(servers, seconds=5)


def test_a_start_right_after_a_kill_waits_for_the_old_servers_and_goes_on(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        database, _ = announced(process)
        asyncio.run(keep(database))
        os.killpg(process.pid, signal.SIGKILL)

        assert asyncio.run(kept(tmp_path)) == 42


@pytest.mark.parametrize("seconds", [0.3, 0.6])
def test_a_start_that_is_killed_at_any_moment_spoils_nothing(
    tmp_path: Path, seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with holder(tmp_path) as process:
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGKILL)

    with holder(tmp_path) as process:
        assert announced(process)


def test_a_signal_to_the_group_of_the_parent_does_not_reach_the_servers(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        announced(process)
        groups = {os.getpgid(pid) for pid in processes_below(process.pid)}

    assert len(groups) > 1
    assert process.pid not in groups


def runs_for_nobody(python: str) -> bool:
    try:
        command = [python, "-c", "import vin.embedded"]
        subprocess.run(command, cwd="/", env={**os.environ, **PACKAGES}, user=NOBODY, check=True)
    except (PermissionError, subprocess.CalledProcessError):
        return False
    return True


def test_a_normal_user_can_run_the_servers_too() -> None:
    if os.geteuid() != 0:
        pytest.skip("not root: the other tests have shown it")
    python = next(filter(runs_for_nobody, [sys.executable, "/usr/bin/python3"]), None)
    if python is None:
        pytest.skip("no Python with these packages is readable for another user")
    with tempfile.TemporaryDirectory() as name:
        os.chown(name, NOBODY, NOBODY)
        for _ in ("first start", "second start"):
            with holder(Path(name), user=NOBODY, python=python) as process:
                assert announced(process)
                servers = processes_below(process.pid)
                process.kill()
                assert all_end(servers, seconds=5)
