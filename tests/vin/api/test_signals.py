"""Bad and good registrations over HTTP, against a whole running VIN."""

import asyncio
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import ClientSession

from schemas.database import Db
from tests.bsns import fresh_bsn
from tests.contract.contract_client import Answer, ContractClient, RefusedError, b64, unb64
from tests.running import Up

Body = dict[str, Any]
OFF_CURVE = "A" + "g" + "A" * 41 + "E"
IDENTITY = "AA"


@pytest.fixture
async def clients(up: Up) -> AsyncIterator[list[ContractClient]]:
    """Two clients of different organisations, each with a reporter `p-1` and `p-2`."""
    async with ClientSession() as session:
        connected = []
        for entry in up.ready["clients"][:2]:
            client = await ContractClient.connect(
                session, entry, up.ready["api"], up.ready["keyholder"]
            )
            for number in (1, 2):
                await client.put_reporter(f"p-{number}", reporter(entry, number))
            connected.append(client)
        yield connected


def reporter(entry: Body, number: int) -> Body:
    return {
        "name": f"Reporter {number}",
        "function": "Teacher",
        "email": f"p{number}.{entry['clientId']}@school.test",
        "phone": "+31 6 12345678",
        "unit": entry["unit"],
    }


@pytest.fixture
async def index(up: Up) -> AsyncIterator[Db]:
    db = await asyncpg.connect(up.ready["databaseUrl"])
    yield db
    await db.close()


async def refused(client: ContractClient, body: Body, key: str | None = None) -> Answer:
    with pytest.raises(RefusedError) as caught:
        await client.register(body, key or str(uuid4()))
    answer: Answer = caught.value.args[0]
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert {"type", "title", "status", "detail", "instance"} <= answer.body.keys()
    return answer


async def body_for(client: ContractClient, reporter_id: str = "p-1") -> Body:
    values = [("bsn", fresh_bsn()), ("parent", fresh_bsn())]
    return await client.signal_body(reporter_id, "D-1", values)


def names(answer: Answer) -> set[str]:
    return {fault["name"] for fault in answer.body["invalidParams"]}


async def test_a_registration_is_answered_201_and_the_same_child_again_200(
    clients: list[ContractClient],
) -> None:
    child = fresh_bsn()
    first = await clients[0].register(
        await clients[0].signal_body("p-1", "D-1", [("bsn", child)]), str(uuid4())
    )
    again = await clients[0].register(
        await clients[0].signal_body("p-1", "D-2", [("bsn", child)]), str(uuid4())
    )

    assert (first.status, again.status) == (201, 200)
    assert first.body == again.body
    assert set(first.body) == {
        "id",
        "reporterId",
        "reference",
        "status",
        "registeredAt",
        "removeOn",
    }


def drop(*path: str) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        target = body
        for step in path[:-1]:
            target = target[step]
        del target[path[-1]]

    return change


def put(value: object, *path: str | int) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        target: Any = body
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value

    return change


FAULTS: list[tuple[str, Callable[[Body], None], str]] = [
    ("unknown member", put(1, "reason"), "reason"),
    ("member inside unknown", put(1, "child", "name"), "child.name"),
    ("reporter missing", drop("reporterId"), "reporterId"),
    ("reporter of wrong form", put("a b", "reporterId"), "reporterId"),
    ("reporter unknown", put("nobody", "reporterId"), "reporterId"),
    ("reference too long", put("x" * 41, "reference"), "reference"),
    ("element too short", put("AAAA", "child", "element"), "child.element"),
    ("element off the curve", put(OFF_CURVE, "child", "element"), "child.element"),
    ("element padded", put("A" * 44 + "=", "household", 0, "element"), "household.0.element"),
    ("identity", put(IDENTITY, "child", "element"), "child.element"),
    ("number for text", put(7, "child", "element"), "child.element"),
    ("domain of another role", put("nhn/parent", "child", "domain"), "child.domain"),
    ("domain of another region", put("abc/child", "child", "domain"), "child.domain"),
    ("kind unknown", put("name", "child", "kind"), "child.kind"),
    ("date past", put("2020-01-01", "removeOn"), "removeOn"),
    ("date too far", put("2999-01-01", "removeOn"), "removeOn"),
    ("date with time", put("2027-01-01T00:00:00Z", "removeOn"), "removeOn"),
    ("date that is none", put("2027-02-30", "destroyBy"), "destroyBy"),
]


@pytest.mark.parametrize(
    ("change", "name"), [case[1:] for case in FAULTS], ids=[c[0] for c in FAULTS]
)
async def test_a_faulty_registration_is_400_and_names_the_fault(
    clients: list[ContractClient], change: Callable[[Body], None], name: str
) -> None:
    body = await body_for(clients[0])
    change(body)

    answer = await refused(clients[0], body)

    assert answer.status == 400
    assert names(answer) == {name}


async def test_all_faults_are_named_at_once(clients: list[ContractClient]) -> None:
    body = await body_for(clients[0])
    body |= {"reference": "", "extra": True, "removeOn": "soon"}
    body["household"][0]["role"] = "aunt"

    answer = await refused(clients[0], body, "no-uuid")

    assert answer.status == 400
    assert names(answer) == {
        "Idempotency-Key",
        "reference",
        "extra",
        "removeOn",
        "household.0.role",
    }


