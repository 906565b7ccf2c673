"""HTTP for matches."""

from datetime import UTC, datetime
from uuid import UUID

from aiohttp import web

from matching.errors import MatchNumberError
from matching.number import parse
from schemas.problem import Problem
from vin import matches
from vin.api.context import CONTEXT
from vin.api.wire import (
    ContactOut,
    MatchList,
    MatchOut,
    MatchQuery,
    MatchSideQuery,
    OtherOutcome,
    Outcomes,
    OutcomeWord,
    OwnOutcome,
)
from vin.contacts import Contact
from vin.errors import NotFoundError
from vin.matches import OwnMatch, Reader, Wanted
from vin.outcome_store import Said
from vin.web.body import reply
from vin.web.caller import CALLER
from vin.web.problems import REQUEST_ID
from vin.web.query import Position, cursor_text, read_query
from vin.web.routes import Route

START = Position(datetime(1970, 1, 1, tzinfo=UTC), (UUID(int=0), UUID(int=0)))


async def list_matches(request: web.Request) -> web.Response:
    """List the organisation's own sides of matches, oldest first."""
    context = request.app[CONTEXT]
    query = read_query(request, MatchQuery)
    after = query.cursor or START
    wanted = Wanted(
        reporter_id=query.reporter_id,
        after=(after.at, after.ids[0], after.ids[1]),
        limit=query.limit,
    )
    async with context.pool.acquire() as db, db.transaction():
        found, more = await matches.list_matches(
            db, wanted, reader_of(request), context.secrets.contact, await context.clock.now(db)
        )
    cursor = cursor_text(position_of(found[-1])) if more else None
    return reply(MatchList(items=[match_out(each) for each in found], next_cursor=cursor))


def position_of(match: OwnMatch) -> Position:
    return Position(match.matched_at, (match.id, match.signal))


async def get_match(request: web.Request) -> web.Response:
    """Read one of the organisation's own sides of a match."""
    context = request.app[CONTEXT]
    query = read_query(request, MatchSideQuery)
    number = number_of(request)
    async with context.pool.acquire() as db, db.transaction():
        found = await matches.read_match(
            db,
            number,
            query.signal_id,
            reader_of(request),
            context.secrets.contact,
            await context.clock.now(db),
        )
    return reply(match_out(found))


def number_of(request: web.Request) -> str:
    """The match number in the path; what cannot be one names nothing: NotFoundError."""
    try:
        return parse(request.match_info["number"])
    except MatchNumberError:
        raise NotFoundError from None


def reader_of(request: web.Request) -> Reader:
    caller = request[CALLER]
    return Reader(
        organisation=caller.organisation_id,
        client=caller.client_id,
        request_id=request[REQUEST_ID],
    )


def match_out(match: OwnMatch) -> MatchOut:
    return MatchOut(
        number=match.number,
        kind=match.kind,
        signal_id=match.signal,
        reference=match.reference,
        matched_at=match.matched_at,
        status=match.status,
        contact=contact_out(*match.other) if match.other else None,
        outcomes=Outcomes(
            own=own_outcome(match.own_outcome) if match.own_outcome else None,
            other=other_outcome(match.other_outcome) if match.other_outcome else None,
        ),
    )


def own_outcome(said: Said) -> OwnOutcome:
    return OwnOutcome(
        outcome=OutcomeWord[said.outcome.name], new_to_me=said.new_to_me, said_at=said.said_at
    )


def other_outcome(said: Said) -> OtherOutcome:
    return OtherOutcome(outcome=OutcomeWord[said.outcome.name], said_at=said.said_at)


def contact_out(person: Contact, organisation: str) -> ContactOut:
    return ContactOut(
        name=person.name,
        function=person.function,
        organisation=organisation,
        email=person.email,
        phone=person.phone,
        reachable=person.reachable,
    )


ROUTES = (
    Route(
        method="GET",
        path="/v1/matches",
        operation_id="listMatches",
        summary="Toon de eigen matches",
        handler=list_matches,
        scope="matches",
        query=MatchQuery,
        response=MatchList,
    ),
    Route(
        method="GET",
        path="/v1/matches/{number}",
        operation_id="getMatch",
        summary="Toon een eigen match",
        handler=get_match,
        scope="matches",
        query=MatchSideQuery,
        response=MatchOut,
        problems=(Problem.NOT_FOUND, Problem.AMBIGUOUS_SIDE),
    ),
)
