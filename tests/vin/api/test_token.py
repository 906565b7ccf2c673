import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from urllib.parse import urlencode

import asyncpg
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from tests.vin.api.token_desk import (
    ACCESS_KEY,
    API,
    AUDIENCE,
    KEY,
    KEYHOLDER,
    KEYS,
    NOW,
    RSA,
    SECOND_KEY,
    SECONDS,
    Desk,
    assertion,
    form,
    make_clients,
    opened,
    signed_with_the_public_key,
    unsigned,
)
from vin.crypto.sign import verify_access_token


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def clients_url(make_database: Callable[[str], Awaitable[str]]) -> str:
    """A database with the clients, which these tests leave as they are."""
    url = await make_database("vin")
    db = await asyncpg.connect(url)
    await make_clients(db)
    await db.close()
    return url


@pytest_asyncio.fixture
async def desk(clients_url: str) -> AsyncIterator[Desk]:
    async with opened(clients_url) as started:
        yield started


async def test_a_client_that_proves_who_it_is_gets_a_token_for_both_services(desk: Desk) -> None:
    status, given = await desk.post(form())

    assert status == 200
    assert given.keys() == {"access_token", "token_type", "expires_in"}
    assert (given["token_type"], given["expires_in"]) == ("Bearer", 3600)
    for audience in (API, KEYHOLDER):
        access = verify_access_token(ACCESS_KEY, given["access_token"], API, audience, NOW)
        assert access.client_id == "client-1"
        assert access.organisation == "school-1"
        assert access.scope == {"matches", "signals"}
        assert access.expires_at == NOW + timedelta(hours=1)


async def test_a_token_opens_the_index_until_the_client_is_shut_out(desk: Desk) -> None:
    _, given = await desk.post(form())
    headers = {"Authorization": f"Bearer {given['access_token']}"}

    async with desk.service.http.get("/v1/caller", headers=headers) as answer:
        assert await answer.json() == ["client-1", "school-1"]

    await desk.pool.execute("UPDATE registry.client SET active = false WHERE id = 'client-1'")
    async with desk.service.http.get("/v1/caller", headers=headers) as answer:
        assert answer.status == 401
    await desk.pool.execute("UPDATE registry.client SET active = true WHERE id = 'client-1'")


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
async def test_rsa_keys_serve_too(desk: Desk, algorithm: str) -> None:
    statement = assertion(key=RSA, header={"alg": algorithm}, sub="client-rsa")

    assert (await desk.post(form(statement)))[0] == 200


async def test_of_several_keys_the_one_that_is_named_serves(desk: Desk) -> None:
    right = assertion(key=SECOND_KEY, header={"kid": "b"}, sub="client-2")
    wrong = assertion(key=SECOND_KEY, header={"kid": "a"}, sub="client-2")
    unnamed = assertion(key=KEY, sub="client-2")

    assert (await desk.post(form(right)))[0] == 200
    assert (await desk.post(form(wrong)))[0] == 401
    assert (await desk.post(form(unnamed)))[0] == 401


@pytest.mark.parametrize(
    ("scope", "given"),
    [("signals", {"signals"}), ("matches signals", {"matches", "signals"}), ("", None)],
)
async def test_a_client_may_ask_for_less(desk: Desk, scope: str, given: set[str] | None) -> None:
    _, answer = await desk.post(form(scope=scope))

    access = verify_access_token(ACCESS_KEY, answer["access_token"], API, API, NOW)
    assert access.scope == (given or {"matches", "signals"})


@pytest.mark.parametrize("scope", ["reporters", "signals reporters", "signals  matches", " "])
async def test_a_client_may_not_ask_for_more(desk: Desk, scope: str) -> None:
    status, problem = await desk.post(form(scope=scope))

    assert (status, problem["error"]) == (400, "invalid_scope")


