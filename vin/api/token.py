"""The token endpoint: OAuth 2.0 client credentials for a signed assertion.

RFC 6749, sections 4.4 and 5.2; RFC 7523, section 2.2.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from urllib.parse import parse_qsl
from uuid import uuid4

import structlog
from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, ValidationError

from schemas.problem import Problem
from vin.api.access import Applicant, insert_assertion, select_applicant
from vin.crypto.sign import (
    ACCESS_LIFETIME,
    Access,
    Assertion,
    SignatureRefusedError,
    claimed_client,
    make_access_token,
    verify_client_assertion,
)
from vin.crypto.signkey import AccessKey, Jwk, new_client_key, public_jwk
from vin.errors import InvalidClientError, TokenRefusal, TokenRequestError
from vin.web.body import BODY, reply
from vin.web.problems import REQUEST_ID
from vin.web.routes import Route

if TYPE_CHECKING:
    from asyncpg import Pool, Record

PATH = "/v1/token"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_FIELDS = 32
# What PostgreSQL's text can hold, and a log line too.
VISIBLE = re.compile(r"[\x21-\x7e]{1,128}")

log: structlog.stdlib.BoundLogger = structlog.get_logger()


def _nobody() -> Jwk:
    return public_jwk(new_client_key())


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenDesk:
    """What giving out access tokens takes; the URLs are base URLs."""

    pool: "Pool[Record]"
    key: AccessKey = field(repr=False)
    api_url: str
    keyholder_url: str
    utcnow: Callable[[], datetime]
    # An unknown client costs what a bad signature costs.
    nobody: Jwk = field(default_factory=_nobody)


TOKEN_DESK = web.AppKey("token_desk", TokenDesk)


class TokenForm(BaseModel):
    """The fields of RFC 6749 and RFC 7521 in their own names; others are ignored."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True, strict=True)

    grant_type: str
    client_assertion_type: str
    client_assertion: str
    client_id: str | None = None
    scope: str | None = None


class TokenOut(BaseModel):
    """An access token; `expires_in` in seconds."""

    access_token: str
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a type of token, not a token
    expires_in: int


async def post_token(request: web.Request) -> web.Response:
    """Give an access token to a client that proves who it is."""
    form = read_form(request)
    desk = request.app[TOKEN_DESK]
    try:
        assertion, applicant = await authenticate(desk, form)
    except SignatureRefusedError as error:
        log.warning("client refused", reason=error.reason, request=str(request[REQUEST_ID]))
        raise InvalidClientError from error
    access = Access(
        client_id=assertion.client_id,
        organisation=applicant.organisation,
        scope=granted(form.scope, applicant.scopes),
        id=str(uuid4()),
        expires_at=desk.utcnow() + ACCESS_LIFETIME,
    )
    audience = [desk.api_url, desk.keyholder_url]
    token = make_access_token(desk.key, access, desk.api_url, audience, desk.utcnow())
    seconds = int(ACCESS_LIFETIME.total_seconds())
    return reply(TokenOut(access_token=token, expires_in=seconds))


def read_form(request: web.Request) -> TokenForm:
    """Take the form; a field without a value counts as absent (RFC 6749, section 3.2)."""
    try:
        text = request[BODY].decode()
        pairs = parse_qsl(text, errors="strict", max_num_fields=MAX_FIELDS)
        form = TokenForm.model_validate(dict(pairs))
    except (ValueError, ValidationError):
        raise TokenRequestError(TokenRefusal.FORM) from None
    if len(dict(pairs)) < len(pairs):
        raise TokenRequestError(TokenRefusal.FORM)
    if form.grant_type != "client_credentials":
        raise TokenRequestError(TokenRefusal.GRANT_TYPE)
    if form.client_assertion_type != ASSERTION_TYPE:
        raise TokenRequestError(TokenRefusal.ASSERTION_TYPE)
    return form


async def authenticate(desk: TokenDesk, form: TokenForm) -> tuple[Assertion, Applicant]:
    """Find whose assertion it is and use it up, or raise InvalidClientError.

    SignatureRefusedError, with the reason for the log, where the assertion itself fails.
    """
    client = claimed_client(form.client_assertion)
    if not VISIBLE.fullmatch(client) or form.client_id not in {None, client}:
        raise InvalidClientError
    async with desk.pool.acquire() as db:
        applicant = await select_applicant(db, client)
        keys = (desk.nobody,) if applicant is None else applicant.keys
        now = desk.utcnow()
        assertion = verify_client_assertion(
            keys, form.client_assertion, client, desk.api_url + PATH, now
        )
        if applicant is None or not VISIBLE.fullmatch(assertion.id):
            raise InvalidClientError
        if not await insert_assertion(db, assertion):
            raise InvalidClientError
    return assertion, applicant


def granted(scope: str | None, scopes: frozenset[str]) -> frozenset[str]:
    """The scopes that were asked for, or all that the client has."""
    if scope is None:
        return scopes
    asked = frozenset(scope.split(" "))
    if not asked <= scopes:
        raise TokenRequestError(TokenRefusal.SCOPE)
    return asked


ROUTES = (
    Route(
        method=hdrs.METH_POST,
        path=PATH,
        operation_id="postToken",
        summary="Geeft een toegangstoken",
        scope=None,
        handler=post_token,
        form=TokenForm,
        response=TokenOut,
        problems=(Problem.TOKEN_REQUEST, Problem.INVALID_CLIENT, Problem.UNAVAILABLE),
    ),
)
