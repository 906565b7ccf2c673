"""HTTP for signals."""

import json
from collections import Counter
from datetime import UTC, datetime
from uuid import UUID

from aiohttp import web

from matching.model import Role
from schemas.problem import Problem
from vin import signals
from vin.api.context import CONTEXT, Context
from vin.api.wire import (
    DOMAIN_OF,
    ChildKey,
    Ground,
    HouseholdKey,
    SignalIn,
    SignalList,
    SignalOut,
    SignalQuery,
    SignalRead,
    WithdrawalIn,
)
from vin.crypto.pseudonym import Token
from vin.crypto.sign import Permit, SignatureRefusedError
from vin.errors import Fault, InvalidBodyError, PermitRefusedError
from vin.signals import Registration, Wanted, Withdrawal
from vin.web.body import read, reply
from vin.web.caller import CALLER, Caller
from vin.web.problems import REQUEST_ID
from vin.web.query import Position, cursor_text, path_uuid, read_query
from vin.web.routes import Route

START = Position(datetime(1970, 1, 1, tzinfo=UTC), (UUID(int=0),))
ROLES = {
    "bsn": Role.CHILD,
    "demographic": Role.WEAK,
    "parent": Role.PARENT,
    "address": Role.ADDRESS,
}
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
    faults = domain_faults(body, context.region)
    if faults:
        raise InvalidBodyError(faults)
    caller = request[CALLER]
    tokens = [(ROLES[what], token_of(each, context)) for what, each in keys_of(body)]
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
        permit=permit_of(body, caller, context),
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


def keys_of(body: SignalIn) -> list[tuple[str, ChildKey | HouseholdKey]]:
    """All keys of a registration with what they stand for, the child's first."""
    return [(body.child.kind, body.child), *((key.role, key) for key in body.household)]


def domain_faults(body: SignalIn, region: str) -> list[Fault]:
    """Every domain must be one of this region's."""
    places = ["child", *(f"household.{place}" for place in range(len(body.household)))]
    return [
        Fault(f"{place}.domain", "domain", "This domain is not of this region.")
        for place, (what, key) in zip(places, keys_of(body), strict=True)
        if key.domain != f"{region}/{DOMAIN_OF[what]}"
    ]


def token_of(key: ChildKey | HouseholdKey, context: Context) -> Token:
    """Apply the index's own key to an element."""
    return context.secrets.index.token(key.domain, key.epoch, key.element)


def canonical(body: SignalIn) -> bytes:
    """The body without its permit, in one spelling: what makes a retry the same request."""
    members = body.model_dump(mode="json", by_alias=True, exclude={"permit"})
    return json.dumps(members, sort_keys=True, separators=(",", ":")).encode()


def permit_of(body: SignalIn, caller: Caller, context: Context) -> Permit | PermitRefusedError:
    """The permit if it pays for these keys of this reporter of this client, else why not."""
    try:
        permit = context.verify_permit(body.permit)
    except SignatureRefusedError as error:
        return PermitRefusedError(f"The permit was refused: {error}.")
    if permit.client_id != caller.client_id or permit.reporter_id != body.reporter_id:
        return PermitRefusedError("The permit is another's.")
    needed = Counter(f"{key.domain}/{key.epoch}" for _, key in keys_of(body))
    if any(count > permit.elements.get(domain, 0) for domain, count in needed.items()):
        return PermitRefusedError("The permit does not pay for these keys.")
    return permit


async def get_signal(request: web.Request) -> web.Response:
    """Read one of the organisation's own signals."""
    return reply(await read_back(request, path_uuid(request, "id")))


async def read_back(request: web.Request, signal: UUID) -> SignalRead:
    """One of the caller's own signals as it is now."""
    context = request.app[CONTEXT]
    async with context.pool.acquire() as db:
        found = await signals.read_signal(
            db, signal, request[CALLER].organisation_id, context.secrets.contact
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
        found, more = await signals.list_signals(db, wanted, context.secrets.contact)
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
