"""Servers that VIN refuses to work with: too old, or not there."""

import struct
from asyncio import StreamReader, StreamWriter, start_unix_server
from pathlib import Path

import pytest

from tests.conftest import Servers
from vin.embedded import EmbeddedError, check_postgres, check_redis


async def test_servers_that_are_new_enough_are_accepted(servers: Servers) -> None:
    await check_postgres(servers.postgres)
    await check_redis(servers.redis)


async def test_a_postgresql_before_15_is_refused(tmp_path: Path) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        (length,) = struct.unpack("!i", await reader.readexactly(4))
        await reader.readexactly(length - 4)
        version = b"server_version\x0014.9\x00"
        writer.write(b"R" + struct.pack("!ii", 8, 0))
        writer.write(b"S" + struct.pack("!i", 4 + len(version)) + version)
        writer.write(b"Z" + struct.pack("!i", 5) + b"I")
        await reader.readexactly(len(b"X\0\0\0\4"))
        writer.close()

    async with await start_unix_server(answer, tmp_path / ".s.PGSQL.5432"):
        with pytest.raises(EmbeddedError) as caught:
            await check_postgres(f"postgresql://vin@/vin?host={tmp_path}&port=5432")

    assert str(caught.value) == "PostgreSQL 14 is too old: VIN needs 15 or later."


async def test_a_redis_before_6_2_is_refused(tmp_path: Path) -> None:
    async def answer(reader: StreamReader, writer: StreamWriter) -> None:
        info = b"# Server\r\nredis_version:6.0.16\r\n"
        while arguments := (await reader.readline())[1:]:
            words = [
                await reader.readexactly(int((await reader.readline())[1:]) + 2)
                for _ in range(int(arguments))
            ]
            known = {b"INFO\r\n": b"$%d\r\n%s\r\n" % (len(info), info), b"HELLO\r\n": b"%0\r\n"}
            writer.write(known.get(words[0], b"+OK\r\n"))
        writer.close()

    async with await start_unix_server(answer, tmp_path / "redis.sock"):
        with pytest.raises(EmbeddedError) as caught:
            await check_redis(f"unix://{tmp_path}/redis.sock")

    assert str(caught.value) == "Redis 6.0.16 is too old: VIN needs 6.2 or later."


async def test_a_url_of_another_kind_is_refused() -> None:
    with pytest.raises(EmbeddedError, match="PostgreSQL cannot be used: its URL is not valid"):
        await check_postgres("http://vin:s3cret@localhost/vin")
    with pytest.raises(EmbeddedError, match="Redis cannot be used: its URL is not valid"):
        await check_redis("http://vin:s3cret@localhost/vin")


async def test_servers_that_are_away_are_told_without_their_password(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedError, match=r"^PostgreSQL cannot be used: ") as database:
        await check_postgres("postgresql://vin:s3cret@127.0.0.1:1/vin")
    with pytest.raises(EmbeddedError, match=r"^Redis cannot be used: ") as queue:
        await check_redis(f"unix://:s3cret@{tmp_path}/none.sock")

    assert "s3cret" not in f"{database.value}{queue.value}"
    assert "\n" not in f"{database.value}{queue.value}"
