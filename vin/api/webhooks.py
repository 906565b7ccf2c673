"""HTTP for webhooks."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Literal
from uuid import UUID

from aiohttp import hdrs, web
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from notify.targets import URL_CHARACTERS, TargetError, Targets
from schemas.problem import Problem
from vin import webhooks
from vin.api.context import CONTEXT
from vin.crypto.webhook import read_secret_text
from vin.errors import Fault, InvalidBodyError, NotFoundError
from vin.web.body import read, reply
from vin.web.caller import CALLER
from vin.web.problems import REQUEST_ID
from vin.web.query import CursorOf, Page, Position, cursor_text, read_query
from vin.web.routes import Route
from vin.web.wire import Instant, Wire, refusal
from vin.webhook_store import Form
from vin.webhooks import Actor, Wanted, Webhook

NAME = re.compile(r"[A-Za-z0-9._~-]{1,64}")
BAD_NAME = Fault("name", "pattern", "Expected 1 to 64 letters, digits and . _ ~ -")
START = Position(datetime(1970, 1, 1, tzinfo=UTC), (UUID(int=0),))

FormName = Literal["standard", "cloudEvents"]
FORMS: Mapping[FormName, Form] = {"standard": Form.STANDARD, "cloudEvents": Form.CLOUDEVENTS}
FORM_NAMES: Mapping[Form, FormName] = {form: name for name, form in FORMS.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookTerms:
    """Where webhooks may go, and the key that receivers check our signatures with."""

    targets: Targets
    public_key: str


WEBHOOK_TERMS = web.AppKey("webhook_terms", WebhookTerms)


def _secret(text: str) -> str:
    if read_secret_text(text) is None:
        raise refusal(code="secret", reason="Expected whsec_ and 24 to 64 bytes in base64.")
    return text


class WebhookIn(Wire):
    """Where to tell of matches, and how; without a secret, the one that there is stays."""

    url: Annotated[str, Field(json_schema_extra={"format": "uri", "maxLength": URL_CHARACTERS})]
    secret: Annotated[
        str | None, AfterValidator(lambda text: None if text is None else _secret(text))
    ] = None
    form: FormName = "standard"


class WebhookOut(Wire):
    """A webhook as its organisation sees it; `secret` is told once, when it is made here."""

    name: str
    url: str
    form: FormName
    public_key: str
    created_at: Instant
    disabled_at: Instant | None
    secret: Annotated[str | None, Field(exclude_if=lambda value: value is None)] = None


class WebhookQuery(Page):
    """Which webhooks to list."""

    cursor: Annotated[Position, CursorOf(1)] | None = None


class WebhookList(Wire):
    """One page of webhooks."""

    items: list[WebhookOut]
    next_cursor: str | None


class _UrlIn(BaseModel):
    """The one member that only the operator's list can check."""

    model_config = ConfigDict(extra="ignore", hide_input_in_errors=True, strict=True)

    url: str


async def put_webhook(request: web.Request) -> web.Response:
    """Add a webhook, or change and enable it."""
    context = request.app[CONTEXT]
    wanted = wanted_of(request)
    async with context.pool.acquire() as db, db.transaction():
        now = await context.clock.now(db)
        webhook, is_new, made = await webhooks.put_webhook(
            db, wanted, actor_of(request), context.secrets.contact, now
        )
    answer = webhook_out(request, webhook, made)
    if not is_new:
        return reply(answer)
    return reply(answer, status=201, headers={hdrs.LOCATION: f"/v1/webhooks/{webhook.name}"})


def wanted_of(request: web.Request) -> Wanted:
    """Turn a request into what is wanted, or refuse it with all its faults."""
    name = request.match_info["name"]
    faults = [] if NAME.fullmatch(name) else [BAD_NAME]
    faults += url_faults(request)
    body = None
    try:
        body = read(request, WebhookIn)
    except InvalidBodyError as error:
        faults += error.faults
    if body is None or faults:
        raise InvalidBodyError(faults)
    secret = read_secret_text(body.secret) if body.secret else None
    return Wanted(name=name, url=body.url, form=FORMS[body.form], secret=secret)


