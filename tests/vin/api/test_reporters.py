import json
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Never
from uuid import UUID, uuid4

import pytest
from joserfc.jwk import ECKey

from schemas.database import Db
from tests.serving import Service, served
from tests.world import SECRETS, make_region
from vin.api.context import CONTEXT, Context
from vin.api.reporters import ROUTES
from vin.clock import Clock
from vin.crypto.sign import Access, make_access_token
from vin.registrar import Registrar
from vin.web.bearer import Bearer
from vin.web.caller import Caller
from vin.web.routes import application

if TYPE_CHECKING:
    from asyncpg import Pool, Record

Body = dict[str, Any]

API = "https://api.test"
KEY = ECKey.generate_key("P-256")
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
FULL = {
    "name": "Reporter 1",
    "function": "Leerkracht",
    "email": "reporter.1@school.test",
    "phone": "+31 (0)72-000 0001",
    "unit": "team",
    "reachable": "ma-vr 8.00 u",
    "registrationNumber": "190123",
}
LEAST = {name: FULL[name] for name in ("name", "function", "email", "phone", "unit")}


@dataclass
class Desk:
    """The reporters' part of the index; a client bears its organisation's id."""

    service: Service
    organisations: tuple[UUID, UUID]
    scopes: set[str] = field(default_factory=lambda: {"reporters"})

    async def call(
        self, method: str, path: str, body: object = None, organisation: int = 0
    ) -> tuple[int, Body, Mapping[str, str]]:
        headers = {"Authorization": f"Bearer {token(self.organisations[organisation])}"}
        async with self.service.http.request(
            method, f"/v1/reporters{path}", json=body, headers=headers
        ) as answer:
            return answer.status, json.loads(await answer.read() or "{}"), answer.headers

    async def put(
        self, body: Body, reporter_id: str = "p-1", organisation: int = 0
    ) -> tuple[int, Body]:
        status, answer, _ = await self.call("PUT", f"/{reporter_id}", body, organisation)
        return status, answer

    async def get(self, path: str = "/p-1", organisation: int = 0) -> tuple[int, Body]:
        status, answer, _ = await self.call("GET", path, organisation=organisation)
        return status, answer

    async def delete(self, path: str, organisation: int = 0) -> tuple[int, Body]:
        status, answer, _ = await self.call("DELETE", path, organisation=organisation)
        return status, answer

    async def refused(self, body: Body, reporter_id: str = "p-1") -> set[tuple[str, str]]:
        """Put what must be refused, and give the faults."""
        status, answer = await self.put(body, reporter_id)
        assert status == 400
        return {(fault["name"], fault["code"]) for fault in answer["invalidParams"]}


def token(organisation: UUID) -> str:
    access = Access(
        client_id=str(organisation),
        organisation="organisation",
        scope=frozenset({"reporters", "signals"}),
        id=str(uuid4()),
        expires_at=NOW + timedelta(hours=1),
    )
    return make_access_token(KEY, access, API, [API], NOW)


async def make_organisation(db: Db, code: str) -> UUID:
    organisation = uuid4()
    await db.execute(
        "INSERT INTO registry.organisation VALUES ($1, $2, 'O', 'school', NULL, 'nl', 'full')",
        organisation,
        code,
    )
    for unit in ("team", code):
        await db.execute(
            "INSERT INTO registry.unit VALUES ($1, $2, $3, 'Team', $1)",
            uuid4(),
            organisation,
            unit,
        )
    return organisation


async def never(*_: object) -> Never:
    raise AssertionError


def no_permit(_: str) -> Never:
    raise AssertionError


@pytest.fixture
async def desk(pool: "Pool[Record]") -> AsyncIterator[Desk]:
    async with pool.acquire() as db:
        await make_region(db)
        organisations = (await make_organisation(db, "one"), await make_organisation(db, "two"))

    async def look_up(client_id: str) -> Caller:
        return Caller(
            client_id=client_id,
            organisation_id=UUID(client_id),
            organisation="organisation",
            scopes=frozenset(made.scopes),
        )

    check = Bearer(key=KEY, issuer=API, audience=API, look_up=look_up, utcnow=lambda: NOW)
    app = application(ROUTES, check)
    app[CONTEXT] = Context(
        region="nhn",
        pool=pool,
        clock=Clock(timedelta(days=365)),
        secrets=SECRETS,
        registrar=Registrar(never, never),
        verify_permit=no_permit,
    )
    async with served(app) as service:
        made = Desk(service, organisations)
        yield made


