import json
from collections.abc import AsyncIterator, Iterator
from uuid import UUID

import asyncpg
import pytest
import pytest_asyncio
from aiohttp import web
from structlog.testing import capture_logs

from schemas.problem import Problem
from tests.serving import Service, served
from vin import errors
from vin.errors import (
    AmbiguousSideError,
    IdempotencyConflictError,
    NotEntitledError,
    PermitSpentError,
    QuotaExceededError,
    SignalEndedError,
    StartError,
    TokenRefusal,
    TokenRequestError,
    UnavailableError,
    VinError,
    WrongEpochError,
)
from vin.web.problems import HEADERS, PROBLEMS, problem_of, respond
from vin.web.routes import Route, application

VALUE = "999990019"


def failing(error: Exception, path: str) -> Route:
    async def fail(_request: web.Request) -> web.Response:
        raise error

    return Route(
        method="GET",
        path=path,
        operation_id="fail",
        summary="Mislukt",
        scope=None,
        handler=fail,
    )


ROUTES = (
    failing(KeyError(VALUE), "/v1/bug"),
    failing(ConnectionRefusedError(VALUE), "/v1/away"),
    failing(WrongEpochError({"nhn/child": 2}), "/v1/epoch"),
    failing(QuotaExceededError(77), "/v1/quota"),
    failing(TokenRequestError(TokenRefusal.SCOPE), "/v1/scope"),
    failing(web.HTTPConflict(text=VALUE), "/v1/things/{thingId}"),
)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    async with served(application(ROUTES)) as started:
        yield started


def subclasses(kind: type[Exception]) -> Iterator[type[Exception]]:
    for each in kind.__subclasses__():
        yield each
        yield from subclasses(each)


def test_every_error_has_a_problem_and_every_problem_an_error() -> None:
    here = {each for each in subclasses(VinError) if each.__module__ == errors.__name__}

    assert here - {StartError} <= PROBLEMS.keys()
    assert set(PROBLEMS.values()) == set(Problem)


def test_no_two_problems_share_a_name() -> None:
    assert len({each.type for each in Problem}) == len(Problem)


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (asyncpg.ConnectionDoesNotExistError(), Problem.UNAVAILABLE),
        (asyncpg.TooManyConnectionsError(), Problem.UNAVAILABLE),
        (asyncpg.AdminShutdownError(), Problem.UNAVAILABLE),
        (asyncpg.DiskFullError(), Problem.UNAVAILABLE),
        (asyncpg.InterfaceError("pool is closed"), Problem.UNAVAILABLE),
        (TimeoutError(), Problem.UNAVAILABLE),
        (asyncpg.UniqueViolationError(), Problem.INTERNAL_ERROR),
        (ZeroDivisionError(), Problem.INTERNAL_ERROR),
    ],
)
def test_an_outage_is_told_from_a_bug(error: Exception, problem: Problem) -> None:
    assert problem_of(error) is problem


async def test_a_bug_is_answered_and_logged_without_what_it_held(service: Service) -> None:
    with capture_logs() as logs:
        async with service.http.get("/v1/bug") as answer:
            problem = await answer.json()

    request = problem["instance"].removeprefix("urn:uuid:")
    assert problem == {
        "type": "urn:problem-type:vin:internal-error",
        "title": "The service failed",
        "status": 500,
        "detail": "The service failed.",
        "instance": UUID(request).urn,
    }
    failure, line = logs
    assert failure["error"] == "KeyError"
    assert failure["request"] == line["request"] == request
    assert "in fail" in failure["trace"]
    assert VALUE not in str(logs)


async def test_a_log_line_names_the_route_and_not_the_path(service: Service) -> None:
    with capture_logs() as logs:
        async with service.http.get(f"/v1/things/{VALUE}", params={"q": VALUE}):
            pass
        async with service.http.get(f"/v1/{VALUE}"):
            pass

    assert [(line["route"], line["status"]) for line in logs] == [
        ("/v1/things/{thingId}", 400),
        (None, 404),
    ]
    assert VALUE not in str(logs)
    assert logs[0].keys() == {
        "event",
        "log_level",
        "method",
        "route",
        "status",
        "ms",
        "client",
        "request",
    }


@pytest.mark.parametrize(
    "error",
    [
        AmbiguousSideError(),
        IdempotencyConflictError(),
        NotEntitledError(),
        PermitSpentError(),
        SignalEndedError(),
        UnavailableError(),
    ],
    ids=repr,
)
def test_an_error_without_particulars_says_what_to_do(error: VinError) -> None:
    response = respond(problem_of(error), UUID(int=1), error)

    assert json.loads(response.text or "")["detail"] == str(error)
    assert len(str(error).split()) > 3


async def test_what_is_away_is_503(service: Service) -> None:
    async with service.http.get("/v1/away") as answer:
        assert answer.status == 503
        assert VALUE not in await answer.text()


async def test_an_error_tells_what_belongs_to_it(service: Service) -> None:
    async with service.http.get("/v1/epoch") as answer:
        assert answer.status == 409
        assert (await answer.json())["currentEpochs"] == {"nhn/child": 2}
    async with service.http.get("/v1/quota") as answer:
        assert answer.status == 429
        assert answer.headers["Retry-After"] == "77"
    async with service.http.get("/v1/scope") as answer:
        problem = await answer.json()
        assert answer.status == 400
        assert problem["error"] == "invalid_scope"
        assert problem["error_description"] == problem["detail"]


async def test_other_refusals_of_the_framework_become_problems_too(service: Service) -> None:
    async with service.http.get("/v1/things/1") as answer:
        assert answer.status == 400
        assert answer.content_type == "application/problem+json"
        assert VALUE not in await answer.text()


async def test_every_response_has_the_headers_of_the_contract(service: Service) -> None:
    for path in ("/v1/bug", "/v1/epoch", "/v1/none", "/v1/bug/"):
        async with service.http.get(path) as answer:
            assert HEADERS.items() <= answer.headers.items()
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
            assert answer.headers["X-Frame-Options"] == "DENY"
            assert answer.headers["Cache-Control"] == "no-store"
            assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
            assert "max-age" in answer.headers["Strict-Transport-Security"]
            assert answer.headers["API-Version"] == "1.0.0"
            assert "aiohttp" not in str(answer.headers)
