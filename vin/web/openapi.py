"""The OpenAPI document of a route table."""

import json
import re
from collections.abc import Iterable, Mapping
from functools import cache
from http import HTTPStatus
from typing import Any, Literal

from aiohttp import hdrs, web
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from schemas.problem import Problem
from vin.web.body import JSON
from vin.web.problems import API_VERSION, MEDIA_TYPE, ProblemDetails
from vin.web.routes import Route

PREFIX = "/v1"
CONTACT = {
    "name": "VIN",
    "email": "beheer@vin.example",
    "url": "https://vin.example/contact",
}
VERSION = {"description": "De versie van de API", "schema": {"type": "string"}}

Mode = Literal["validation", "serialization"]
Use = tuple[type[BaseModel], Mode]
Json = Mapping[str, Any]


def with_document(routes: Iterable[Route], title: str) -> list[Route]:
    """Add the operation that publishes the description of all, itself included."""
    table = list(routes)

    @cache
    def text() -> bytes:
        return json.dumps(document(table, title), ensure_ascii=False).encode()

    async def get_openapi(_request: web.Request) -> web.Response:
        # Open documentation, so pages of any origin may read it.
        headers = {hdrs.ACCESS_CONTROL_ALLOW_ORIGIN: "*"}
        return web.Response(body=text(), content_type=JSON, headers=headers)

    table.append(
        Route(
            method=hdrs.METH_GET,
            path=f"{PREFIX}/openapi.json",
            operation_id="getOpenApi",
            summary="Geeft deze beschrijving van de API",
            scope=None,
            handler=get_openapi,
        )
    )
    return table


def document(routes: Iterable[Route], title: str) -> Json:
    """Describe the operations below /v1 in OpenAPI 3.1."""
    shown = [route for route in routes if route.path.startswith(f"{PREFIX}/")]
    references, definitions = _schemas(shown)
    paths: dict[str, dict[str, Json]] = {}
    for route in shown:
        operations = paths.setdefault(route.path.removeprefix(PREFIX), {})
        operations[route.method.lower()] = _operation(route, references)
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": API_VERSION, "contact": CONTACT},
        "servers": [{"url": PREFIX}],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {"accessToken": {"type": "http", "scheme": "bearer"}},
        },
    }


def _schemas(routes: Iterable[Route]) -> tuple[Mapping[Use, Json], Json]:
    """Make the schemas of all bodies, and the reference to each."""
    uses = sorted({use for route in routes for use in _uses(route)}, key=repr)
    references, definitions = models_json_schema(
        uses, ref_template="#/components/schemas/{model}", schema_generator=_Untitled
    )
    return {use: references[use] for use in uses}, definitions["$defs"]


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles of fields, which only repeat their names."""

    def field_title_should_be_set(self, schema: object) -> bool:  # noqa: ARG002 - pydantic's signature
        return False


def _uses(route: Route) -> Iterable[Use]:
    yield ProblemDetails, "serialization"
    if route.request is not None:
        yield route.request, "validation"
    if route.form is not None:
        yield route.form, "validation"
    if route.response is not None:
        yield route.response, "serialization"


def _operation(route: Route, references: Mapping[Use, Json]) -> Json:
    operation: dict[str, object] = {
        "operationId": route.operation_id,
        "summary": route.summary,
        "parameters": [*_path_parameters(route), *_parameters(route)],
        "security": [] if route.scope is None else [{"accessToken": [route.scope]}],
        "responses": {
            **_successes(route, references),
            **_problems(route, references),
        },
    }
    body = route.request or route.form
    if body is not None:
        operation["requestBody"] = {
            "required": True,
            "content": {route.body_type: {"schema": references[body, "validation"]}},
        }
    return operation


def _path_parameters(route: Route) -> Iterable[Json]:
    for name in re.findall(r"{(\w+)}", route.path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"},
        }


def _parameters(route: Route) -> Iterable[Json]:
    if route.idempotent:
        yield {
            "name": "Idempotency-Key",
            "in": "header",
            "required": True,
            "schema": {"type": "string", "format": "uuid"},
        }
    if route.query is not None:
        schema = route.query.model_json_schema(schema_generator=_Untitled)
        for name, field in schema["properties"].items():
            yield {
                "name": name,
                "in": "query",
                "required": name in schema.get("required", ()),
                "schema": _without_null(field),
            }


def _without_null(schema: Json) -> Json:
    """Describe a parameter by what it is when it is there: a query knows no null."""
    match schema:
        case {"anyOf": [dict() as given, {"type": "null"}]}:
            return given
        case _:
            return {name: value for name, value in schema.items() if value is not None}


def _successes(route: Route, references: Mapping[Use, Json]) -> dict[str, Json]:
    schema: Json = {"type": "object"}
    if route.response is not None:
        schema = references[route.response, "serialization"]
    content = {"content": {route.answer_type: {"schema": schema}}}
    return {
        str(status): {
            "description": HTTPStatus(status).phrase,
            "headers": {"API-Version": VERSION},
            **({} if status == HTTPStatus.NO_CONTENT else content),
        }
        for status in route.success
    }


def _problems(route: Route, references: Mapping[Use, Json]) -> dict[str, Json]:
    titles: dict[int, list[str]] = {}
    for problem in sorted(_possible(route), key=lambda each: each.status):
        titles.setdefault(problem.status, []).append(problem.title)
    schema = references[ProblemDetails, "serialization"]
    return {
        str(status): {
            "description": "; ".join(sorted(told)),
            "headers": {"API-Version": VERSION},
            "content": {MEDIA_TYPE: {"schema": schema}},
        }
        for status, told in titles.items()
    }


def _possible(route: Route) -> set[Problem]:
    """Tell what can go wrong: what any operation can meet, and what this one adds."""
    possible = {
        Problem.INTERNAL_ERROR,
        Problem.INVALID_INPUT,
        Problem.NOT_ACCEPTABLE,
        *route.problems,
    }
    if route.scope is not None:
        possible |= {
            Problem.INSUFFICIENT_SCOPE,
            Problem.NOT_AUTHENTICATED,
            Problem.UNAVAILABLE,
        }
    if route.body_type is not None:
        possible.add(Problem.UNSUPPORTED_MEDIA_TYPE)
        possible |= set() if route.lines else {Problem.BODY_TOO_LARGE}
    if "{" in route.path:
        possible.add(Problem.NOT_FOUND)
    return possible
