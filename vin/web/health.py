"""Whether a process runs, and whether it can do its work."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Literal

from aiohttp import hdrs, web

from schemas.problem import Problem
from vin.web.body import reply
from vin.web.routes import Route
from vin.web.wire import Wire

READY_SECONDS = 2

Check = Callable[[web.Application], Awaitable[None]]


class Health(Wire):
    """The process is well; else a problem is answered."""

    status: Literal["ok"] = "ok"


async def get_live(_request: web.Request) -> web.Response:
    """Tell that the process answers at all."""
    return reply(Health())


def health_routes(check: Check) -> tuple[Route, Route]:
    """Make the two routes; `check` raises while the process cannot serve."""

    async def get_ready(request: web.Request) -> web.Response:
        async with asyncio.timeout(READY_SECONDS):
            await check(request.app)
        return reply(Health())

    return (
        Route(
            method=hdrs.METH_GET,
            path="/health/live",
            operation_id="getLive",
            summary="Zegt of de dienst draait",
            scope=None,
            handler=get_live,
            response=Health,
        ),
        Route(
            method=hdrs.METH_GET,
            path="/health/ready",
            operation_id="getReady",
            summary="Zegt of de dienst kan werken",
            scope=None,
            handler=get_ready,
            response=Health,
            problems=(Problem.UNAVAILABLE,),
        ),
    )
