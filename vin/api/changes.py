"""HTTP for a living signal's keys: the child's number, the household."""

from aiohttp import web

from schemas.problem import Problem
from vin import changes
from vin.api.context import CONTEXT
from vin.api.keys import permit_of, placed, refuse_foreign, role_and_token
from vin.api.signals import read_back
from vin.api.wire import ChildFoundIn, HouseholdIn, SignalRead
from vin.changes import Actor, ChildFound, HouseholdReplaced
from vin.web.body import read, reply
from vin.web.caller import CALLER
from vin.web.problems import REQUEST_ID
from vin.web.query import path_uuid
from vin.web.routes import Route

PROBLEMS = (
    Problem.NOT_FOUND,
    Problem.SIGNAL_ENDED,
    Problem.PERMIT_REFUSED,
    Problem.PERMIT_SPENT,
    Problem.NOT_ENTITLED,
)


async def put_child(request: web.Request) -> web.Response:
    """Add the number of a child that was registered by name."""
    context, caller = request.app[CONTEXT], request[CALLER]
    body = read(request, ChildFoundIn)
    given = [("child", body.child)]
    refuse_foreign(given, context.region)
    found = ChildFound(
        organisation=caller.organisation_id,
        actor=actor_of(request),
        signal=path_uuid(request, "id"),
        child=role_and_token(body.child, context)[1],
        permit=permit_of(body.permit, given, caller, context),
    )
    async with context.pool.acquire() as db, db.transaction():
        await changes.find_child(db, found, await context.clock.now(db))
    return reply(await read_back(request, found.signal))


async def put_household(request: web.Request) -> web.Response:
    """Replace the keys of the household."""
    context, caller = request.app[CONTEXT], request[CALLER]
    body = read(request, HouseholdIn)
    given = placed(body.household)
    refuse_foreign(given, context.region)
    replaced = HouseholdReplaced(
        organisation=caller.organisation_id,
        actor=actor_of(request),
        signal=path_uuid(request, "id"),
        household=[role_and_token(key, context) for key in body.household],
        permit=None if body.permit is None else permit_of(body.permit, given, caller, context),
    )
    async with context.pool.acquire() as db, db.transaction():
        await changes.replace_household(db, replaced, await context.clock.now(db))
    return reply(await read_back(request, replaced.signal))


def actor_of(request: web.Request) -> Actor:
    """Who asks, for the log."""
    return Actor(kind="client", name=request[CALLER].client_id, request_id=request[REQUEST_ID])


ROUTES = (
    Route(
        method="PUT",
        path="/v1/signals/{id}/child",
        operation_id="putChild",
        summary="Voeg het later gevonden BSN van het kind toe",
        handler=put_child,
        scope="signals",
        request=ChildFoundIn,
        response=SignalRead,
        problems=(*PROBLEMS, Problem.OTHER_CHILD, Problem.DUPLICATE_SIGNAL),
    ),
    Route(
        method="PUT",
        path="/v1/signals/{id}/household",
        operation_id="putHousehold",
        summary="Vervang de gezinsgegevens van een signaal",
        handler=put_household,
        scope="signals",
        request=HouseholdIn,
        response=SignalRead,
        problems=PROBLEMS,
    ),
)