@pytest.mark.parametrize(
    "statement",
    [
        assertion(sub="client-9"),
        assertion(sub="client-off"),
        assertion(sub="client-1\x00"),
        assertion(sub="\ud800"),
        assertion(sub=7),
        assertion(iss="client-2"),
        assertion(key=SECOND_KEY),
        assertion(aud=API),
        assertion(aud=f"{AUDIENCE}/"),
        assertion(aud=[AUDIENCE, KEYHOLDER]),
        assertion(exp=SECONDS - 61),
        assertion(exp=SECONDS + 361),
        assertion(iat=SECONDS + 61),
        assertion(jti=""),
        assertion(jti="a\x00b"),
        assertion(jti="a" * 129),
        assertion(without="jti"),
        assertion(without="exp"),
        assertion(without="sub"),
        unsigned(),
        signed_with_the_public_key(),
        "x",
        "a.b.c",
        "e30.e30.e30",
        "é" * 40,
        "." * 9000,
    ],
    ids=range(26),
)
async def test_who_does_not_prove_who_he_is_gets_one_answer_for_every_cause(
    desk: Desk, statement: str
) -> None:
    with capture_logs() as logs:
        status, problem = await desk.post(form(statement))

    assert status == 401
    assert problem.pop("instance").startswith("urn:uuid:")
    assert problem == {
        "type": "urn:problem-type:vin:invalid-client",
        "title": "The client is not known",
        "status": 401,
        "detail": "The client assertion does not hold.",
        "error": "invalid_client",
        "error_description": "The client assertion does not hold.",
    }
    assert statement not in str(logs)


async def test_a_client_id_must_be_that_of_the_assertion(desk: Desk) -> None:
    assert (await desk.post(form(client_id="client-1")))[0] == 200
    assert (await desk.post(form(client_id="client-2")))[0] == 401


@pytest.mark.parametrize("name", ["grant_type", "client_assertion_type", "client_assertion"])
async def test_what_is_missing_or_given_twice_is_invalid(desk: Desk, name: str) -> None:
    fields = form()

    for body in (
        urlencode({key: value for key, value in fields.items() if key != name}),
        urlencode(fields | {name: ""}),
        urlencode([*fields.items(), (name, fields[name])]),
    ):
        status, problem = await desk.post(body)
        assert (status, problem["error"]) == (400, "invalid_request")


@pytest.mark.parametrize("body", [b"", b"\xff", b"grant_type=%ff", b"&".join([b"a=b"] * 33)])
async def test_what_is_no_form_is_invalid(desk: Desk, body: bytes) -> None:
    status, problem = await desk.post(body)

    assert (status, problem["error"]) == (400, "invalid_request")


async def test_other_fields_are_ignored(desk: Desk) -> None:
    assert (await desk.post(form(resource="x")))[0] == 200


async def test_another_grant_or_proof_is_not_supported(desk: Desk) -> None:
    status, problem = await desk.post(form(grant_type="password"))
    assert (status, problem["error"]) == (400, "unsupported_grant_type")

    status, problem = await desk.post(form(client_assertion_type="urn:x"))
    assert (status, problem["error"]) == (400, "invalid_request")


async def test_of_twenty_uses_of_one_assertion_one_wins(desk: Desk) -> None:
    statement = assertion()

    answers = await asyncio.gather(*(desk.post(form(statement)) for _ in range(20)))

    assert sorted(status for status, _ in answers) == [200] + [401] * 19


async def test_two_clients_may_happen_on_the_same_assertion_id(desk: Desk) -> None:
    for client in ("client-1", "client-rsa"):
        algorithm = "PS256" if client == "client-rsa" else "ES256"
        key = next(iter(KEYS[client].values()))
        statement = assertion(key=key, header={"alg": algorithm}, sub=client, jti="1")
        assert (await desk.post(form(statement)))[0] == 200


async def test_a_clock_may_be_a_minute_off(desk: Desk) -> None:
    for late in (assertion(exp=SECONDS - 59), assertion(iat=SECONDS + 59, exp=SECONDS + 359)):
        assert (await desk.post(form(late)))[0] == 200


async def test_no_secret_comes_into_the_log(desk: Desk) -> None:
    with capture_logs() as logs:
        statement = assertion()
        _, given = await desk.post(form(statement))
        await desk.post(form(statement))

    assert statement not in str(logs)
    assert given["access_token"] not in str(logs)
