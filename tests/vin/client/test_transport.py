"""Requests that fail, are refused, or are answered by something else."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web

from tests.vin.client.services import (
    QUICK,
    Services,
    config_for,
    problem,
    registration,
    reporter,
)
from vin.client import (
    AnswerError,
    Client,
    ProblemError,
    UnreachableError,
)


async def test_an_outage_is_waited_out_with_the_same_request(
    services: Services, client: Client
) -> None:
    services.first += [web.json_response({}, status=503), problem(429, retry_after="0")]

    await client.register(registration())

    first, second, third = services.bodies("/v1/evaluations")
    assert first["batches"] == second["batches"] == third["batches"]


async def test_who_is_asked_to_wait_long_is_told_so_at_once(
    services: Services, client: Client
) -> None:
    services.first.append(problem(429, retry_after="3600"))

    with pytest.raises(ProblemError) as caught:
        await client.register(registration())

    assert caught.value.problem.status == 429
    assert caught.value.problem.retry_after_seconds == 3600
    assert len(services.bodies("/v1/evaluations")) == 1


async def test_a_refusal_is_told_with_every_fault(services: Services, client: Client) -> None:
    faults = [{"name": "phone", "code": "phone", "reason": "Not a number."}]
    services.first.append(problem(400, invalidParams=faults))

    with pytest.raises(ProblemError, match="phone: Not a number") as caught:
        await client.register_reporter(reporter())

    assert [each.code for each in caught.value.problem.invalid_params] == ["phone"]


@pytest.mark.parametrize("body", ["<html>", '{"title": 5}', "[]"])
async def test_what_stands_before_a_service_may_answer_without_a_problem(
    services: Services, client: Client, body: str
) -> None:
    services.first.append(web.Response(text=body, status=403))

    with pytest.raises(ProblemError, match="403 Forbidden"):
        await client.register_reporter(reporter())


async def test_an_answer_that_is_not_json_is_no_success(services: Services, client: Client) -> None:
    services.first.append(web.Response(text="<html>Log in first</html>"))

    with pytest.raises(AnswerError):
        await client.register_reporter(reporter())


async def test_an_answer_that_is_not_even_http_is_told(tmp_path: Path, services: Services) -> None:
    async def babble(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(babble, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        config = config_for(services, tmp_path).model_copy(update={"keyholder": url})
        async with Client.connect(config, retry=QUICK) as client:
            with pytest.raises(AnswerError, match="no known way"):
                await client.check()


async def test_a_redirect_is_not_followed(services: Services, client: Client) -> None:
    services.first.append(web.Response(status=307, headers={"Location": "/elsewhere"}))

    with pytest.raises(ProblemError, match="307"):
        await client.register_reporter(reporter())

    assert services.bodies("/elsewhere") == []


async def test_an_unreachable_service_is_told_after_all_attempts(
    services: Services, tmp_path: Path
) -> None:
    config = config_for(services, tmp_path).model_copy(update={"keyholder": "http://127.0.0.1:9"})

    async with Client.connect(config, retry=QUICK) as client:
        with pytest.raises(UnreachableError):
            await client.register(registration())


async def test_many_at_once_share_one_access_token(services: Services, client: Client) -> None:
    await asyncio.gather(*(client.register(registration()) for _ in range(8)))

    assert services.tokens == 1
    assert len(services.signals) == 8


async def test_a_refused_access_token_is_replaced_once(services: Services, client: Client) -> None:
    services.first.append(problem(401))

    await client.register_reporter(reporter())

    assert services.tokens == 2
    services.first += [problem(401), problem(401)]
    with pytest.raises(ProblemError, match="401"):
        await client.register_reporter(reporter())


async def test_many_refused_at_once_share_the_new_access_token(
    services: Services, client: Client
) -> None:
    await client.check()
    services.first += [problem(401), problem(401), problem(401)]
    services.slow_seconds += [0, 0, 0.2]

    await asyncio.gather(*(client.register_reporter(reporter()) for _ in range(3)))

    assert services.tokens == 2
