"""HTTP for reporters."""

import re
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict

from schemas.problem import Problem
from vin import reporters
from vin.api.context import CONTEXT
from vin.contacts import Contact
from vin.errors import Fault, InvalidBodyError
from vin.fields import Email, Line, Phone
from vin.reporters import UNKNOWN_UNIT, Actor, Designation, Reporter, Wanted
from vin.web.body import read, reply
from vin.web.caller import CALLER
from vin.web.problems import REQUEST_ID
from vin.web.query import CursorOf, Page, Position, cursor_text, read_query
from vin.web.routes import Route
from vin.web.wire import Instant, Wire

REPORTER_ID = re.compile(r"[A-Za-z0-9._~-]{1,64}")
BAD_REPORTER_ID = Fault(
    "reporterId", "pattern", "Expected 1 to 64 letters, digits and . _ ~ - without accents."
)
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


async def put_reporter(request: web.Request) -> web.Response:
    """Designate a reporter, or change what is known of him."""
    context = request.app[CONTEXT]
    keys = context.secrets.contact, context.secrets.index
    async with context.pool.acquire() as db, db.transaction():
        designation = ...
