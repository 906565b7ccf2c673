import asyncio

import pytest
from aiohttp import web

from tests.serving import served
from vin.web import health
from vin.web.health import health_routes
from vin.web.routes import application


async def well(_app: web.Application) -> None:
    """Find nothing wrong."""


async def away(_app: web.Application) -> None:
    raise ConnectionRefusedError


async def hanging(_app: web.Application) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(("check", "status"), [(well, 200), (away, 503), (hanging, 503)])
async def test_readiness_is_what_the_check_finds(
    check: health.Check, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "READY_SECONDS", 0.05)

    async with served(application(health_routes(check))) as service:
        async with service.http.get("/health/ready") as answer:
            assert answer.status == status
        async with service.http.get("/health/live") as answer:
            assert await answer.json() == {"status": "ok"}
