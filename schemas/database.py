"""The one name for a database connection, whether it came from a pool or not."""

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from asyncpg import Connection, Record
    from asyncpg.pool import PoolConnectionProxy

Db: TypeAlias = "Connection[Record] | PoolConnectionProxy[Record]"
