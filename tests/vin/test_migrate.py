"""Migrations: each applied once, in order, all or nothing; a surprise is refused."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest
import pytest_asyncio

from tests.conftest import Servers, beside, on_server
from vin.migrate import ADVISORY_LOCK, MigrationError, check_schema, migrate

FIRST = {"0001_first.sql": "CREATE TABLE first (id int); INSERT INTO first VALUES (1);"}
SECOND = {"0002_second.sql": "ALTER TABLE first ADD COLUMN name text;"}
THIRD = {"0003_third.sql": "CREATE TABLE third (id int);"}


@pytest_asyncio.fixture
async def empty(servers: Servers) -> AsyncIterator[str]:
    """The URL of a database without any migration."""
    name = f"vin_test_{uuid4().hex}"
    await on_server(servers.postgres, f'CREATE DATABASE "{name}"')
    yield beside(servers.postgres, name)
    await on_server(servers.postgres, f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write(tmp_path, FIRST | SECOND)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, sql in files.items():
        (folder / name).write_text(sql)
    return folder


async def fetch(url: str, sql: str) -> list[tuple[object, ...]]:
    db = await asyncpg.connect(url)
    try:
        return [tuple(row) for row in await db.fetch(sql)]
    finally:
        await db.close()


async def check(url: str, folder: Path) -> None:
    db = await asyncpg.connect(url)
    try:
        await check_schema(db, folder)
    finally:
        await db.close()


async def test_migrations_are_applied_in_order_and_recorded(empty: str, folder: Path) -> None:
    assert await migrate(empty, folder) == ["0001_first.sql", "0002_second.sql"]

    assert await fetch(empty, "SELECT id, name FROM first") == [(1, None)]
    recorded = await fetch(empty, "SELECT name, length(sha256) FROM public.migration ORDER BY 1")
    assert recorded == [("0001_first.sql", 64), ("0002_second.sql", 64)]


async def test_a_second_run_applies_only_what_is_new(empty: str, folder: Path) -> None:
    await migrate(empty, folder)
    assert await migrate(empty, folder) == []

    assert await migrate(empty, write(folder, THIRD)) == ["0003_third.sql"]


async def test_of_processes_that_start_at_once_one_does_the_work(empty: str, folder: Path) -> None:
    applied = await asyncio.gather(*(migrate(empty, folder) for _ in range(8)))

    assert max(applied, key=len) == ["0001_first.sql", "0002_second.sql"]
    assert sum(map(len, applied)) == 2
    assert await fetch(empty, "SELECT id FROM first") == [(1,)]


async def test_a_migration_that_fails_changes_nothing_and_can_be_mended(
    empty: str, folder: Path
) -> None:
    write(folder, {"0003_third.sql": "CREATE TABLE third (id int); SELECT 1 / 0;"})

    with pytest.raises(MigrationError, match=r"0003_third.sql failed .*: division by zero\."):
        await migrate(empty, folder)

    assert await fetch(empty, "SELECT to_regclass('third')::text") == [(None,)]
    assert await migrate(empty, write(folder, THIRD)) == ["0003_third.sql"]


async def test_a_migration_waits_neither_long_for_a_lock_nor_long_at_all(
    empty: str, tmp_path: Path
) -> None:
    sql = """
        CREATE TABLE patience AS
        SELECT current_setting('lock_timeout') AS lock,
               current_setting('statement_timeout') AS statement
    """
    await migrate(empty, write(tmp_path, {"0001_patience.sql": sql}))

    assert await fetch(empty, "TABLE patience") == [("4s", "5s")]


async def test_one_that_works_for_long_is_not_waited_for_for_ever(
    empty: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vin.migrate.PATIENCE_SECONDS", 0.1)
    busy = await asyncpg.connect(empty)
    await busy.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)

    with pytest.raises(MigrationError, match="Another process has been migrating"):
        await migrate(empty, folder)
    await busy.close()


async def test_a_changed_migration_is_refused(empty: str, folder: Path) -> None:
    await migrate(empty, folder)
    write(folder, {"0001_first.sql": "CREATE TABLE first (id bigint);"})

    for refused in (migrate, check):
        with pytest.raises(MigrationError, match=r"^0001_first.sql was changed after"):
            await refused(empty, folder)


async def test_a_database_that_is_ahead_of_the_program_is_refused(empty: str, folder: Path) -> None:
    await migrate(empty, write(folder, THIRD))
    (folder / "0003_third.sql").unlink()

    for refused in (migrate, check):
        with pytest.raises(MigrationError, match=r"newer than this program: it has 0003_third"):
            await refused(empty, folder)


async def test_a_gap_in_what_was_applied_is_refused(empty: str, folder: Path) -> None:
    await migrate(empty, write(folder, THIRD))
    await fetch(empty, "DELETE FROM public.migration WHERE name = '0002_second.sql'")

    for refused in (migrate, check):
        with pytest.raises(MigrationError, match=r"has 0003_third.sql but lacks 0002_second.sql"):
            await refused(empty, folder)


@pytest.mark.parametrize("name", ["0004_after_a_gap.sql", "0002_twice.sql", "third.sql"])
async def test_files_that_are_not_numbered_in_a_row_are_refused(
    empty: str, folder: Path, name: str
) -> None:
    with pytest.raises(MigrationError, match="should be a migration with the number"):
        await migrate(empty, write(folder, {name: "SELECT 1"}))


async def test_a_process_may_start_on_exactly_its_own_schema(empty: str, folder: Path) -> None:
    with pytest.raises(MigrationError, match=r"lacks 0001_first.sql: run `vin migrate`"):
        await check(empty, folder)

    await migrate(empty, folder)
    await check(empty, folder)

    with pytest.raises(MigrationError, match=r"lacks 0003_third.sql: run `vin migrate`"):
        await check(empty, write(folder, THIRD))


async def test_a_login_without_rights_can_check_the_schema(empty: str, folder: Path) -> None:
    await migrate(empty, folder)
    db = await asyncpg.connect(empty)
    await db.execute("SET ROLE pg_monitor")

    await check_schema(db, folder)
    await db.close()
