"""The key holder over HTTP (contract §3.2)."""

import asyncio
from datetime import datetime, time
from functools import partial

import structlog
from aiohttp import hdrs, web

from schemas.dates import LOCAL, local_date, years_after
from schemas.problem import Problem
from vin.keyholder.arithmetic import Batch
from vin.keyholder.context import CONTEXT, Context
from vin.keyholder.evaluate import Wanted, evaluate
from vin.keyholder.store import (
    Period,
    insert_epoch,
    select_client,
    select_domains,
    select_periods,
)
from vin.keyholder.wire import BatchOut, EvaluationIn, EvaluationOut, KeyList, KeyOut
from vin.web.bearer import Bearer
from vin.web.body import read, reply
from vin.web.caller import CALLER, Caller
from vin.web.health import health_routes
from vin.web.openapi import with_document
from vin.web.problems import REQUEST_ID
from vin.web.routes import Route, application

SCOPE = "evaluations"
# How long the keys of an epoch are meant to serve; the next epoch ends that.
KEY_YEARS = 2

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def build(context: Context) -> web.Application:
    """Make the service on what wiring opened for it."""
    bearer = Bearer(
        key=context.access_key,
        issuer=context.api_url,
        audience=context.keyholder_url,
        look_up=partial(find_caller, context),
        utcnow=context.utcnow,
    )
    app = application(ROUTES, bearer)
    app[CONTEXT] = context
    app.on_startup.append(begin_epoch)
    return app


async def begin_epoch(app: web.Application) -> None:
    """Note since when this epoch's keys are used, the first time that they are."""
    context = app[CONTEXT]
    today = local_date(context.utcnow())
    not_before = datetime.combine(today, time(), LOCAL)
    not_after = datetime.combine(years_after(today, KEY_YEARS), time(), LOCAL)
    async with context.pool.acquire(timeout=context.store_seconds) as db:
        await insert_epoch(db, context.evaluator.epoch, Period(not_before, not_after))


async def find_caller(context: Context, client_id: str) -> Caller | None:
    """Find a client while it is active; whoever is known here may evaluate."""
    seconds = context.store_seconds
    async with asyncio.timeout(seconds), context.pool.acquire(timeout=seconds) as db:
        client = await select_client(db, client_id)
    if client is None:
        return None
    return Caller(
        client_id=client.id,
        organisation_id=client.organisation_id,
        organisation=client.organisation,
        scopes=frozenset({SCOPE}),
    )


async def get_keys(request: web.Request) -> web.Response:
    """Publish the keys in use."""
    context = request.app[CONTEXT]
    evaluator, seconds = context.evaluator, context.store_seconds
    async with asyncio.timeout(seconds), context.pool.acquire(timeout=seconds) as db:
        period = (await select_periods(db))[evaluator.epoch]
        domains = await select_domains(db)
    keys = [
        KeyOut(
            domain=domain,
            epoch=evaluator.epoch,
            public_key=evaluator.public_key(domain),
            not_before=period.not_before,
            not_after=period.not_after,
        )
        for domain in domains
    ]
    return reply(KeyList(keys=keys))


async def post_evaluations(request: web.Request) -> web.Response:
    """Evaluate blinded elements and give a permit for as many."""
    # Checking hundreds of points takes milliseconds, which others would wait for.
    body = await asyncio.to_thread(read, request, EvaluationIn)
    wanted = Wanted(
        client_id=request[CALLER].client_id,
        reporter_id=body.reporter_id,
        batches=[Batch(each.domain, each.epoch, each.blinded) for each in body.batches],
    )
    done = await evaluate(request.app[CONTEXT], wanted)
    log.info(
        "evaluated",
        client=wanted.client_id,
        elements=wanted.elements,
        request=str(request[REQUEST_ID]),
    )
    batches = [
        BatchOut(
            domain=batch.domain,
            epoch=batch.epoch,
            evaluated=list(evaluation.evaluated),
            proof=evaluation.proof,
        )
        for batch, evaluation in zip(wanted.batches, done.evaluations, strict=True)
    ]
    return reply(EvaluationOut(batches=batches, permit=done.permit, quota_left=done.quota_left))


async def check(app: web.Application) -> None:
    """Reach the database, without which no quota can be counted."""
    await app[CONTEXT].pool.execute("SELECT 1")


ROUTES = with_document(
    (
        Route(
            method=hdrs.METH_GET,
            path="/v1/keys",
            operation_id="getKeys",
            summary="Geeft de sleutels die nu gelden",
            scope=None,
            handler=get_keys,
            response=KeyList,
            problems=(Problem.UNAVAILABLE,),
        ),
        Route(
            method=hdrs.METH_POST,
            path="/v1/evaluations",
            operation_id="postEvaluations",
            summary="Bewerkt geblindeerde elementen en geeft een bewijs en een vergunning",
            scope=SCOPE,
            handler=post_evaluations,
            request=EvaluationIn,
            response=EvaluationOut,
            problems=(Problem.QUOTA_EXCEEDED, Problem.WRONG_EPOCH),
        ),
        *health_routes(check),
    ),
    "VIN sleutelhouder",
)
