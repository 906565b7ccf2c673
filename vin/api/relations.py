"""HTTP for the population register's feed, line by line."""

import asyncio
from contextlib import suppress

from aiohttp import web
from asyncpg import PostgresError

from notify.errors import OUTAGE
from vin import relations
from vin.api.changes import actor_of
from vin.api.context import CONTEXT
from vin.api.keys import permit_of, placed, refuse_foreign, role_and_token
from vin.api.wire import RelationIn, RelationOut
from vin.errors import VinError
from vin.relations import Relation
from vin.web.body import parse
from vin.web.caller import CALLER
from vin.web.lines import answer_lines, receive_lines
from vin.web.problems import REQUEST_ID, details, problem_of
from vin.web.routes import Route

FEED_SECONDS = 24 * 3600
TICK_SECONDS = 0.05


async def post_relations(request: web.Request) -> web.StreamResponse:
    """Apply the feed; one answer a line, the same whether or not the child is known.

    Lines that arrived together are begun on a tick and answered on one, so that how long they
    took does not tell it either.
    """
    response = await answer_lines(request)
    with suppress(web.RequestPayloadError, ConnectionError):
        async for arrived in receive_lines(request):
            await until_tick()
            answers = [await answer(request, number, line) for number, line in arrived]
            await until_tick()
            await response.write(b"".join(answers))
        await response.write_eof()
    return response


async def answer(request: web.Request, number: int, line: bytes | None) -> bytes:
    """Apply one line; a line that is refused or fails leaves its neighbours alone."""
    try:
        if line is None:
            raise web.HTTPRequestEntityTooLarge(0, 0)
        await apply(request, relation_of(request, line))
        out = RelationOut(line=number, status=200)
    except (VinError, web.HTTPException, PostgresError, *OUTAGE) as error:
        problem = problem_of(error)
        told = details(problem, request[REQUEST_ID], error)
        out = RelationOut(line=number, status=problem.status, problem=told)
    return out.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n"


async def apply(request: web.Request, told: Relation) -> None:
    """Take one line in a transaction."""
    context = request.app[CONTEXT]
    async with context.pool.acquire() as db, db.transaction():
        await relations.apply_relation(db, told, await context.clock.now(db))


def relation_of(request: web.Request, line: bytes) -> Relation:
    """Turn a line into what the register tells, or refuse it with all its faults."""
    context = request.app[CONTEXT]
    body = parse(line, RelationIn)
    given = [("child", body.child), *placed(body.household or [])]
    refuse_foreign(given, context.region)
    household = None
    if body.household is not None:
        household = [role_and_token(key, context) for key in body.household]
    return Relation(
        actor=actor_of(request),
        child=role_and_token(body.child, context)[1],
        household=household,
        moved_to=body.moved_to,
        deceased=body.deceased,
        reporter_id=body.reporter_id,
        permit=permit_of(body.permit, given, request[CALLER], context, body.reporter_id),
    )


async def until_tick() -> None:
    """Sleep to the next multiple of the tick."""
    now = asyncio.get_running_loop().time()
    await asyncio.sleep(TICK_SECONDS - now % TICK_SECONDS)


ROUTES = (
    Route(
        method="POST",
        path="/v1/relations/_import",
        operation_id="importRelations",
        summary="Lever gezinsgegevens uit de bevolkingsadministratie aan",
        handler=post_relations,
        scope="relations",
        request=RelationIn,
        lines=True,
        response=RelationOut,
        seconds=FEED_SECONDS,
    ),
)
