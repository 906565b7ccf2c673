"""Listening, with answers and logs as agreed also for what is no HTTP request."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import cast
from uuid import uuid4

import structlog
from aiohttp import web

from schemas.problem import Problem
from vin.web.problems import HEADERS, respond

SHUTDOWN_SECONDS = 5

log: structlog.stdlib.BoundLogger = structlog.get_logger()

# aiohttp's own lines quote what was received, which may be an access token.
SILENT = logging.getLogger("vin.silent")
SILENT.disabled = True


class Connection(web.RequestHandler):
    """One connection; what never becomes a request is answered like a failed one."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's signature
    ) -> web.StreamResponse:
        """Tell no more than that it failed, and close."""
        if request.writer.output_size > 0:
            raise ConnectionError
        malformed = status < Problem.INTERNAL_ERROR.status
        problem = Problem.MALFORMED_REQUEST if malformed else Problem.INTERNAL_ERROR
        request_id = uuid4()
        error = type(exc).__name__
        log.warning("no request", status=problem.status, error=error, request=str(request_id))
        response = respond(problem, request_id)
        response.headers.update(HEADERS)
        response.force_close()
        return response


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int) -> AsyncIterator[int]:
    """Serve for as long as the block lasts; gives the port, OSError where it is taken.

    Requests that are under way at the end have some seconds to finish.
    """
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_SECONDS)
        stack.push_async_callback(runner.cleanup)
        await runner.setup()
        manager = cast("web.Server", runner.server)  # there is one after setup
        connection = partial(Connection, manager, loop=loop, access_log=SILENT, logger=SILENT)
        server = await loop.create_server(connection, host, port)
        stack.callback(server.close)
        yield server.sockets[0].getsockname()[1]
