import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Annotated
from uuid import UUID

import pytest
import pytest_asyncio
from aiohttp import web
from pydantic import Field

from tests.serving import Service, served
from vin.base64url import encode_base64url
from vin.web.body import MAX_BODY_BYTES, MAX_DRAINED_BYTES, read, reply
from vin.web.routes import Route, application
from vin.web.wire import Element, Instant, LocalDate, Wire

ELEMENT = encode_base64url(b"\x02" * 33)
JSON = {"Content-Type": "application/json"}
HEAD = b"POST /v1/things HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%b\r\n"
FULL_WIDTH_YEAR = "\uff12\uff10\uff12\uff16-11-22"


class Part(Wire):
    element: Element


class Thing(Wire):
    due_on: LocalDate | None = None
    seen_at: Instant | None = None
    id: UUID | None = None
    parts: Annotated[list[Part], Field(max_length=3)] | None = None


async def post_thing(request: web.Request) -> web.Response:
    return reply(read(request, Thing), status=201)


ROUTE = Route(
    method="POST",
    path="/v1/things",
    operation_id="postThing",
    summary="Maakt een ding",
    scope=None,
    handler=post_thing,
    request=Thing,
    response=Thing,
    seconds=0.5,
)


@pytest_asyncio.fixture
async def service() -> AsyncIterator[Service]:
    async with served(application([ROUTE])) as started:
        yield started


async def faults(service: Service, body: str | bytes) -> set[tuple[str, str]]:
    async with service.http.post("/v1/things", data=body, headers=JSON) as answer:
        assert answer.status == 400
        problem = await answer.json()
    assert problem["type"] == "urn:problem-type:vin:invalid-input"
    return {(each["name"], each["code"]) for each in problem["invalidParams"]}


async def test_a_body_comes_in_and_goes_out_as_agreed(service: Service) -> None:
    body = {
        "dueOn": "2028-02-29",
        "seenAt": "2026-11-22T10:00:00.123456+01:00",
        "id": "9bdd4fbf-4f9c-4d3e-8f0c-7e2c5f1d2a33",
        "parts": [{"element": ELEMENT}],
    }

    async with service.http.post("/v1/things", json=body) as answer:
        assert answer.status == 201
        assert await answer.json() == {**body, "seenAt": "2026-11-22T09:00:00.123Z"}


async def test_every_fault_is_told_by_its_path(service: Service) -> None:
    body = {
        "dueOn": "20280229",
        "due_on": None,
        "seenAt": "2026-11-22T10:00:00",
        "id": 3,
        "parts": [{"element": ELEMENT}, {"element": ELEMENT[:-1], "note": "x"}, {}],
    }

    assert await faults(service, json.dumps(body)) == {
        ("dueOn", "date"),
        ("due_on", "unexpected"),
        ("seenAt", "format"),
        ("id", "type"),
        ("parts.1.element", "encoding"),
        ("parts.1.note", "unexpected"),
        ("parts.2.element", "required"),
    }


@pytest.mark.parametrize(
    "text",
    ["2026-11-22T00:00:00", "1795305600", "2026-02-30", "22-11-2026", FULL_WIDTH_YEAR],
)
async def test_only_a_plain_date_is_a_date(service: Service, text: str) -> None:
    [(name, _)] = await faults(service, json.dumps({"dueOn": text}))

    assert name == "dueOn"


@pytest.mark.parametrize(
    "text",
    [
        ELEMENT + "=",
        ELEMENT[:-1] + "=",
        ELEMENT[:-1] + "+",
        ELEMENT[:-1] + "\n",
        " " + ELEMENT[1:],
        ELEMENT + ELEMENT,
        "",
        "\u00e9" * 44,
    ],
)
async def test_an_element_has_one_spelling(service: Service, text: str) -> None:
    body = json.dumps({"parts": [{"element": text}]})

    assert await faults(service, body) == {("parts.0.element", "encoding")}


