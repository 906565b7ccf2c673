"""Every response's headers, every error's answer, and a log line for each request."""

import time
import traceback
from collections.abc import Awaitable, Callable
from uuid import UUID, uuid4

import structlog
from aiohttp import hdrs, web
from pydantic import Field

from notify.errors import OUTAGE
from schemas.problem import Problem
from vin.errors import (
    AmbiguousSideError,
    DuplicateSignalError,
    HistoryOpenedError,
    IdempotencyConflictError,
    InsufficientScopeError,
    InvalidBodyError,
    InvalidClientError,
    MatchNotOpenError,
    NotAuthenticatedError,
    NotEntitledError,
    NotFoundError,
    OtherChildError,
    PermitRefusedError,
    PermitSpentError,
    QuotaExceededError,
    SignalEndedError,
    TokenRequestError,
    UnavailableError,
    VinError,
    WebhookLimitError,
    WrongEpochError,
)
from vin.web.caller import CALLER
from vin.web.wire import Wire

API_VERSION = "1.0.0"
HEADERS = {
    "API-Version": API_VERSION,
    hdrs.CACHE_CONTROL: "no-store",
    hdrs.SERVER: "vin",
    hdrs.CONTENT_SECURITY_POLICY: "default-src 'none'; frame-ancestors 'none'",
    hdrs.STRICT_TRANSPORT_SECURITY: "max-age=31536000; includeSubDomains",
    hdrs.X_CONTENT_TYPE_OPTIONS: "nosniff",
    hdrs.X_FRAME_OPTIONS: "DENY",
}
MEDIA_TYPE = "application/problem+json"
# A body may hold hundreds of thousands of unknown members, which helps nobody to read.
MAX_FAULTS = 1000

# The only place that knows both sides. The nearest ancestor decides.
PROBLEMS: dict[type[Exception], Problem] = {
    AmbiguousSideError: Problem.AMBIGUOUS_SIDE,
    HistoryOpenedError: Problem.HISTORY_OPENED,
    IdempotencyConflictError: Problem.IDEMPOTENCY_CONFLICT,
    InsufficientScopeError: Problem.INSUFFICIENT_SCOPE,
    InvalidBodyError: Problem.INVALID_INPUT,
    InvalidClientError: Problem.INVALID_CLIENT,
    MatchNotOpenError: Problem.MATCH_NOT_OPEN,
    NotAuthenticatedError: Problem.NOT_AUTHENTICATED,
    NotEntitledError: Problem.NOT_ENTITLED,
    NotFoundError: Problem.NOT_FOUND,
    PermitRefusedError: Problem.PERMIT_REFUSED,
    PermitSpentError: Problem.PERMIT_SPENT,
    SignalEndedError: Problem.SIGNAL_ENDED,
    OtherChildError: Problem.OTHER_CHILD,
    DuplicateSignalError: Problem.DUPLICATE_SIGNAL,
    QuotaExceededError: Problem.QUOTA_EXCEEDED,
    TokenRequestError: Problem.TOKEN_REQUEST,
    UnavailableError: Problem.UNAVAILABLE,
    WebhookLimitError: Problem.WEBHOOK_LIMIT,
    WrongEpochError: Problem.WRONG_EPOCH,
    web.HTTPMethodNotAllowed: Problem.METHOD_NOT_ALLOWED,
    web.HTTPNotAcceptable: Problem.NOT_ACCEPTABLE,
    web.HTTPNotFound: Problem.NOT_FOUND,
    web.HTTPRequestEntityTooLarge: Problem.BODY_TOO_LARGE,
    web.HTTPUnsupportedMediaType: Problem.UNSUPPORTED_MEDIA_TYPE,
    web.HTTPException: Problem.MALFORMED_REQUEST,
    **dict.fromkeys(OUTAGE, Problem.UNAVAILABLE),
    Exception: Problem.INTERNAL_ERROR,
}

REQUEST_ID = web.RequestKey("request_id", UUID)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log: structlog.stdlib.BoundLogger = structlog.get_logger()


class InvalidParam(Wire):
    """One fault in the input."""

    name: str
    code: str
    reason: str


