import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web
from structlog.testing import capture_logs

from tests.serving import Service, served
from vin.web.problems import Handler
from vin.web.routes import Route, application
from vin.web.server import serving

SECRET = b"eyJhbGciOiJFUzI1NiJ9"


async def get_slow(_request: web.Request) -> web.Response:
    await asyncio.sleep(0.2)
    return web.json_response({})


ROUTES = [
    Route(
        method="GET",
        path="/slow",
        operation_id="getSlow",
        summary="Duurt even",
        scope=None,
        handler=get_slow,
    )
]


@web.middleware
async def broken(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Fail outside the middleware that answers errors, with or without a part sent."""
    response = await handler(request)
    if request.query:
        await response.prepare(request)
        await response.write_eof()
    raise ZeroDivisionError


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    async with served(application(ROUTES)) as started:
        yield started


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /slow HTTP/1.1\r\nAuthorization " + SECRET + b"\r\n\r\n",
        b"GET /slow HTTP/1.1\r\nAuthorization: " + SECRET + b"\x00\r\n\r\n",
        b"GET /" + SECRET * 500 + b" HTTP/1.1\r\n\r\n",
        SECRET + b"\r\n\r\n",
    ],
)
async def test_what_is_no_request_is_answered_and_not_repeated(
    service: Service, request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    with capture_logs() as logs:
        answer = await raw(service, request_)

    assert b" 400 Bad Request\r\n" in answer
    assert b"application/problem+json" in answer
    assert b"X-Frame-Options: DENY" in answer
    assert b"urn:problem-type:vin:malformed-request" in answer
    for told in (answer.decode(), str(logs), caplog.text):
        assert SECRET.decode() not in told


async def raw(service: Service, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_failure_outside_the_handlers_looks_like_any_other() -> None:
    app = application(ROUTES)
    app.middlewares.insert(0, broken)

    async with served(app) as service, service.http.get("/slow") as answer:
        assert answer.status == 500
        assert answer.headers["API-Version"] == "1.0.0"
        assert (await answer.json())["type"] == "urn:problem-type:vin:internal-error"


async def test_an_answer_that_was_sent_has_no_other_put_behind_it() -> None:
    app = application(ROUTES)
    app.middlewares.insert(0, broken)

    async with served(app) as service:
        answer = await raw(service, b"GET /slow?cut HTTP/1.1\r\nHost: x\r\n\r\n")

    assert answer.startswith(b"HTTP/1.1 400 Bad Request")
    assert answer.count(b"HTTP/1.1") == 1


async def test_requests_under_way_are_finished_at_the_end() -> None:
    async with served(application(ROUTES)) as service:
        asking = asyncio.create_task(service.first_line(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"))
        await asyncio.sleep(0.05)

    assert await asking == b"HTTP/1.1 200 OK"


async def test_a_port_that_is_taken_is_an_error(service: Service) -> None:
    with pytest.raises(OSError, match="address already in use"):
        async with serving(application(ROUTES), "127.0.0.1", service.port):
            pass