async def test_a_list_that_is_too_long_is_one_fault(service: Service) -> None:
    body = json.dumps({"parts": [{"element": ELEMENT}] * 4})

    assert await faults(service, body) == {("parts", "length")}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "{}{}",
        '{"dueOn": NaN}',
        '{"dueOn": -Infinity}',
        "[" * 100_000,
        '{"parts": ' + "[" * 300 + "]" * 300 + "}",
        "1" * 5000,
        '{"dueOn": "\\ud800"}',
        "\ufeff{}",
        b"\xff",
        '{"dueOn": "2028-02-29"}'.encode("utf-16"),
    ],
    ids=range(12),
)
async def test_what_is_no_json_in_utf8_is_refused(service: Service, body: str | bytes) -> None:
    assert await faults(service, body) == {("body", "json")}


@pytest.mark.parametrize("body", ["[]", "null", '"x"', "3"])
async def test_a_body_is_an_object(service: Service, body: str) -> None:
    assert await faults(service, body) == {("body", "type")}


async def test_a_member_given_twice_is_refused_with_the_other_faults(service: Service) -> None:
    body = f'{{"parts": [{{"element": "{ELEMENT}", "element": "x"}}], "id": "x"}}'

    assert await faults(service, body) == {
        ("element", "duplicate"),
        ("parts.0.element", "encoding"),
        ("id", "format"),
    }
    assert await faults(service, '{"id": null, "id": null}') == {("id", "duplicate")}


async def test_a_value_is_never_sent_back(service: Service) -> None:
    value = "999990019"
    bodies = [
        {value: 1},
        {"dueOn": value, "seenAt": value, "id": value},
        {"parts": [{"element": value, value: value}]},
        {"parts": value},
    ]

    for body in bodies:
        async with service.http.post("/v1/things", json=body) as answer:
            assert answer.status == 400
            assert value not in await answer.text()
            assert value not in str(answer.headers)


async def test_thousands_of_faults_are_cut_short(service: Service) -> None:
    body = json.dumps({f"m{number}": 0 for number in range(5000)})

    assert len(await faults(service, body)) == 1000


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
async def test_another_content_type_is_415(service: Service, kind: str) -> None:
    headers = {"Content-Type": kind}

    async with service.http.post("/v1/things", data=b"{}", headers=headers) as answer:
        assert answer.status == 415


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), 65536):
        yield body[start : start + 65536]


declared_and_chunked = pytest.mark.parametrize(
    "send", [io.BytesIO, pieces], ids=["declared", "chunked"]
)


@declared_and_chunked
async def test_a_body_of_a_megabyte_is_read_and_one_byte_more_is_not(
    service: Service, send: Callable[[bytes], object]
) -> None:
    for size, status in ((MAX_BODY_BYTES, 201), (MAX_BODY_BYTES + 1, 413)):
        data = send(b"{}".ljust(size))
        async with service.http.post("/v1/things", data=data, headers=JSON) as answer:
            assert answer.status == status


@declared_and_chunked
async def test_a_caller_that_sends_far_too_much_can_read_the_answer(
    service: Service, send: Callable[[bytes], object]
) -> None:
    data = send(bytes(MAX_DRAINED_BYTES))

    async with service.http.post("/v1/things", data=data) as answer:
        assert answer.status == 413
        assert (await answer.json())["type"] == "urn:problem-type:vin:body-too-large"


async def test_beyond_what_is_drained_the_answer_does_not_wait(service: Service) -> None:
    body = bytes(MAX_DRAINED_BYTES + 65536)

    first = await service.first_line(HEAD % (99_999_999, b"") + body)

    assert first == b"HTTP/1.1 413 Request Entity Too Large"


async def test_a_body_that_does_not_come_is_not_waited_for(service: Service) -> None:
    first = await service.first_line(HEAD % (2, b"") + b"{")

    assert first == b"HTTP/1.1 503 Service Unavailable"


async def test_a_body_that_is_not_packed_as_it_says_is_refused(service: Service) -> None:
    first = await service.first_line(HEAD % (2, b"Content-Encoding: gzip\r\n") + b"{}")

    assert first == b"HTTP/1.1 400 Bad Request"


@pytest.mark.parametrize(
    ("expectation", "answer"),
    [(b"100-continue", b"HTTP/1.1 100 Continue"), (b"x", b"HTTP/1.1 415 Unsupported Media Type")],
)
async def test_a_caller_that_waits_to_be_invited_is(
    service: Service, expectation: bytes, answer: bytes
) -> None:
    head = HEAD % (2, b"Expect: %b\r\n" % expectation)

    assert await service.first_line(head + b"{}") == answer