def url_faults(request: web.Request) -> list[Fault]:
    """Tell whether no webhook may go there, in a body that may have other faults."""
    try:
        request.app[WEBHOOK_TERMS].targets.check(read(request, _UrlIn).url)
    except TargetError as error:
        return [Fault("url", error.fault.code, error.fault.reason)]
    except InvalidBodyError:
        return []
    return []


async def get_webhook(request: web.Request) -> web.Response:
    """Read one of the organisation's own webhooks."""
    context = request.app[CONTEXT]
    async with context.pool.acquire() as db:
        webhook = await webhooks.read_webhook(
            db, request[CALLER].organisation_id, name_of(request), context.secrets.contact
        )
    return reply(webhook_out(request, webhook))


async def list_webhooks(request: web.Request) -> web.Response:
    """List the organisation's own webhooks, oldest first."""
    context = request.app[CONTEXT]
    query = read_query(request, WebhookQuery)
    after = query.cursor or START
    async with context.pool.acquire() as db:
        found, more = await webhooks.list_webhooks(
            db,
            request[CALLER].organisation_id,
            (after.at, after.ids[0]),
            query.limit,
            context.secrets.contact,
        )
    cursor = cursor_text(Position(found[-1].created_at, (found[-1].id,))) if more else None
    items = [webhook_out(request, each) for each in found]
    return reply(WebhookList(items=items, next_cursor=cursor))


async def delete_webhook(request: web.Request) -> web.Response:
    """Remove a webhook, with all that was still to be told to it."""
    context = request.app[CONTEXT]
    async with context.pool.acquire() as db, db.transaction():
        now = await context.clock.now(db)
        await webhooks.remove_webhook(db, name_of(request), actor_of(request), now)
    return web.Response(status=204)


def name_of(request: web.Request) -> str:
    """The name in the path; what cannot be one names nothing: NotFoundError."""
    name = request.match_info["name"]
    if not NAME.fullmatch(name):
        raise NotFoundError
    return name


def actor_of(request: web.Request) -> Actor:
    return Actor(
        organisation=request[CALLER].organisation_id,
        client=request[CALLER].client_id,
        request_id=request[REQUEST_ID],
    )


def webhook_out(request: web.Request, webhook: Webhook, made: str | None = None) -> WebhookOut:
    return WebhookOut(
        name=webhook.name,
        url=webhook.url,
        form=FORM_NAMES[webhook.form],
        public_key=request.app[WEBHOOK_TERMS].public_key,
        created_at=webhook.created_at,
        disabled_at=webhook.disabled_at,
        secret=made,
    )


ROUTES = (
    Route(
        method="PUT",
        path="/v1/webhooks/{name}",
        operation_id="putWebhook",
        summary="Laat matches melden aan een eigen systeem, of wijzig dat",
        handler=put_webhook,
        scope="webhooks",
        request=WebhookIn,
        response=WebhookOut,
        success=(201, 200),
        problems=(Problem.WEBHOOK_LIMIT,),
    ),
    Route(
        method="GET",
        path="/v1/webhooks",
        operation_id="listWebhooks",
        summary="Toon de eigen webhooks",
        handler=list_webhooks,
        scope="webhooks",
        query=WebhookQuery,
        response=WebhookList,
    ),
    Route(
        method="GET",
        path="/v1/webhooks/{name}",
        operation_id="getWebhook",
        summary="Toon een eigen webhook",
        handler=get_webhook,
        scope="webhooks",
        response=WebhookOut,
        problems=(Problem.NOT_FOUND,),
    ),
    Route(
        method="DELETE",
        path="/v1/webhooks/{name}",
        operation_id="deleteWebhook",
        summary="Meld niet langer aan een eigen systeem",
        handler=delete_webhook,
        scope="webhooks",
        success=(204,),
        problems=(Problem.NOT_FOUND,),
    ),
)
