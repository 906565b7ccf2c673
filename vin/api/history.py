"""HTTP for the archive."""

from aiohttp import web

from schemas.problem import Problem
from vin import history
from vin.api.context import CONTEXT
from vin.api.matches import contact_out
from vin.api.wire import HistoryOut, OpeningIn
from vin.history import Opening
from vin.web.body import read, reply
from vin.web.caller import CALLER
from vin.web.problems import REQUEST_ID
from vin.web.query import path_uuid
from vin.web.routes import Route


async def post_opening(request: web.Request) -> web.Response:
    """Open the history of a child, once."""
    context = request.app[CONTEXT]
    opening = Opening(
        organisation=request[CALLER].organisation_id,
        client=request[CALLER].client_id,
        request_id=request[REQUEST_ID],
        notice=path_uuid(request, "id"),
        purpose=read(request, OpeningIn).purpose,
    )
    async with context.pool.acquire() as db, db.transaction():
        opened = await history.open_history(
            db, opening, context.secrets.contact, await context.clock.now(db)
        )
    contacts = [contact_out(*each) for each in opened.contacts]
    return reply(HistoryOut(id=opened.id, opened_at=opened.opened_at, contacts=contacts))


ROUTES = (
    Route(
        method="POST",
        path="/v1/history-notices/{id}/opening",
        operation_id="openHistory",
        summary="Open eenmalig de historie van een kind",
        handler=post_opening,
        scope="signals",
        request=OpeningIn,
        response=HistoryOut,
        problems=(Problem.NOT_FOUND, Problem.HISTORY_OPENED),
    ),
)
