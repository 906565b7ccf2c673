"""HTTP for reporters."""

import re
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict

from schemas.problem import Problem
from vin import reporters, succession
from vin.api.context import CONTEXT
from vin.contacts import Contact
from vin.errors import Fault, InvalidBodyError, NotFoundError
from vin.fields import Email, Line, Phone
from vin.reporters import UNKNOWN_UNIT, Actor, Designation, Reporter, Wanted
from vin.succession import Departure
from vin.web.body import read, reply
from vin.web.caller import CALLER
from vin.web.problems import REQUEST_ID
from vin.web.query import CursorOf, Page, Position, cursor_text, read_query
from vin.web.routes import Route
from vin.web.wire import Instant, ReporterCode, Wire

REPORTER_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")
BAD_REPORTER_ID = Fault("reporterId", "pattern", "Expected 1 to 64 letters, digits and . _ ~ -")
START = Position(datetime(1970, 1, 1, tzinfo=UTC), (UUID(int=0),))


class ReporterIn(Wire):
    """A designation (W1)."""

    name: Line
    function: Line
    email: Email
    phone: Phone
    unit: Line
    reachable: Line | None = None
    registration_number: Line | None = None


class ReporterOut(ReporterIn):
    """A reporter as his own organisation sees him."""

    reporter_id: str
    designated_at: Instant


class ReportersQuery(Page):
    """Which reporters to list."""

    cursor: Annotated[Position, CursorOf(1)] | None = None


class ReporterList(Wire):
    """One page of reporters."""

    items: list[ReporterOut]
    next_cursor: str | None


class SuccessorQuery(Wire):
    """Who succeeds a reporter (W3)."""

    successor_id: ReporterCode | None = None


class _UnitIn(BaseModel):
    """The one member of a designation that only the database can check."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, strict=True)

    unit: Line


async def put_reporter(request: web.Request) -> web.Response:
    """Designate a reporter, or change what is known of him."""
    context = request.app[CONTEXT]
    wanted = await designation_of(request)
    keys = context.secrets.contact, context.secrets.index
    async with context.pool.acquire() as db, db.transaction():
        now = await context.clock.now(db)
        reporter, is_new = await reporters.designate_reporter(
            db, wanted, actor_of(request), keys, now
        )
    if not is_new:
        return reply(reporter_out(reporter))
    location = f"/v1/reporters/{reporter.reporter_id}"
    return reply(reporter_out(reporter), status=201, headers={hdrs.LOCATION: location})


async def designation_of(request: web.Request) -> Designation:
    """Turn a request into a designation, or refuse it with all its faults."""
    reporter_id = request.match_info["reporterId"]
    faults = [] if REPORTER_ID.fullmatch(reporter_id) else [BAD_REPORTER_ID]
    body = None
    try:
        body = read(request, ReporterIn)
    except InvalidBodyError as error:
        faults += error.faults
    if body is None or faults:
        raise InvalidBodyError([*faults, *await unit_faults(request)])
    contact = Contact(**body.model_dump(exclude={"unit"}))
    return Designation(reporter_id=reporter_id, unit=body.unit, contact=contact)


async def unit_faults(request: web.Request) -> list[Fault]:
    """Tell whether the unit is unknown, in a body that may have other faults."""
    try:
        unit = read(request, _UnitIn).unit
    except InvalidBodyError:
        return []
    async with request.app[CONTEXT].pool.acquire() as db:
        known = await reporters.is_unit(db, request[CALLER].organisation_id, unit)
    return [] if known else [UNKNOWN_UNIT]


async def get_reporter(request: web.Request) -> web.Response:
    """Read one of the organisation's own reporters."""
    context = request.app[CONTEXT]
    reporter_id = request.match_info["reporterId"]
    if not REPORTER_ID.fullmatch(reporter_id):
        raise NotFoundError
    async with context.pool.acquire() as db, db.transaction():
        now = await context.clock.now(db)
        reporter = await reporters.read_reporter(
            db, reporter_id, actor_of(request), context.secrets.contact, now
        )
    return reply(reporter_out(reporter))


async def list_reporters(request: web.Request) -> web.Response:
    """List the organisation's own reporters in the order of their designation."""
    context = request.app[CONTEXT]
    query = read_query(request, ReportersQuery)
    after = query.cursor or START
    wanted = Wanted(after=(after.at, after.ids[0]), limit=query.limit)
    async with context.pool.acquire() as db, db.transaction():
        now = await context.clock.now(db)
        found, more = await reporters.list_reporters(
            db, wanted, actor_of(request), context.secrets.contact, now
        )
    cursor = cursor_text(Position(found[-1].designated_at, (found[-1].id,))) if more else None
    return reply(ReporterList(items=list(map(reporter_out, found)), next_cursor=cursor))


async def delete_reporter(request: web.Request) -> web.Response:
    """End a designation; what was his goes to the successor, if one is named."""
    context = request.app[CONTEXT]
    reporter_id = request.match_info["reporterId"]
    successor_id = read_query(request, SuccessorQuery).successor_id
    if not REPORTER_ID.fullmatch(reporter_id):
        raise NotFoundError
    departure = Departure(reporter_id, successor_id)
    async with context.pool.acquire() as db, db.transaction():
        now = await context.clock.now(db)
        await succession.end_reporter(db, departure, actor_of(request), now)
    return web.Response(status=204)


def actor_of(request: web.Request) -> Actor:
    return Actor(
        organisation=request[CALLER].organisation_id,
        client=request[CALLER].client_id,
        request_id=request[REQUEST_ID],
    )


def reporter_out(reporter: Reporter) -> ReporterOut:
    return ReporterOut(
        reporter_id=reporter.reporter_id,
        unit=reporter.unit,
        designated_at=reporter.designated_at,
        **asdict(reporter.contact),
    )


ROUTES = (
    Route(
        method="PUT",
        path="/v1/reporters/{reporterId}",
        operation_id="putReporter",
        summary="Wijs een professional aan, of wijzig zijn gegevens",
        handler=put_reporter,
        scope="reporters",
        request=ReporterIn,
        response=ReporterOut,
        success=(201, 200),
    ),
    Route(
        method="GET",
        path="/v1/reporters",
        operation_id="listReporters",
        summary="Toon de eigen professionals",
        handler=list_reporters,
        scope="reporters",
        query=ReportersQuery,
        response=ReporterList,
    ),
    Route(
        method="GET",
        path="/v1/reporters/{reporterId}",
        operation_id="getReporter",
        summary="Toon een eigen professional",
        handler=get_reporter,
        scope="reporters",
        response=ReporterOut,
        problems=(Problem.NOT_FOUND,),
    ),
    Route(
        method="DELETE",
        path="/v1/reporters/{reporterId}",
        operation_id="deleteReporter",
        summary="Beëindig de aanwijzing van een professional",
        handler=delete_reporter,
        scope="reporters",
        query=SuccessorQuery,
        success=(204,),
        problems=(Problem.NOT_FOUND,),
    ),
)
