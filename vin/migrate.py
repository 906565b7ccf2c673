"""Brings a database to the schema of this program: plain SQL, in order, each file once."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from schemas.database import Db
from vin.errors import StartError

ADVISORY_LOCK = int.from_bytes(b"vin migr")  # a name in the eight bytes of a bigint
PATIENCE_SECONDS = 60
NAME = re.compile(r"(\d{4})_\w+\.sql")


class MigrationError(StartError):
    """Schema and program do not fit; the message says what to do about it."""


async def migrate(db_url: str, folder: Path) -> list[str]:
    """Apply what the database lacks and tell its names; of several at once, one does the work."""
    files = read_migrations(folder)
    db = await asyncpg.connect(db_url)
    try:
        await _lock(db)
        await _create_record(db)
        pending = find_pending(files, await _select_applied(db))
        for name in pending:
            await _apply(db, name, files[name])
    finally:
        await db.close()
    return pending


async def check_schema(db: Db, folder: Path) -> None:
    """Raise MigrationError unless the schema is exactly this program's."""
    pending = find_pending(read_migrations(folder), await _select_applied(db))
    if pending:
        message = f"The database lacks {pending[0]}: run `vin migrate` first."
        raise MigrationError(message)


def read_migrations(folder: Path) -> Mapping[str, str]:
    """Read the files by name, in order; their numbers are 0001, 0002 and on."""
    paths = sorted(folder.glob("*.sql"))
    for number, path in enumerate(paths, start=1):
        found = NAME.fullmatch(path.name)
        if not found or int(found[1]) != number:
            message = f"{path.name} should be a migration with the number {number:04}."
            raise MigrationError(message)
    return {path.name: path.read_text(encoding="utf-8") for path in paths}


def find_pending(files: Mapping[str, str], applied: Mapping[str, str]) -> list[str]:
    """Tell which files the database lacks; refuse when those it has are not the first of ours."""
    for name, digest in applied.items():
        if name not in files:
            message = f"The database is newer than this program: it has {name}."
            raise MigrationError(message)
        if digest != _digest(files[name]):
            message = f"{name} was changed after it was applied: undo that change."
            raise MigrationError(message)
    pending = [name for name in files if name not in applied]
    if pending and applied and pending[0] < max(applied):
        message = f"The database has {max(applied)} but lacks {pending[0]} before it."
        raise MigrationError(message)
    return pending


def _digest(sql: str) -> str:
    return hashlib.sha256(sql.encode()).hexdigest()


async def _lock(db: Db) -> None:
    """Wait for our turn; the lock lasts as long as the connection."""
    try:
        async with db.transaction():
            await db.execute(f"SET LOCAL lock_timeout = '{PATIENCE_SECONDS}s'")
            await db.execute(
                """
                -- migrate.lock
                SELECT pg_advisory_lock($1)
                """,
                ADVISORY_LOCK,
            )
    except asyncpg.LockNotAvailableError as error:
        message = f"Another process has been migrating for {PATIENCE_SECONDS} seconds."
        raise MigrationError(message) from error


async def _create_record(db: Db) -> None:
    await db.execute(
        """
        -- migrate.create_record
        CREATE TABLE IF NOT EXISTS public.migration (
            name       text PRIMARY KEY,
            sha256     text NOT NULL,
            applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
        );
        -- Each process checks the schema at its start, whatever its login.
        GRANT SELECT ON public.migration TO PUBLIC
        """
    )


async def _select_applied(db: Db) -> Mapping[str, str]:
    try:
        rows = await db.fetch(
            """
            -- migrate.select_applied
            SELECT name, sha256
              FROM public.migration
             ORDER BY name
            """
        )
    except asyncpg.UndefinedTableError:
        return {}
    return {row["name"]: row["sha256"] for row in rows}


async def _apply(db: Db, name: str, sql: str) -> None:
    try:
        async with db.transaction():
            await db.execute("SET LOCAL lock_timeout = '4s'")
            await db.execute("SET LOCAL statement_timeout = '5s'")
            await db.execute(sql)
            await db.execute(
                """
                -- migrate.apply
                INSERT INTO public.migration (name, sha256)
                VALUES ($1, $2)
                """,
                name,
                _digest(sql),
            )
    except asyncpg.PostgresError as error:
        message = f"{name} failed and changed nothing: {error.args[0]}."
        raise MigrationError(message) from error