class ProblemDetails(Wire):
    """What went wrong, as RFC 9457 has it."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    invalid_params: list[InvalidParam] | None = None
    current_epochs: dict[str, int] | None = None
    error: str | None = None
    error_description: str | None = Field(None, alias="error_description")


@web.middleware
async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Give the request an id, answer its errors, log it by its route."""
    started = time.perf_counter()
    request[REQUEST_ID] = uuid4()
    try:
        response = await handler(request)
    except Exception as error:  # noqa: BLE001 - a bug too is answered as agreed, once, here
        problem = problem_of(error)
        if problem.status >= Problem.INTERNAL_ERROR.status:
            _log_failure(request, error)
        response = respond(problem, request[REQUEST_ID], error)
    _log_request(request, response.status, time.perf_counter() - started)
    return response


async def add_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Give the response what every response has, whoever made it; a page's policy stands."""
    policy = response.headers.get(hdrs.CONTENT_SECURITY_POLICY)
    response.headers.update(HEADERS)
    if policy is not None:
        response.headers[hdrs.CONTENT_SECURITY_POLICY] = policy


def problem_of(error: Exception) -> Problem:
    return next(PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS)


def respond(problem: Problem, request_id: UUID, error: Exception | None = None) -> web.Response:
    """Make the answer to a request that failed."""
    document = details(problem, request_id, error)
    return web.Response(
        body=document.model_dump_json(by_alias=True, exclude_none=True).encode(),
        status=problem.status,
        headers=_headers(error),
        content_type=MEDIA_TYPE,
    )


def details(problem: Problem, request_id: UUID, error: Exception | None) -> ProblemDetails:
    """Write down what went wrong, with what the error has to tell."""
    return ProblemDetails(
        type=problem.type,
        title=problem.title,
        status=problem.status,
        detail=str(error) if isinstance(error, VinError) else f"{problem.title}.",
        instance=request_id.urn,
    ).model_copy(update=_members(error))


def _members(error: Exception | None) -> dict[str, object]:
    match error:
        case InvalidBodyError():
            return {
                "invalid_params": [
                    InvalidParam(name=fault.name, code=fault.code, reason=fault.reason)
                    for fault in error.faults[:MAX_FAULTS]
                ]
            }
        case WrongEpochError():
            return {"current_epochs": error.current}
        case TokenRequestError():
            return {"error": error.code, "error_description": str(error)}
        case _:
            return {}


def _headers(error: Exception | None) -> dict[str, str]:
    match error:
        case NotAuthenticatedError() | InsufficientScopeError():
            return {hdrs.WWW_AUTHENTICATE: _challenge(error)}
        case InvalidClientError():
            return {hdrs.WWW_AUTHENTICATE: 'Bearer realm="vin"'}
        case QuotaExceededError():
            return {hdrs.RETRY_AFTER: str(error.retry_after_seconds)}
        case web.HTTPMethodNotAllowed():
            return {hdrs.ALLOW: ", ".join(sorted(error.allowed_methods))}
        case _:
            return {}


def _challenge(error: NotAuthenticatedError | InsufficientScopeError) -> str:
    """Say what is missing in the words of RFC 6750, section 3."""
    if isinstance(error, InsufficientScopeError):
        return f'Bearer realm="vin", error="insufficient_scope", scope="{error.scope}"'
    if error.code is None:
        return 'Bearer realm="vin"'
    return f'Bearer realm="vin", error="{error.code}"'


def _log_request(request: web.Request, status: int, seconds: float) -> None:
    resource = request.match_info.route.resource
    caller = request.get(CALLER)
    log.info(
        "request",
        method=request.method,
        route=resource.canonical if resource else None,
        status=status,
        ms=round(seconds * 1000, 1),
        client=caller.client_id if caller else None,
        request=str(request[REQUEST_ID]),
    )


def _log_failure(request: web.Request, error: BaseException) -> None:
    """Log where it failed. The messages stay out: some drivers quote values in them."""
    log.error(
        "request failed",
        request=str(request[REQUEST_ID]),
        error=type(error).__name__,
        trace="".join(traceback.format_tb(error.__traceback__)),
    )
