"""Changing the keys of a signal over HTTP, against a whole running VIN."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

from schemas.database import Db
from tests.bsns import fresh_bsn
from tests.contract.contract_client import Answer, RefusedError, Value
from tests.people import Crowd, Person, people
from tests.running import Up

Body = dict[str, Any]
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.fixture
async def crowd(up: Up) -> AsyncIterator[Crowd]:
    async with people(up) as hired:
        yield hired


@pytest.fixture
async def somebody(crowd: Crowd) -> Person:
    return await crowd.person(0)


@pytest.fixture
async def index(up: Up) -> AsyncIterator[Db]:
    db = await asyncpg.connect(up.ready["databaseUrl"])
    yield db
    await db.close()


def named() -> Value:
    surname = "".join(secrets.choice(LETTERS) for _ in range(12))
    return "demographic", f"{surname}|2015-03-01|F"


def child() -> Value:
    return "bsn", fresh_bsn()


async def child_body(person: Person, value: Value) -> Body:
    (key,), permit = await person.client.evaluate(person.reporter_id, [value])
    key["kind"] = key.pop("role")
    return {"child": key, "permit": permit}


async def household_body(person: Person, *values: Value) -> Body:
    household, permit = await person.client.evaluate(person.reporter_id, values)
    return {"household": household, "permit": permit}


async def put(person: Person, what: str, body: Body, signal: str | None = None) -> Answer:
    path = f"/v1/signals/{signal or person.signals[-1]}/{what}"
    return await person.client.call("PUT", path, body)


async def refused(person: Person, what: str, body: Body, signal: str | None = None) -> Answer:
    with pytest.raises(RefusedError) as caught:
        await put(person, what, body, signal)
    answer: Answer = caught.value.args[0]
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    return answer


async def test_s13_a_found_number_is_answered_with_the_signal_and_tells_of_no_match(
    crowd: Crowd, somebody: Person
) -> None:
    other, one = await crowd.person(1), child()
    await other.registers(one)
    await somebody.registers(named())
    before = await somebody.client.read("signals", somebody.signals[0])

    answer = await put(somebody, "child", await child_body(somebody, one))

    assert (answer.status, answer.body) == (200, before)
    async with asyncio.timeout(20):
        while await other.knows() != {somebody.email: "child"}:
            await asyncio.sleep(0.05)


async def test_m11_the_same_number_again_is_200_and_another_is_409(somebody: Person) -> None:
    one = child()
    await somebody.registers(one)

    again = await child_body(somebody, one)
    assert (await put(somebody, "child", again)).status == 200
    assert (await refused(somebody, "child", again)).status == 403
    other = await refused(somebody, "child", await child_body(somebody, child()))
    assert (other.status, other.body["type"]) == (409, "urn:problem-type:vin:other-child")


async def test_m7_a_child_that_the_reporter_has_already_is_409(somebody: Person) -> None:
    one = child()
    await somebody.registers(one)
    await somebody.registers(named())

    answer = await refused(somebody, "child", await child_body(somebody, one))

    assert (answer.status, answer.body["type"]) == (409, "urn:problem-type:vin:duplicate-signal")


async def test_s14_another_household_voids_what_it_made_and_none_at_all_needs_no_permit(
    crowd: Crowd, somebody: Person
) -> None:
    other, mother = await crowd.person(1), ("parent", fresh_bsn())
    await other.registers(child(), mother)
    await somebody.registers(child(), mother)
    assert await other.knows() == {somebody.email: "household"}

    answer = await put(somebody, "household", {"household": []})

    assert answer.body["status"] == "live"
    for person in (other, somebody):
        (match,) = await person.matches()
        assert (match["status"], match["contact"]) == ("void", None)
    assert (await put(somebody, "household", await household_body(somebody, mother))).status == 200
    async with asyncio.timeout(20):
        while await other.knows() != {somebody.email: "household"}:
            await asyncio.sleep(0.05)
    first, second = await other.matches()
    assert first["number"] != second["number"]


async def test_a_refused_change_leaves_the_permit_unspent(somebody: Person, index: Db) -> None:
    await somebody.registers(named())
    body = await child_body(somebody, child())
    before = await index.fetchval("SELECT count(*) FROM matching.permit")

    assert (await refused(somebody, "child", body | {"extra": 1})).status == 400
    assert (await refused(somebody, "child", body, str(uuid4()))).status == 404
    assert await index.fetchval("SELECT count(*) FROM matching.permit") == before
    assert (await put(somebody, "child", body)).status == 200


async def test_a_permit_is_of_the_signals_own_reporter_and_pays_for_all_keys(
    crowd: Crowd, somebody: Person
) -> None:
    colleague, stranger = await crowd.person(0), await crowd.person(1)
    await somebody.registers(named())
    own = await child_body(somebody, child())
    poor = await household_body(somebody, ("parent", fresh_bsn()))

    for other in (colleague, stranger):
        permit = (await child_body(other, child()))["permit"]
        assert (await refused(somebody, "child", own | {"permit": permit})).status == 403
    assert (await refused(somebody, "child", own | {"permit": poor["permit"]})).status == 403
    rich = poor | {
        "household": poor["household"]
        + (await household_body(somebody, ("parent", fresh_bsn())))["household"]
    }
    assert (await refused(somebody, "household", rich)).status == 403
    assert (await refused(somebody, "household", poor | {"permit": "x"})).status == 403


async def test_anothers_signal_is_404_and_one_that_ended_409(
    crowd: Crowd, somebody: Person
) -> None:
    other = await crowd.person(1)
    await somebody.registers(named())
    body = await child_body(other, child())
    assert (await refused(other, "child", body, somebody.signals[0])).status == 404
    await somebody.withdraws()

    for what, change in (
        ("child", await child_body(somebody, child())),
        ("household", {"household": []}),
    ):
        answer = await refused(somebody, what, change)
        assert (answer.status, answer.body["type"]) == (409, "urn:problem-type:vin:signal-ended")


async def test_every_fault_of_a_body_is_named(somebody: Person) -> None:
    await somebody.registers(named())
    by_name = await child_body(somebody, named())
    parent = await household_body(somebody, ("parent", fresh_bsn()))
    (key,) = parent["household"]

    cases: list[tuple[str, Body, set[str]]] = [
        ("child", by_name, {"child.kind"}),
        ("child", {}, {"child", "permit"}),
        ("household", {"household": parent["household"]}, {"permit"}),
        ("household", parent | {"household": [key, key]}, {"household"}),
        ("household", parent | {"household": [key | {"role": "address"}]}, {"household.0.domain"}),
        (
            "household",
            parent | {"household": [key | {"domain": "abc/parent"}]},
            {"household.0.domain"},
        ),
    ]
    for what, body, faults in cases:
        answer = await refused(somebody, what, body)
        assert answer.status == 400
        assert {fault["name"] for fault in answer.body["invalidParams"]} == faults
