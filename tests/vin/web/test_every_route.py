"""What holds for all operations of both services, without a database behind them."""

import io
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from aiohttp import ClientResponse
from joserfc.jwk import ECKey
from openapi_spec_validator import validate

from matching import number
from tests.serving import Service, served
from vin.api import context as index
from vin.api.routes import ROUTES as INDEX
from vin.crypto.sign import Access, make_access_token
from vin.keyholder import context as keyholder
from vin.keyholder.app import ROUTES as KEYHOLDER
from vin.web.bearer import Bearer
from vin.web.body import MAX_BODY_BYTES
from vin.web.caller import Caller
from vin.web.lines import NDJSON
from vin.web.openapi import document, with_document
from vin.web.problems import HEADERS
from vin.web.routes import Route, application

KEY = ECKey.generate_key("P-256")
API = "https://api.test"
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SCOPES = {"reporters", "signals", "matches", "evaluations", "relations", "webhooks"}
SERVICES = {"index": with_document(INDEX, "VIN index"), "keyholder": KEYHOLDER}


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation, and the service that it is of."""

    service: str
    route: Route

    def __str__(self) -> str:
        return f"{self.service}-{self.route.operation_id}"

    @property
    def path(self) -> str:
        path = self.route.path.replace("{number}", number.draw())
        return re.sub("{[^}]+}", "9bdd4fbf-4f9c-4d3e-8f0c-7e2c5f1d2a33", path)


OPERATIONS = [Operation(name, route) for name, table in SERVICES.items() for route in table]
WITH_SCOPE = [each for each in OPERATIONS if each.route.scope]
# What reads needs the context, which is None here.
THAT_FAIL = [each for each in WITH_SCOPE if not each.route.body_type]
WITH_BODY = [each for each in OPERATIONS if each.route.body_type]


def over(operations: list[Operation]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("operation", operations, ids=str)


async def anyone(client_id: str) -> Caller:
    return Caller(
        client_id=client_id,
        organisation_id=UUID(int=5),
        organisation="school",
        scopes=frozenset(SCOPES),
    )


@asynccontextmanager
async def started(operation: Operation) -> AsyncIterator[Service]:
    bearer = Bearer(key=KEY, issuer=API, audience=API, look_up=anyone, utcnow=lambda: NOW)
    app = application(SERVICES[operation.service], bearer)
    app[index.CONTEXT] = cast("index.Context", None)
    app[keyholder.CONTEXT] = cast("keyholder.Context", None)
    async with served(app) as service:
        yield service


def authorization(scopes: set[str]) -> dict[str, str]:
    access = Access(
        client_id="client-1",
        organisation="school",
        scope=frozenset(scopes),
        id=str(uuid4()),
        expires_at=NOW + timedelta(hours=1),
    )
    return {"Authorization": f"Bearer {make_access_token(KEY, access, API, [API], NOW)}"}


async def is_problem(answer: ClientResponse, status: int) -> None:
    assert answer.status == status
    assert HEADERS.items() <= answer.headers.items()
    assert answer.content_type == "application/problem+json"
    problem = await answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert UUID(problem["instance"]).urn == problem["instance"]


@over(OPERATIONS)
async def test_a_trailing_slash_is_another_address(operation: Operation) -> None:
    async with (
        started(operation) as service,
        service.http.request(operation.route.method, f"{operation.path}/") as answer,
    ):
        await is_problem(answer, 404)


@over(OPERATIONS)
async def test_another_method_is_405_and_told_which_are_allowed(operation: Operation) -> None:
    async with (
        started(operation) as service,
        service.http.patch(operation.path, json={}) as answer,
    ):
        await is_problem(answer, 405)
        assert operation.route.method in answer.headers["Allow"]


@over(OPERATIONS)
async def test_what_cannot_be_accepted_is_406(operation: Operation) -> None:
    headers = {"Accept": "text/plain"}
    async with (
        started(operation) as service,
        service.http.request(operation.route.method, operation.path, headers=headers) as answer,
    ):
        await is_problem(answer, 406)


@over([each for each in OPERATIONS if not each.route.page])
async def test_an_unknown_query_parameter_is_400(operation: Operation) -> None:
    method, path = operation.route.method, f"{operation.path}?nonsense=1"
    headers = authorization(SCOPES) | {"Content-Type": operation.route.body_type or ""}
    async with (
        started(operation) as service,
        service.http.request(method, path, headers=headers) as answer,
    ):
        await is_problem(answer, 400)
        [fault] = (await answer.json())["invalidParams"]
        assert fault["name"] == "nonsense"


@over(WITH_SCOPE)
async def test_without_a_token_no_operation_with_a_scope_answers(operation: Operation) -> None:
    async with (
        started(operation) as service,
        service.http.request(operation.route.method, operation.path) as answer,
    ):
        await is_problem(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")


@over(WITH_SCOPE)
async def test_a_token_for_all_else_is_not_enough(operation: Operation) -> None:
    method, headers = operation.route.method, authorization(SCOPES - {operation.route.scope or ""})
    async with (
        started(operation) as service,
        service.http.request(method, operation.path, headers=headers) as answer,
    ):
        await is_problem(answer, 403)


@over(THAT_FAIL)
async def test_a_failure_is_500_and_tells_nothing(operation: Operation) -> None:
    headers = authorization(SCOPES)
    async with (
        started(operation) as service,
        service.http.get(operation.path, headers=headers) as answer,
    ):
        await is_problem(answer, 500)
        assert "NoneType" not in await answer.text()


@over([each for each in WITH_BODY if not each.route.lines])
async def test_size_is_looked_at_before_all_else(operation: Operation) -> None:
    method, body = operation.route.method, io.BytesIO(bytes(MAX_BODY_BYTES + 1))
    headers = {"Accept": "text/html"}
    async with (
        started(operation) as service,
        service.http.request(method, operation.path, data=body, headers=headers) as answer,
    ):
        await is_problem(answer, 413)


@over(WITH_BODY)
async def test_another_content_type_is_415(operation: Operation) -> None:
    method = operation.route.method
    headers = {"Content-Type": "text/plain", **authorization(SCOPES)}
    async with (
        started(operation) as service,
        service.http.request(method, operation.path, data=b"x", headers=headers) as answer,
    ):
        await is_problem(answer, 415)


@pytest.mark.parametrize("name", SERVICES)
def test_the_document_is_valid_and_keeps_the_rules_for_apis(name: str) -> None:
    described = document(SERVICES[name], name)

    validate(described)
    assert described["info"]["contact"].keys() == {"name", "email", "url"}
    assert described["servers"] == [{"url": "/v1"}]
    for path, operations in described["paths"].items():
        assert re.fullmatch(r"(/_?[a-z0-9-]+|/{[a-z][A-Za-z]*}|/openapi\.json)+", path)
        for operation in operations.values():
            keeps_the_rules(operation)


def keeps_the_rules(operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert {"400", "406", "500"} <= operation["responses"].keys()
    for status, response in operation["responses"].items():
        kinds = {"application/json", NDJSON} if status < "300" else {"application/problem+json"}
        told = list(response.get("content", ()))
        assert told == [] if status == "204" else len(told) == 1 and kinds.issuperset(told)
        assert "API-Version" in response["headers"]
    for parameter in operation["parameters"]:
        assert parameter["in"] == "header" or re.fullmatch("[a-z][A-Za-z0-9]*", parameter["name"])


@pytest.mark.parametrize("name", SERVICES)
def test_no_two_operations_share_an_id(name: str) -> None:
    ids = [route.operation_id for route in SERVICES[name]]

    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("name", SERVICES)
async def test_the_document_is_open_to_all(name: str) -> None:
    async with served(application(SERVICES[name])) as service:
        async with service.http.get("/v1/openapi.json") as answer:
            assert answer.status == 200
            assert answer.headers["Access-Control-Allow-Origin"] == "*"
            assert await answer.json() == document(
                SERVICES[name], (await answer.json())["info"]["title"]
            )
        async with service.http.head("/v1/openapi.json") as answer:
            assert answer.status == 200
            assert HEADERS.items() <= answer.headers.items()
        async with service.http.get("/health/live") as answer:
            assert "Access-Control-Allow-Origin" not in answer.headers
