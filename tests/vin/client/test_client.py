"""The client against services that answer, fail and lie."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import date
from pathlib import Path
from uuid import UUID

import pytest
import pytest_asyncio
from aiohttp import web

from tests.vin.client.services import Json, Services, config_for, problem, serving
from vin.client import (
    Address,
    AnswerError,
    Bsn,
    Client,
    ConfigError,
    Demographic,
    KeyHolderError,
    OwnNumberError,
    ProblemError,
    Registration,
    Reporter,
    Retry,
    TooOldError,
    UnreachableError,
)
from vin.client.identifiers import ADDRESS, BSN, DEMOGRAPHIC, frame
from vin.client.keys import decode, encode
from vin.crypto.oprf import Key, hash_to_group, multiply

CHILD, MOTHER, FATHER = "999990019", "999990020", "999990032"
TODAY = date(2026, 11, 22)
QUICK = Retry(attempts=3, first_seconds=0.001, longest_seconds=1)


def registration() -> Registration:
    return Registration(
        reporter_id="p-1",
        reference="D-1",
        child=Bsn(CHILD),
        parents=[Bsn(MOTHER), Bsn(FATHER)],
        address=Address("1811AB", 50001, "a", "bis"),
        birth_date=date(2015, 3, 1),
    )


@pytest_asyncio.fixture
async def services() -> AsyncIterator[Services]:
    async with serving() as running:
        yield running


@pytest_asyncio.fixture
async def client(services: Services, tmp_path: Path) -> AsyncIterator[Client]:
    config = config_for(services, tmp_path)
    async with Client.connect(config, retry=QUICK, today=lambda: TODAY) as opened:
        yield opened


async def test_a_signal_holds_the_key_holders_multiple_of_each_identifier(
    services: Services, client: Client
) -> None:
    signal = await client.register(registration())

    [body] = services.bodies("/v1/signals")
    members = [body["child"], *body["household"]]
    expected = [
        ("nhn/child", frame(BSN, CHILD)),
        ("nhn/parent", frame(BSN, MOTHER)),
        ("nhn/parent", frame(BSN, FATHER)),
        ("nhn/address", frame(ADDRESS, "1811AB|50001|A|BIS")),
    ]
    assert [(each["domain"], decode(each["element"])) for each in members] == [
        (domain, multiply(services.keys[domain], hash_to_group(framed)))
        for domain, framed in expected
    ]
    assert [each.get("kind") or each["role"] for each in members] == [
        "bsn", "parent", "parent", "address"
    ]  # fmt: skip
    assert body["permit"] == "permit"
    assert signal.id == UUID(services.signals[str(next(iter(services.signals)))]["id"])


async def test_a_child_without_a_number_goes_to_the_weak_domain(
    services: Services, client: Client
) -> None:
    child = Demographic("van der Roos-een", date(2015, 3, 1), "F")

    await client.register(replace(registration(), child=child))

    [body] = services.bodies("/v1/signals")
    framed = frame(DEMOGRAPHIC, "ROOSEEN|2015-03-01|F")
    assert body["child"]["kind"] == "demographic"
    assert decode(body["child"]["element"]) == multiply(
        services.keys["nhn/weak"], hash_to_group(framed)
    )


async def test_all_identifiers_go_blinded_in_one_request_with_a_batch_for_each_domain(
    services: Services, client: Client
) -> None:
    await client.register(registration())

    [body] = services.bodies("/v1/evaluations")
    batches = {each["domain"]: len(each["blinded"]) for each in body["batches"]}
    assert batches == {"nhn/child": 1, "nhn/parent": 2, "nhn/address": 1}


async def test_the_same_parent_twice_is_one_parent(services: Services, client: Client) -> None:
    twice = replace(registration(), parents=[Bsn(MOTHER), Bsn(" 9999.90-020")])

    await client.register(twice)

    [body] = services.bodies("/v1/signals")
    assert [each["role"] for each in body["household"]] == ["parent", "address"]


async def test_nothing_that_identifies_leaves_or_is_shown_or_logged(
    services: Services, client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    given = registration()
    named = replace(given, child=Demographic("Roos", date(2015, 3, 1), "F"))

    await client.register(given)
    await client.register(named)

    traces = f"{services.asked} {caplog.text} {given} {named}"
    for secret in (CHILD, MOTHER, FATHER, "1811", "50001", "2015-03-01", "(2015", "oos", "ROOS"):
        assert secret not in traces


Lie = Callable[[Json], Json]


def other_key(batch: Json) -> Json:
    wrong = Key.from_seed(bytes(32), b"another")
    return batch | {
        "evaluated": [encode(multiply(wrong, decode(each))) for each in batch["evaluated"]]
    }


LIES: dict[str, Lie] = {
    "another key": other_key,
    "swapped": lambda batch: batch | {"evaluated": batch["evaluated"][::-1]},
    "repeated": lambda batch: batch | {"evaluated": batch["evaluated"][:1] * 2},
    "shortened": lambda batch: batch | {"evaluated": batch["evaluated"][:1]},
    "off the curve": lambda batch: batch | {"evaluated": [encode(b"\2" + bytes(32))] * 2},
    "an element too short": lambda batch: batch | {"evaluated": [encode(b"\2")] * 2},
    "another proof": lambda batch: batch | {"proof": encode(bytes(63) + b"\1")},
    "half a proof": lambda batch: batch | {"proof": batch["proof"][:40]},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_lie_of_the_key_holder_is_refused_and_nothing_reaches_the_index(
    services: Services, client: Client, lie: Lie
) -> None:
    services.batch = lambda batch: lie(batch) if batch["domain"] == "nhn/parent" else batch

    with pytest.raises(KeyHolderError, match="did not prove that it used the key nhn/parent/1"):
        await client.register(registration())

    assert services.bodies("/v1/signals") == []


async def test_a_batch_for_another_domain_is_refused(services: Services, client: Client) -> None:
    services.batch = lambda batch: batch | {"domain": "nhn/weak"}

    with pytest.raises(AnswerError):
        await client.register(registration())


async def test_a_pinned_key_must_be_the_one_in_use(services: Services, tmp_path: Path) -> None:
    published = {f"{domain}/1": encode(key.public_key) for domain, key in services.keys.items()}
    stranger = {"nhn/parent/1": encode(Key.from_seed(bytes(32), b"x").public_key)}

    for pins in (published, published | stranger, {"nhn/child/1": published["nhn/child/1"]}):
        async with Client.connect(config_for(services, tmp_path, pins=pins)) as client:
            if pins == published:
                await client.check()
            else:
                with pytest.raises(KeyHolderError, match="pins"):
                    await client.register(registration())

    assert services.bodies("/v1/evaluations") == []


@pytest.mark.parametrize(
    ("member", "value"), [("domain", "elsewhere/child"), ("suite", "ristretto255-SHA512")]
)
async def test_keys_of_two_regions_or_of_another_suite_are_refused(
    services: Services, client: Client, member: str, value: str
) -> None:
    first, *others = services.key_list()
    services.published = [first | {member: value}, *others]

    with pytest.raises(KeyHolderError):
        await client.check()


async def test_a_domain_without_a_key_is_told(services: Services, client: Client) -> None:
    services.published = [key for key in services.key_list() if key["domain"] != "nhn/address"]

    with pytest.raises(KeyHolderError, match="address"):
        await client.register(registration())


async def test_an_outage_is_waited_out_with_the_same_request(
    services: Services, client: Client
) -> None:
    services.first += [web.json_response({}, status=503), problem(429, retry_after="0")]

    await client.register(registration())

    first, second, third = services.bodies("/v1/evaluations")
    assert first["batches"] == second["batches"] == third["batches"]


def reporter() -> Reporter:
    return Reporter(
        id="p-1", name="Reporter 1", function="teacher", email="reporter-1@school.test",
        phone="000 000 0001", unit="school",
    )  # fmt: skip


async def test_a_registration_handed_in_again_keeps_its_idempotency_key(
    services: Services, client: Client
) -> None:
    given = registration()

    first = await client.register(given)
    again = await client.register(given)
    other = await client.register(registration())

    assert first == again != other
    keys = [each["_"]["Idempotency-Key"] for each in services.bodies("/v1/signals")]
    assert keys[0] == keys[1] == str(given.idempotency_key) != keys[2]


async def test_an_answer_that_is_lost_is_asked_for_again_and_makes_no_second_signal(
    services: Services, client: Client
) -> None:
    services.lost_answers = 2

    await client.register(registration())

    first, second, third = services.bodies("/v1/signals")
    assert first == second == third
    assert len(services.signals) == 1


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


async def test_a_new_epoch_is_learnt_once(services: Services, client: Client) -> None:
    await client.check()
    services.epoch = 2

    await client.register(registration())

    [body] = services.bodies("/v1/signals")
    assert body["child"]["epoch"] == 2
    services.published, services.epoch = services.key_list(), 3
    with pytest.raises(ProblemError) as caught:
        await client.register(registration())
    assert caught.value.problem.current_epochs


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


@pytest.mark.parametrize("relation", ["child", "parents"])
async def test_a_reporter_cannot_register_his_own_family(
    services: Services, tmp_path: Path, relation: str
) -> None:
    own = "9999.90.044"
    config = config_for(
        services, tmp_path, own_numbers={"p-1": own}, coordinator="Coordinator 1, 000 000 0009"
    )
    family = {"child": Bsn(own)} if relation == "child" else {"parents": [Bsn(MOTHER), Bsn(own)]}

    async with Client.connect(config) as client:
        with pytest.raises(OwnNumberError, match="Coordinator 1, 000 000 0009") as caught:
            await client.register(replace(registration(), **family))
        assert services.asked == []
        await client.register(replace(registration(), reporter_id="p-2", **family))

    assert "90044" not in f"{caught.value} {config!r} {services.asked}".replace(".", "")


@pytest.mark.parametrize(
    ("birth_date", "sent"),
    [
        (None, None),
        (date(2015, 3, 1), None),
        (date(2010, 11, 22), None),
        (date(2010, 11, 21), "2033-11-21"),
        (date(2004, 2, 29), "2027-03-01"),
        (date(2003, 11, 23), "2026-11-23"),
    ],
)
async def test_destroy_by_is_told_only_where_a_23rd_birthday_comes_within_seven_years(
    services: Services, client: Client, birth_date: date | None, sent: str | None
) -> None:
    await client.register(replace(registration(), birth_date=birth_date))

    [body] = services.bodies("/v1/signals")
    assert body.get("destroyBy") == sent


async def test_the_birth_date_of_a_named_child_needs_no_second_telling(
    services: Services, client: Client
) -> None:
    child = Demographic("Roos", date(2004, 3, 1), "X")

    await client.register(replace(registration(), child=child, birth_date=None))

    [body] = services.bodies("/v1/signals")
    assert body["destroyBy"] == "2027-03-01"


async def test_nobody_is_registered_from_the_23rd_birthday_on(
    services: Services, client: Client
) -> None:
    with pytest.raises(TooOldError):
        await client.register(replace(registration(), birth_date=date(2003, 11, 22)))

    assert services.asked == []


async def test_an_earlier_end_is_passed_on(services: Services, client: Client) -> None:
    await client.register(replace(registration(), remove_on=date(2027, 1, 1)))

    [body] = services.bodies("/v1/signals")
    assert body["removeOn"] == "2027-01-01"


async def test_a_list_is_read_to_its_end(client: Client) -> None:
    made = [await client.register(registration()) for _ in range(5)]

    listed = [signal async for signal in client.signals("p-1")]

    assert [signal.id for signal in listed] == [signal.id for signal in made]


@pytest.mark.parametrize("page", [{"items": 5}, {"items": [{"id": "x"}], "nextCursor": None}])
async def test_a_list_of_another_form_is_told(
    services: Services, client: Client, page: Json
) -> None:
    services.first.append(web.json_response(page))

    with pytest.raises(AnswerError):
        [signal async for signal in client.signals()]


async def test_a_private_key_that_others_can_read_is_refused(
    services: Services, tmp_path: Path
) -> None:
    config = config_for(services, tmp_path)
    config.private_key_file.chmod(0o644)

    with pytest.raises(ConfigError, match="0600"):
        async with Client.connect(config):
            pass
