"""HTTP for what happened after a match."""

from aiohttp import web

from schemas.problem import Problem
from vin import matches, outcomes
from vin.api.context import CONTEXT
from vin.api.matches import match_out, number_of, reader_of
from vin.api.wire import MatchOut, MatchSideQuery, OutcomeIn
from vin.contact_clock import Outcome
from vin.outcomes import Saying
from vin.web.body import read, reply
from vin.web.query import read_query
from vin.web.routes import Route


async def post_outcome(request: web.Request) -> web.Response:
    """Keep what one's own side says happened; the answer is the match as it is now."""
    context = request.app[CONTEXT]
    query, body = read_query(request, MatchSideQuery), read(request, OutcomeIn)
    number, reader = number_of(request), reader_of(request)
    saying = Saying(
        outcome=Outcome[body.outcome.name],
        new_to_me=body.new_to_me,
        via="api",
        actor_kind="client",
        actor=reader.client,
        request_id=reader.request_id,
    )
    side = (number, query.signal_id, reader)
    async with context.pool.acquire() as db, db.transaction():
        now = await context.clock.now(db)
        await outcomes.say_by_client(db, *side, saying, now)
        found = await matches.read_match(db, *side, context.secrets.contact, now)
    return reply(match_out(found))


ROUTES = (
    Route(
        method="POST",
        path="/v1/matches/{number}/outcome",
        operation_id="postOutcome",
        summary="Zeg wat er na een match gebeurde",
        handler=post_outcome,
        scope="matches",
        request=OutcomeIn,
        query=MatchSideQuery,
        response=MatchOut,
        problems=(Problem.NOT_FOUND, Problem.AMBIGUOUS_SIDE, Problem.MATCH_NOT_OPEN),
    ),
)
