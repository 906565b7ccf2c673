from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from tests.serving import Service, served
from vin.base64url import encode_base64url
from vin.web.body import reply
from vin.web.query import CursorOf, Page, Position, cursor_text, path_uuid, read_query
from vin.web.routes import Route, application
from vin.web.wire import ReporterCode, Wire

Cursor: TypeAdapter[Position] = TypeAdapter(Annotated[Position, CursorOf(2)])
START = Position(datetime(2026, 11, 22, tzinfo=UTC), (uuid4(), uuid4()))


class ThingQuery(Page):
    reporter_id: ReporterCode | None = None
    cursor: Annotated[Position | None, CursorOf(2)] = None


class Answer(Wire):
    limit: int
    seen: str | None


async def list_things(request: web.Request) -> web.Response:
    query = read_query(request, ThingQuery)
    seen = cursor_text(query.cursor) if query.cursor else None
    return reply(Answer(limit=query.limit, seen=seen))


async def get_thing(request: web.Request) -> web.Response:
    path_uuid(request, "thingId")
    return web.json_response({})


ROUTES = (
    Route(
        method="GET",
        path="/v1/things",
        operation_id="listThings",
        summary="Toont dingen",
        scope=None,
        handler=list_things,
        query=ThingQuery,
        response=Answer,
    ),
    Route(
        method="GET",
        path="/v1/things/{thingId}",
        operation_id="getThing",
        summary="Toont een ding",
        scope=None,
        handler=get_thing,
    ),
)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    async with served(application(ROUTES)) as started:
        yield started


async def faults(service: Service, query: str) -> set[tuple[str, str]]:
    async with service.http.get(f"/v1/things?{query}") as answer:
        assert answer.status == 400
        problem = await answer.json()
    return {(each["name"], each["code"]) for each in problem["invalidParams"]}


async def test_a_list_gives_fifty_items_unless_asked_for_others(service: Service) -> None:
    for query, limit in (("", 50), ("?limit=1", 1), ("?limit=200&reporterId=p-1", 200)):
        async with service.http.get(f"/v1/things{query}") as answer:
            assert await answer.json() == {"limit": limit, "seen": None}


@pytest.mark.parametrize(
    "limit", ["0", "201", "-1", "1.0", "1e2", "+5", "1_0", "%205", "05", "", "x", "%D9%A3"]
)
async def test_a_bad_limit_is_a_fault(service: Service, limit: str) -> None:
    [(name, _)] = await faults(service, f"limit={limit}")

    assert name == "limit"


async def test_all_faults_of_a_query_are_told(service: Service) -> None:
    query = "limit=x&cursor=x&reporter_id=p&reporterId=%20&reporterId=%20&999990019=1"

    assert await faults(service, query) == {
        ("limit", "type"),
        ("cursor", "cursor"),
        ("reporter_id", "unexpected"),
        ("reporterId", "duplicate"),
        ("reporterId", "pattern"),
        ("*", "unexpected"),
    }
    assert await faults(service, "limit=1&limit=1") == {("limit", "duplicate")}


async def test_a_cursor_goes_round(service: Service) -> None:
    text = cursor_text(START)

    async with service.http.get(f"/v1/things?cursor={text}") as answer:
        assert await answer.json() == {"limit": 50, "seen": text}


@given(
    at=st.datetimes(timezones=st.just(UTC)),
    ids=st.tuples(st.uuids(), st.uuids()),
)
def test_a_cursor_keeps_its_position_to_the_microsecond(
    at: datetime, ids: tuple[UUID, UUID]
) -> None:
    position = Position(at, ids)

    assert Cursor.validate_python(cursor_text(position)) == position


@given(
    st.text()
    | st.binary(max_size=60).map(lambda data: data.hex())
    | st.text(alphabet="ABab01-_", min_size=52, max_size=56)
    | st.integers()
    | st.none()
)
def test_a_cursor_has_one_spelling_and_all_else_is_refused(text: object) -> None:
    try:
        position = Cursor.validate_python(text)
    except ValidationError:
        return
    assert cursor_text(position) == text


@pytest.mark.parametrize(
    "text",
    [
        cursor_text(Position(START.at, START.ids[:1])),
        encode_base64url(b"\x7f" + bytes(39)),
        encode_base64url(b"\x80" + bytes(39)),
    ],
    ids=["of another list", "after all time", "before all time"],
)
def test_a_cursor_that_this_list_cannot_have_given_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Cursor.validate_python(text)


@pytest.mark.parametrize(
    "path", ["x", "9BDD4FBF-4F9C-4D3E-8F0C-7E2C5F1D2A33", "9bdd4fbf4f9c4d3e8f0c7e2c5f1d2a33"]
)
async def test_an_id_has_one_spelling(service: Service, path: str) -> None:
    async with service.http.get(f"/v1/things/{path}") as answer:
        assert answer.status == 404
    async with service.http.get("/v1/things/9bdd4fbf-4f9c-4d3e-8f0c-7e2c5f1d2a33") as answer:
        assert answer.status == 200
