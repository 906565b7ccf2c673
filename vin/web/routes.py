"""One table builds the router, the OpenAPI document and the permission tests."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

from aiohttp import HttpVersion11, hdrs, web
from pydantic import BaseModel

from schemas.problem import Problem
from vin.web.accept import accepts
from vin.web.bearer import BEARER, Bearer
from vin.web.body import BODY, JSON, receive
from vin.web.lines import NDJSON
from vin.web.problems import Handler, add_headers, edge
from vin.web.query import refuse_query

FORM = "application/x-www-form-urlencoded"
HTML = "text/html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One operation: what it takes, who may call it, what it answers.

    `scope` None: no access token is asked for. `form` and `request` are the body, as form
    fields or JSON; `query` the parameters; `idempotent` asks for an Idempotency-Key.
    `lines` makes body and answer NDJSON that is read and written as it comes; `request` and
    `response` are one line of it. `page` makes the answer HTML, for people; what mail programs
    add to its address is passed over. `success` lists the statuses of `response`; `problems` what
    the rest does not imply. Within `seconds` the request is read and answered.
    """

    method: str
    path: str
    operation_id: str
    summary: str
    handler: Handler
    scope: str | None
    request: type[BaseModel] | None = None
    form: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    lines: bool = False
    page: bool = False
    idempotent: bool = False
    response: type[BaseModel] | None = None
    success: Sequence[int] = (200,)
    problems: Sequence[Problem] = ()
    seconds: float = 30

    @property
    def body_type(self) -> str | None:
        """The content type of the body, if there is one."""
        if self.form is not None:
            return FORM
        return None if self.request is None else self.answer_type

    @property
    def answer_type(self) -> str:
        """The content type of what is answered when all goes well."""
        if self.page:
            return HTML
        return NDJSON if self.lines else JSON


def application(routes: Iterable[Route], bearer: Bearer | None = None) -> web.Application:
    """Make an application of a route table; `bearer` is needed once a route has a scope."""
    app = web.Application(middlewares=[edge])
    app.on_response_prepare.append(add_headers)
    if bearer is not None:
        app[BEARER] = bearer
    for route in routes:
        _add(app, route)
    return app


def _add(app: web.Application, route: Route) -> None:
    handler = partial(_serve, route=route)
    also = [hdrs.METH_HEAD] if route.method == hdrs.METH_GET else []
    for method in [route.method, *also]:
        app.router.add_route(method, route.path, handler, expect_handler=_invite)


async def _serve(request: web.Request, *, route: Route) -> web.StreamResponse:
    """Check what every operation checks: size first, then form, then the right to call."""
    async with asyncio.timeout(route.seconds):
        if route.body_type is not None and not route.lines:
            request[BODY] = await receive(request)
        if not accepts(request, route.answer_type):
            raise web.HTTPNotAcceptable
        if route.scope is not None:
            await request.app[BEARER].authorise(request, route.scope)
        if route.body_type not in {None, request.content_type}:
            raise web.HTTPUnsupportedMediaType
        if route.query is None and not route.page:
            refuse_query(request)
        return await route.handler(request)


async def _invite(request: web.Request) -> None:
    """Answer `Expect: 100-continue`; any other expectation may be left unmet (RFC 9110)."""
    expectation = request.headers.get(hdrs.EXPECT, "").lower()
    if expectation == "100-continue" and request.version >= HttpVersion11:
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # Not part of the response's size.
        request.writer.output_size = 0