async def test_an_element_and_its_negative_are_one_key(clients: list[ContractClient]) -> None:
    body = await body_for(clients[0])
    (parent,) = body["household"]
    twin = bytearray(unb64(parent["element"]))
    twin[0] ^= 1
    body["household"].append(parent | {"element": b64(bytes(twin))})

    answer = await refused(clients[0], body)

    assert answer.status == 400
    assert names(answer) == {"household"}


async def test_an_unknown_reporter_with_a_permit_of_his_own_is_400(
    clients: list[ContractClient],
) -> None:
    answer = await refused(clients[0], await body_for(clients[0], "stranger"))

    assert answer.status == 400
    assert names(answer) == {"reporterId"}


async def test_a_refused_registration_stores_nothing_and_leaves_the_permit_unspent(
    clients: list[ContractClient], index: Db
) -> None:
    body = await body_for(clients[0])
    key = str(uuid4())
    before = await stored(index)

    await refused(clients[0], body | {"removeOn": "2999-01-01"}, key)
    await refused(clients[0], body | {"extra": 1}, key)
    assert await stored(index) == before

    assert (await clients[0].register(body, key)).status == 201


async def stored(index: Db) -> list[int]:
    row = await index.fetchrow(
        """
        SELECT (SELECT count(*) FROM matching.signal),
               (SELECT count(*) FROM matching.token),
               (SELECT count(*) FROM matching.permit),
               (SELECT count(*) FROM matching.idempotency)
        """
    )
    return list(row or ())


async def test_a_spent_permit_is_403(clients: list[ContractClient]) -> None:
    body = await body_for(clients[0])
    await clients[0].register(body, str(uuid4()))

    answer = await refused(clients[0], body)

    assert answer.status == 403
    assert "permit-spent" in answer.body["type"]


async def test_twenty_requests_with_one_permit_let_one_win(clients: list[ContractClient]) -> None:
    body = await body_for(clients[0])

    answers = await gather_statuses(clients[0], [body] * 20)

    assert sorted(answers) == [201] + [403] * 19


async def gather_statuses(client: ContractClient, bodies: list[Body]) -> list[int]:
    async def status(body: Body) -> int:
        try:
            return (await client.register(body, str(uuid4()))).status
        except RefusedError as error:
            answer: Answer = error.args[0]
            return answer.status

    return list(await asyncio.gather(*map(status, bodies)))


async def test_anothers_permit_is_403_be_it_another_reporters_or_another_clients(
    clients: list[ContractClient],
) -> None:
    own, other = await body_for(clients[0], "p-1"), await body_for(clients[0], "p-2")
    foreign = await body_for(clients[1], "p-1")

    for permit in (other["permit"], foreign["permit"]):
        answer = await refused(clients[0], own | {"permit": permit})
        assert answer.status == 403


async def test_a_permit_pays_for_no_more_than_it_says(clients: list[ContractClient]) -> None:
    body = await body_for(clients[0])
    extra = await body_for(clients[0])
    body["household"] += extra["household"]

    assert (await refused(clients[0], body)).status == 403


async def test_a_forged_or_broken_permit_is_403(clients: list[ContractClient]) -> None:
    body = await body_for(clients[0])
    head, claims, signature = body["permit"].split(".")

    for permit in (f"{head}.{claims}.{signature[::-1]}", f"{head}.{claims}.", "x", "a.b.c"):
        assert (await refused(clients[0], body | {"permit": permit})).status == 403


async def test_an_idempotency_key_serves_one_body(clients: list[ContractClient]) -> None:
    body, key = await body_for(clients[0]), str(uuid4())
    first = await clients[0].register(body, key)

    again = await clients[0].register(body, key)
    other = await refused(clients[0], body | {"reference": "D-2"}, key)

    assert (again.status, again.body) == (first.status, first.body)
    assert other.status == 409


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"\xff", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"{}", "text/plain", 415),
        (b'{"a": "' + b"x" * 1_100_000 + b'"}', "application/json", 413),
    ],
)
async def test_what_is_no_such_body_is_refused(
    clients: list[ContractClient], content: bytes, kind: str, status: int
) -> None:
    client = clients[0]
    headers = {
        "Authorization": f"Bearer {await client.token()}",
        "Content-Type": kind,
        "Idempotency-Key": str(uuid4()),
    }
    url = f"{client.api}/v1/signals"

    async with client.session.post(url, data=BytesIO(content), headers=headers) as answer:
        assert answer.status == status
        assert answer.content_type == "application/problem+json"


async def test_without_an_access_token_nothing_is_done(clients: list[ContractClient]) -> None:
    client = clients[0]
    for headers in ({}, {"Authorization": "Bearer x.y.z"}):
        async with client.session.get(f"{client.api}/v1/signals", headers=headers) as answer:
            assert answer.status == 401


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "cursor=x", "sort=age"])
async def test_a_bad_query_of_a_list_is_400(clients: list[ContractClient], query: str) -> None:
    for resource in ("signals", "matches"):
        with pytest.raises(RefusedError) as caught:
            await clients[0].call("GET", f"/v1/{resource}?{query}")
        assert caught.value.args[0].status == 400


@pytest.mark.parametrize(
    "path",
    [
        "/v1/signals/",
        "/v1/signals/x",
        "/v1/signals/00000000-0000-4000-8000-000000000000",
        "/v1/matches/M-0000-0000-0",
        "/v1/matches/x",
        "/v1/matches/M-0000-0000-1",
        "/v1/nothing",
    ],
)
async def test_what_is_not_there_is_404(clients: list[ContractClient], path: str) -> None:
    with pytest.raises(RefusedError) as caught:
        await clients[0].call("GET", path)
    assert caught.value.args[0].status == 404
