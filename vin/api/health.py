"""Whether the index can do its work."""

from aiohttp import web

from vin.api.context import CONTEXT
from vin.web.health import health_routes


async def check(app: web.Application) -> None:
    """Reach the database, which alone is needed to register."""
    await app[CONTEXT].pool.execute("SELECT 1")


ROUTES = health_routes(check)
