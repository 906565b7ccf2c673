"""What waiting cures, and the root of what this package raises."""

import asyncpg
import redis

# A server that restarts, fails over, is full, refuses writes or is gone. Loops wait these
# out; every other error is a bug and ends the process. asyncpg reports a dropped connection
# as InterfaceError, and a commit whose answer never came as InternalClientError.
OUTAGE = (
    OSError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.TransactionRollbackError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,
    asyncpg.ReadOnlySQLTransactionError,
    redis.RedisError,
)


class NotifyError(Exception):
    """Root of what this package raises."""