async def test_a_new_reporter_is_201_with_his_location_and_a_known_one_200(desk: Desk) -> None:
    status, first, headers = await desk.call("PUT", "/p-1", FULL)
    again, second, _ = await desk.call("PUT", "/p-1", {**FULL, "name": "Reporter 2"})

    assert (status, again) == (201, 200)
    assert headers["Location"] == "/v1/reporters/p-1"
    assert second == {**first, "name": "Reporter 2"}


async def test_the_answer_has_what_was_put_and_the_identifier(desk: Desk) -> None:
    _, put = await desk.put(FULL)
    status, got = await desk.get()

    assert (status, got) == (200, put)
    designated_at = got.pop("designatedAt")
    assert got == {**FULL, "reporterId": "p-1"}
    assert re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z", designated_at)


async def test_designation_happens_in_domain_time(desk: Desk, db: Db) -> None:
    _, put = await desk.put(FULL)

    now: datetime = await db.fetchval("SELECT now()")

    ahead = datetime.fromisoformat(put["designatedAt"]) - now
    assert timedelta(days=364) < ahead < timedelta(days=366)


async def test_what_is_optional_may_be_absent_or_null(desk: Desk) -> None:
    absent = (await desk.put(LEAST))[1]
    null = (await desk.put({**LEAST, "reachable": None, "registrationNumber": None}))[1]

    assert absent == null
    assert (null["reachable"], null["registrationNumber"]) == (None, None)


async def test_each_organisation_has_a_name_space_of_its_own(desk: Desk) -> None:
    await desk.put(FULL)
    status, _ = await desk.put(LEAST, organisation=1)

    assert status == 201
    assert (await desk.get(organisation=1))[1]["reachable"] is None
    assert (await desk.get())[1]["reachable"] == FULL["reachable"]


@pytest.mark.parametrize(
    "path", ["/p-2", "/p%2F2", "/p%002", "/" + "p" * 65, "/%C3%A9", "/p%2D1%20"]
)
async def test_who_is_not_there_is_404_whatever_the_name(desk: Desk, path: str) -> None:
    await desk.put(FULL)

    assert (await desk.get(path))[0] == 404
    assert (await desk.get("/p-1", organisation=1))[0] == 404


@pytest.mark.parametrize("reporter_id", ["p", "A-z0.9_~", "p" * 64])
async def test_an_identifier_may_have_all_that_was_agreed(desk: Desk, reporter_id: str) -> None:
    status, answer = await desk.put(FULL, reporter_id)

    assert (status, answer["reporterId"]) == (201, reporter_id)


@pytest.mark.parametrize("reporter_id", ["p" * 65, "p%2F1", "p%201", "p%40x", "%C3%A9", "p%00"])
async def test_an_identifier_of_another_form_is_refused(desk: Desk, reporter_id: str) -> None:
    assert await desk.refused(FULL, reporter_id) == {("reporterId", "pattern")}


async def test_all_faults_are_told_at_once(desk: Desk) -> None:
    body = {
        "name": "",
        "function": 7,
        "email": "nobody",
        "phone": "none",
        "unit": "elsewhere",
        "reachable": "x" * 101,
        "colour": "red",
    }

    assert await desk.refused(body, "p%201") == {
        ("reporterId", "pattern"),
        ("name", "length"),
        ("function", "type"),
        ("email", "email"),
        ("phone", "phone"),
        ("unit", "unknown"),
        ("reachable", "length"),
        ("colour", "unexpected"),
    }


async def test_what_is_required_must_be_there(desk: Desk) -> None:
    assert await desk.refused({}) == {(name, "required") for name in LEAST}


async def test_another_organisations_unit_is_unknown(desk: Desk) -> None:
    assert await desk.refused({**FULL, "unit": "two"}) == {("unit", "unknown")}
    assert (await desk.put({**FULL, "unit": "one"}))[0] == 201


async def test_a_refused_designation_leaves_nothing(desk: Desk, db: Db) -> None:
    await desk.refused({**FULL, "unit": "elsewhere"})

    for table in ("registry.reporter", "matching.person", "audit.entry"):
        assert await db.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608


