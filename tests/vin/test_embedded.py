"""The embedded servers in use: what they keep and what they hide."""

import asyncio
import os
import signal
import stat
import tempfile
from pathlib import Path

import asyncpg
import pytest
from redis.asyncio import Redis

from vin.embedded import EmbeddedError, home, postgres, valkey


async def query(url: str, *statements: str) -> object:
    """Run the statements; the value of the last one."""
    db = await asyncpg.connect(url)
    try:
        for statement in statements[:-1]:
            await db.execute(statement)
        return await db.fetchval(statements[-1])
    finally:
        await db.close()


def sockets_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_socket()]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def postmaster(folder: Path) -> int:
    return int((folder / "postgres/data/postmaster.pid").read_text().split()[0])


async def test_a_second_start_goes_on_where_the_first_one_was(tmp_path: Path) -> None:
    async with postgres(tmp_path) as database, valkey(tmp_path) as queue:
        await query(database, "CREATE TABLE kept AS SELECT 42 AS value", "SELECT 1")
        async with Redis.from_url(queue) as client:
            await client.set("kept", 42)

    async with postgres(tmp_path) as database, valkey(tmp_path) as queue:
        assert await query(database, "SELECT value FROM kept") == 42
        async with Redis.from_url(queue) as client:
            assert await client.get("kept") == b"42"


async def test_the_servers_listen_on_sockets_in_private_folders_only(tmp_path: Path) -> None:
    async with postgres(tmp_path) as database, valkey(tmp_path) as queue:
        assert await query(database, "SHOW listen_addresses") == ""
        async with Redis.from_url(queue) as client:
            assert await client.config_get("port") == {"port": "0"}

        sockets = sockets_under(tmp_path)
        assert len(sockets) == 2
        assert {mode(path.parent) for path in sockets} == {0o700}


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
        insert = "INSERT INTO secret VALUES ($1, $2)"
        await db.execute(insert, "a-token", 1)
        with pytest.raises(asyncpg.UniqueViolationError, match="a-token"):
            await db.execute(insert, "a-token", 2)
        with pytest.raises(asyncpg.CheckViolationError, match="another-token"):
            await db.execute(insert, "another-token", -7654321)
        await db.close()

    log = (tmp_path / "log/postgres.log").read_text()
    assert "secret_token_key" in log
    assert "-token" not in log
    assert "7654321" not in log


@pytest.mark.parametrize("name", ["d" * 120, "two words, and ü"], ids=["long", "special"])
async def test_any_path_will_do_for_the_data(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    async with postgres(folder, durable=False) as database, valkey(folder) as queue:
        assert await query(database, "SELECT 42") == 42
        async with Redis.from_url(queue) as client:
            assert await client.ping()
        shorts = [Path(database.partition("host=")[2].partition("&")[0]), Path(queue[7:]).parent]
        assert {mode(short) for short in shorts} == {0o700}

    assert not sockets_under(folder)
    assert not any(short.exists() for short in shorts)


async def test_without_a_short_path_for_the_socket_the_start_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / ("t" * 120)))

    with pytest.raises(EmbeddedError, match="too long for a socket"):
        async with valkey(tmp_path / ("d" * 120)):
            pass


async def test_a_second_launcher_on_the_same_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "LAUNCHER_SECONDS", 0.1)
    async with valkey(tmp_path) as queue:
        with pytest.raises(EmbeddedError, match="another vin runs in it"):
            async with valkey(tmp_path):
                pass
        async with Redis.from_url(queue) as client:
            assert await client.ping()


async def test_the_end_of_a_server_is_told_at_once_and_as_an_error(tmp_path: Path) -> None:
    ended = asyncio.Event()

    async def kill_server() -> None:
        async with postgres(tmp_path, durable=False, ended=ended):
            os.kill(postmaster(tmp_path), signal.SIGKILL)
            await asyncio.wait_for(ended.wait(), 5)

    with pytest.raises(EmbeddedError, match="PostgreSQL stopped"):
        await kill_server()


async def test_a_start_that_is_cancelled_leaves_nothing_behind(tmp_path: Path) -> None:
    async def start() -> None:
        async with postgres(tmp_path, durable=False):
            await asyncio.Event().wait()

    for seconds in (0.05, 0.2, 0.4):
        starting = asyncio.create_task(start())
        await asyncio.wait([starting], timeout=seconds)
        starting.cancel()
        await asyncio.wait([starting])

    async with postgres(tmp_path, durable=False) as database:
        assert await query(database, "SELECT 42") == 42


async def test_the_number_of_a_dead_server_may_be_in_use_again(tmp_path: Path) -> None:
    async with postgres(tmp_path, durable=False):
        left = (tmp_path / "postgres/data/postmaster.pid").read_text().split("\n")
    stranger = await asyncio.create_subprocess_exec("/bin/sleep", "60")
    left[0] = str(stranger.pid)
    (tmp_path / "postgres/data/postmaster.pid").write_text("\n".join(left))
    (tmp_path / "postgres/.s.PGSQL.5432.lock").write_text("\n".join(left))

    async with postgres(tmp_path, durable=False) as database:
        assert await query(database, "SELECT 42") == 42
    stranger.kill()
    await stranger.wait()
