"""HTTP for signals."""

import json
from datetime import UTC, datetime
from uuid import UUID

from aiohttp import web

from schemas.problem import Problem
from vin import signals
from vin.api.context import CONTEXT, Context
from vin.api.keys import permit_of, placed, refuse_foreign, role_and_token
from vin.api.wire import (
    Ground,
    SignalIn,
    SignalList,
    SignalOut,
    SignalQuery,
    SignalRead,
    WithdrawalIn,
)
from vin.errors import Fault, InvalidBodyError
from vin.signals import Registration, Wanted, Withdrawal
from vin.web.body import read, reply
from vin.web.caller import CALLER
from vin.web.problems import REQUEST_ID
from vin.web.query import Position, cursor_text, path_uuid, read_query
from vin.web.routes import Route

START = Position(datetime(1970, 1, 1, tzinfo=UTC), (UUID(int=0),))
GROUNDS = {Ground.UNJUSTIFIED: "unjustified", Ground.RISK_GONE: "risk_gone"}


async def post_signal(request: web.Request) -> web.Response:
    """Register a signal; the answer is the same whether or not it will match."""
    context = request.app[CONTEXT]
    registered = await context.registrar.register(registration_of(request, context))
    return reply(
        SignalOut.model_validate(registered.signal),
        status=201 if registered.created else 200,
        headers={"Location": f"/v1/signals/{registered.signal.id}"},
    )


def registration_of(request: web.Request, context: Context) -> Registration:
    """Turn a request into a registration, or refuse it with all its faults."""
    key, body = read_keyed(request)
    given = [("child", body.child), *placed(body.household)]
    refuse_foreign(given, context.region)
    caller = request[CALLER]
    tokens = [role_and_token(key, context) for _, key in given]
    child = tokens[0][1].lookup
    return Registration(
        organisation=caller.organisation_id,
        client=caller.client_id,
        request_id=request[REQUEST_ID],
        idempotency_key=key,
        fingerprint=context.secrets.index.fingerprint(canonical(body)),
        reporter_id=body.reporter_id,
        reference=body.reference,
        child_key=child
        if body.child.kind == "bsn"
        else context.secrets.index.file_key(child, body.reference),
        tokens=tokens,
        remove_on=body.remove_on,
        destroy_by=body.destroy_by,
        permit=permit_of(body.permit, given, caller, context, body.reporter_id),
    )


def read_keyed(request: web.Request) -> tuple[UUID, SignalIn]:
    """The Idempotency-Key and the body, or the faults of both together."""
    faults: list[Fault] = []
    try:
        (header,) = request.headers.getall("Idempotency-Key", [])
        key = uuid_of(header)
    except ValueError:
        faults = [Fault("Idempotency-Key", "header", "One header with a UUID is required.")]
    try:
        body = read(request, SignalIn)
    except InvalidBodyError as error:
        faults += error.faults
    if faults:
        raise InvalidBodyError(faults)
    return key, body


def uuid_of(text: str) -> UUID:
    """Read a UUID in its one usual spelling; ValueError for the others."""
    value = UUID(text)
    if str(value) != text.lower():
        raise ValueError
    return value


def canonical(body: SignalIn) -> bytes:
    """The body without its permit, in one spelling: what makes a retry the same request."""
    members = body.model_dump(mode="json", by_alias=True, exclude={"permit"})
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode()


async def get_signal(request: web.Request) -> web.Response:
    """Read one of the organisation's own signals."""
    return reply(await read_back(request, path_uuid(request, "id")))


async def read_back(request: web.Request, signal: UUID) -> SignalRead:
    """One of the caller's own signals as it is now."""
    context = request.app[CONTEXT]
    async with context.pool.acquire() as db:
        found = await signals.read_signal(
            db,
            signal,
            request[CALLER].organisation_id,
            context.secrets.contact,
            await context.clock.now(db),
        )
    return SignalRead.model_validate(found)


async def list_signals(request: web.Request) -> web.Response:
    """List the organisation's own signals in order of registration."""
    context = request.app[CONTEXT]
    query = read_query(request, SignalQuery)
    after = query.cursor or START
    wanted = Wanted(
        organisation=request[CALLER].organisation_id,
        reporter_id=query.reporter_id,
        after=(after.at, after.ids[0]),
        limit=query.limit,
    )
    async with context.pool.acquire() as db:
        found, more = await signals.list_signals(
            db, wanted, context.secrets.contact, await context.clock.now(db)
        )
    cursor = cursor_text(Position(found[-1].registered_at, (found[-1].id,))) if more else None
    items = [SignalRead.model_validate(each) for each in found]
    return reply(SignalList(items=items, next_cursor=cursor))


async def post_withdrawal(request: web.Request) -> web.Response:
    """Withdraw a signal."""
    context = request.app[CONTEXT]
    withdrawal = Withdrawal(
        organisation=request[CALLER].organisation_id,
        client=request[CALLER].client_id,
        request_id=request[REQUEST_ID],
        signal=path_uuid(request, "id"),
        ground=GROUNDS[read(request, WithdrawalIn).ground],
    )
    async with context.pool.acquire() as db, db.transaction():
        await signals.withdraw(db, withdrawal, await context.clock.now(db))
    return reply(await read_back(request, withdrawal.signal))


ROUTES = (
    Route(
        method="POST",
        path="/v1/signals",
        operation_id="registerSignal",
        summary="Registreer betrokkenheid bij een kind",
        handler=post_signal,
        scope="signals",
        request=SignalIn,
        idempotent=True,
        response=SignalOut,
        success=(201, 200),
        problems=(
            Problem.PERMIT_REFUSED,
            Problem.PERMIT_SPENT,
            Problem.NOT_ENTITLED,
            Problem.IDEMPOTENCY_CONFLICT,
        ),
    ),
    Route(
        method="GET",
        path="/v1/signals",
        operation_id="listSignals",
        summary="Toon de eigen signalen",
        handler=list_signals,
        scope="signals",
        query=SignalQuery,
        response=SignalList,
    ),
    Route(
        method="GET",
        path="/v1/signals/{id}",
        operation_id="getSignal",
        summary="Toon een eigen signaal",
        handler=get_signal,
        scope="signals",
        response=SignalRead,
        problems=(Problem.NOT_FOUND,),
    ),
    Route(
        method="POST",
        path="/v1/signals/{id}/withdrawal",
        operation_id="withdrawSignal",
        summary="Trek een signaal in",
        handler=post_withdrawal,
        scope="signals",
        request=WithdrawalIn,
        response=SignalRead,
        problems=(Problem.NOT_FOUND, Problem.SIGNAL_ENDED),
    ),
)