async def test_the_list_has_every_own_reporter_once(desk: Desk) -> None:
    ids = {f"p-{number}" for number in range(7)}
    for reporter_id in ids:
        await desk.put(FULL, reporter_id)
    await desk.put(FULL, "stranger", organisation=1)

    seen, cursor, pages = [], "", 0
    while cursor is not None:
        _, page = await desk.get(f"?limit=3{cursor and f'&cursor={cursor}'}")
        seen += [item["reporterId"] for item in page["items"]]
        cursor, pages = page["nextCursor"], pages + 1

    assert sorted(seen) == sorted(ids)
    assert pages == 3
    assert (await desk.get("", organisation=1))[1]["nextCursor"] is None


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=x", "name=x"])
async def test_a_bad_query_is_refused(desk: Desk, query: str) -> None:
    status, answer = await desk.get(f"?{query}")

    assert (status, answer["invalidParams"][0]["name"]) == (400, query.partition("=")[0])


async def test_each_look_at_contact_data_is_logged(desk: Desk, db: Db) -> None:
    await desk.put(FULL, "p-1")
    await desk.put(FULL, "p-2")
    await desk.get("/p-1")
    await desk.get("")

    rows = await db.fetch("SELECT event, actor, object_id, detail FROM audit.entry ORDER BY id")

    assert [row["event"] for row in rows] == ["reporter.designated"] * 2 + ["contact.opened"] * 3
    assert {row["actor"] for row in rows} == {str(desk.organisations[0])}
    assert rows[0]["detail"] == f'{{"organisation": "{desk.organisations[0]}"}}'
    assert [row["object_id"] for row in rows[:2]] == [row["object_id"] for row in rows[3:]]


async def test_w3_who_left_is_404_until_he_is_designated_anew_with_201(desk: Desk) -> None:
    await desk.put(FULL, "p-1")
    _, other = await desk.put(FULL, "p-2")

    assert await desk.delete("/p-1") == (204, {})
    assert (await desk.get("/p-1"))[0] == 404
    assert (await desk.delete("/p-1"))[0] == 404
    assert (await desk.get(""))[1]["items"] == [other]

    status, back, headers = await desk.call("PUT", "/p-1", LEAST)
    assert (status, headers["Location"]) == (201, "/v1/reporters/p-1")
    assert await desk.get("/p-1") == (200, back)
    assert [item["reporterId"] for item in (await desk.get(""))[1]["items"]] == ["p-2", "p-1"]


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("successorId=p-1", ("successorId", "unknown")),
        ("successorId=p-9", ("successorId", "unknown")),
        ("successorId=stranger", ("successorId", "unknown")),
        ("successorId=", ("successorId", "pattern")),
        ("successorId=a%20b", ("successorId", "pattern")),
        ("successor=p-2", ("successor", "unexpected")),
        ("successorId=p-2&successorId=p-2", ("successorId", "duplicate")),
    ],
)
async def test_w3_a_bad_successor_is_400_and_ends_nothing(
    desk: Desk, query: str, fault: tuple[str, str]
) -> None:
    await desk.put(FULL, "p-1")
    await desk.put(FULL, "p-2")
    await desk.put(FULL, "stranger", organisation=1)

    status, answer = await desk.delete(f"/p-1?{query}")

    assert status == 400
    assert [(each["name"], each["code"]) for each in answer["invalidParams"]] == [fault]
    assert (await desk.get("/p-1"))[0] == 200


@pytest.mark.parametrize("path", ["/p-2", "/p%2F2", "/p%002", "/" + "p" * 65])
async def test_w3_who_is_not_there_cannot_leave(desk: Desk, path: str) -> None:
    await desk.put(FULL)

    assert (await desk.delete(path))[0] == 404
    assert (await desk.delete("/p-1", organisation=1))[0] == 404
    assert (await desk.get("/p-1"))[0] == 200


async def test_the_scope_is_needed(desk: Desk) -> None:
    desk.scopes = {"signals"}

    answers = [
        await desk.put(FULL),
        await desk.get(),
        await desk.get(""),
        await desk.delete("/p-1"),
    ]

    assert [status for status, _ in answers] == [403] * 4
