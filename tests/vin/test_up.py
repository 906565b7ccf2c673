"""`vin up` as a user meets it: ready, stopped, killed, started again."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.running import Up, running, wait_until_ready


def test_ready_json_says_what_the_contract_says_to_its_owner_alone(up: Up) -> None:
    ready = up.ready

    assert stat.S_IMODE((up.data / "ready.json").stat().st_mode) == 0o600
    assert ready["api"].startswith("http://127.0.0.1:")
    assert not ready["api"].endswith("/")
    assert ready["redisUrl"].startswith("unix://")
    assert len({client["organisation"] for client in ready["clients"]}) >= 4
    for client in ready["clients"]:
        key = Path(client["privateKeyFile"])
        assert key.is_absolute()
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        assert key.read_text().startswith("-----BEGIN PRIVATE KEY-----")
    assert {path.name for path in (up.data / "log").iterdir()} >= {"api.log", "worker.log"}


async def test_the_announced_database_url_reads_every_table(up: Up) -> None:
    db = await asyncpg.connect(up.ready["databaseUrl"])
    tables = await db.fetch(
        """
        SELECT format('%I.%I', schemaname, tablename) AS name
          FROM pg_tables
         WHERE schemaname IN ('registry', 'matching', 'notify', 'audit')
        """
    )
    for table in tables:
        await db.execute(f"SELECT count(*) FROM {table['name']}")  # noqa: S608
    await db.close()
    assert len(tables) > 20


def processes_of(data: Path) -> list[int]:
    """The processes that belong to a data folder, by their environment or command line."""
    marks = str(data).encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                told = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if marks in told:
                found.append(int(entry.name))
    return found


def wait_until_gone(data: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := processes_of(data):
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def start(data: Path) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "vin", "up", "--data", str(data), "--port", "0"],
        env={**os.environ, "DATABASE_URL": "", "REDIS_URL": ""},
        start_new_session=True,
    )


def test_sigterm_ends_all_and_kill_leaves_no_orphan_and_a_new_start_goes_on(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    first = start(data)
    ready = wait_until_ready(data, first)
    os.killpg(first.pid, signal.SIGKILL)

    second = start(data)
    again = wait_until_ready_anew(data, second, ready)
    first.wait()
    assert {client["clientId"] for client in again["clients"]} == {
        client["clientId"] for client in ready["clients"]
    }
    second.kill()
    second.wait()
    wait_until_gone(data, 10)

    third = start(data)
    wait_until_ready_anew(data, third, again)
    began = time.monotonic()
    os.killpg(third.pid, signal.SIGTERM)
    assert third.wait(15) == 0
    assert time.monotonic() - began < 10
    wait_until_gone(data, 1)
    assert not (data / "ready.json").exists()


def wait_until_ready_anew(
    data: Path, process: "subprocess.Popen[bytes]", before: dict[str, Any]
) -> dict[str, Any]:
    """Wait for another ready.json than the one that a killed process left."""
    deadline = time.monotonic() + 60
    ready = before
    while ready == before:
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
        if (data / "ready.json").exists():
            ready = json.loads((data / "ready.json").read_text())
    return ready


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--port", "1"], "Port 1 cannot be used"),
        (["--port", "0", "--region", "/nowhere.toml"], "Cannot read /nowhere.toml"),
    ],
)
def test_what_cannot_start_says_so_in_one_sentence_and_exits_1(
    tmp_path: Path, options: list[str], sentence: str
) -> None:
    if options[1] == "1" and os.geteuid() == 0:
        options = ["--port", "70000"]
        sentence = "Port 70000 cannot be used"
    done = subprocess.run(
        [sys.executable, "-m", "vin", "up", "--data", str(tmp_path / "data"), *options],
        env={**os.environ, "DATABASE_URL": "", "REDIS_URL": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_named(tmp_path: Path, up: Up) -> None:
    port = up.ready["api"].rpartition(":")[2]
    with pytest.raises(RuntimeError, match="ended with 1"), running(tmp_path, "--port", port):
        pass


@pytest.mark.parametrize("binary", [b"/bin/postgres", b"/valkey-server"])
def test_a_server_that_dies_ends_all(tmp_path: Path, binary: bytes) -> None:
    data = tmp_path / "data"
    process = start(data)
    wait_until_ready(data, process)
    for pid in processes_of(data):
        if binary in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)

    assert process.wait(15) == 1
    wait_until_gone(data, 5)


def test_each_administrator_makes_the_keys_of_his_own_side(tmp_path: Path) -> None:
    for side in ("index", "keyholder"):
        subprocess.run(
            [sys.executable, "-m", "vin", "keys", side, str(tmp_path / side)],
            check=True,
            timeout=60,
        )

    made = {
        side: {path.name for path in (tmp_path / side).iterdir()} for side in ("index", "keyholder")
    }
    assert made["index"] == {
        "token-signing.pem",
        "token-public.pem",
        "index.json",
        "contact-kek.json",
        "link.json",
        "webhook-signing.pem",
    }
    assert made["keyholder"] == {"permit-signing.pem", "permit-public.pem", "keyholder.json"}


def test_an_administrator_completes_the_keys_of_an_older_version(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    for verb in ("index", "complete"):
        subprocess.run(
            [sys.executable, "-m", "vin", "keys", verb, str(keys)], check=True, timeout=60
        )
        if verb == "index":
            (keys / "link.json").unlink()

    assert (keys / "link.json").stat().st_mode & 0o777 == 0o600
