from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
from structlog.testing import capture_logs

from tests.vin.keyholder.house import (
    API,
    CLIENT,
    ELEMENTS,
    EPOCH,
    KEYHOLDER,
    NOW,
    PERMIT_KEY,
    SEEDS,
    House,
    Json,
    authorization,
    batch,
    question,
)
from vin.base64url import decode_base64url
from vin.crypto import oprf
from vin.crypto.pseudonym import domain_key
from vin.crypto.sign import verify_permit
from vin.errors import NotAuthenticatedError
from vin.keyholder.arithmetic import Batch
from vin.keyholder.evaluate import Wanted, evaluate

IDENTITY = bytes(33)
OFF_CURVE = b"\x02" + (1).to_bytes(32)
BEYOND_FIELD = b"\x02" + b"\xff" * 32
UNCOMPRESSED_TAG = b"\x04" + ELEMENTS[0][1:]


def decoded(text: str) -> bytes:
    data = decode_base64url(text)
    assert data is not None
    return data


def faults(problem: Json) -> set[tuple[str, str]]:
    return {(each["name"], each["code"]) for each in problem["invalidParams"]}


async def public_keys(house: House) -> dict[str, bytes]:
    async with house.service.http.get("/v1/keys") as answer:
        keys = (await answer.json())["keys"]
    return {key["domain"]: decoded(key["publicKey"]) for key in keys}


async def test_a_client_gets_what_it_asked_with_proofs_under_the_published_keys(
    house: House,
) -> None:
    scalar, blinded = oprf.blind(b"frame")
    asked = [batch([blinded, *ELEMENTS[:2]], "nhn/parent"), batch(ELEMENTS[:1], "nhn/child")]

    status, given = await house.ask(question(*asked))

    assert status == 200
    assert given.keys() == {"batches", "permit", "quotaLeft"}
    assert [(each["domain"], each["epoch"]) for each in given["batches"]] == [
        ("nhn/parent", EPOCH),
        ("nhn/child", EPOCH),
    ]
    keys = await public_keys(house)
    for question_, answer in zip(asked, given["batches"], strict=True):
        oprf.verify(
            keys[answer["domain"]],
            list(map(decoded, question_["blinded"])),
            list(map(decoded, answer["evaluated"])),
            decoded(answer["proof"]),
        )
    evaluated = decoded(given["batches"][0]["evaluated"][0])
    secret = domain_key(SEEDS[EPOCH], "nhn/parent", EPOCH)
    assert oprf.unblind(scalar, evaluated) == oprf.multiply(secret, oprf.hash_to_group(b"frame"))


async def test_the_permit_tells_the_index_what_was_paid_for(house: House) -> None:
    _, given = await house.ask(question(batch(2, "nhn/parent"), batch(1), reporter="p~7"))

    permit = verify_permit(PERMIT_KEY, given["permit"], KEYHOLDER, API, NOW)
    assert permit.client_id == "client-1"
    assert permit.reporter_id == "p~7"
    assert permit.elements == {"nhn/parent/2": 2, "nhn/child/2": 1}
    assert permit.expires_at == NOW + timedelta(minutes=5)
    assert not permit.bulk
    assert UUID(permit.id)


async def test_each_permit_is_another(house: House) -> None:
    answers = [await house.ask(question()) for _ in range(2)]

    assert len({given["permit"] for _, given in answers}) == 2


async def test_two_hundred_and_fifty_six_elements_are_enough(house: House) -> None:
    status, given = await house.ask(question(batch(200), batch(56, "nhn/parent")))

    assert status == 200
    assert sum(len(each["evaluated"]) for each in given["batches"]) == 256
    assert await house.counted() == (256, 256)


@pytest.mark.parametrize(
    "batches",
    [
        [batch(257)],
        [batch(200), batch(57, "nhn/parent")],
        [batch(1), batch(0, "nhn/parent")],
        [],
        [batch(1)] * 17,
    ],
    ids=range(5),
)
async def test_too_many_or_too_few_elements_are_refused(house: House, batches: list[Json]) -> None:
    status, problem = await house.ask({"reporterId": "p-1", "batches": batches})

    assert status == 400
    assert {code for _, code in faults(problem)} == {"length"}
    assert await house.counted() == (0, 0)


async def test_every_bad_element_is_told_and_nothing_is_counted(house: House) -> None:
    mixed = batch([ELEMENTS[0], OFF_CURVE, ELEMENTS[1], IDENTITY, BEYOND_FIELD, UNCOMPRESSED_TAG])
    mixed["blinded"] += [mixed["blinded"][0][:-1], mixed["blinded"][0] + "=", "", None]
    other = batch([IDENTITY], "nhn/parent")

    status, problem = await house.ask(question(mixed, other) | {"purpose": "x"})

    assert status == 400
    assert faults(problem) == {
        *((f"batches.0.blinded.{place}", "element") for place in (1, 3, 4, 5)),
        *((f"batches.0.blinded.{place}", "encoding") for place in (6, 7, 8, 9)),
        ("batches.1.blinded.0", "element"),
        ("purpose", "unexpected"),
    }
    assert await house.counted() == (0, 0)


async def test_one_batch_goes_with_each_key(house: House) -> None:
    status, problem = await house.ask(question(batch(1), batch(1)))

    assert (status, faults(problem)) == (400, {("batches", "duplicate")})


async def test_only_domains_of_the_own_region_are_known(house: House) -> None:
    asked = question(batch(), batch(1, "nhn/weak"), batch(1, "other/child"))

    status, problem = await house.ask(asked)

    assert status == 400
    assert faults(problem) == {("batches.1.domain", "unknown"), ("batches.2.domain", "unknown")}
    assert await house.counted() == (0, 0)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"domain": "nhn child"}, ("batches.0.domain", "pattern")),
        ({"domain": "x" * 65536}, ("batches.0.domain", "pattern")),
        ({"epoch": 0}, ("batches.0.epoch", "range")),
        ({"epoch": 2**31}, ("batches.0.epoch", "range")),
        ({"epoch": "2"}, ("batches.0.epoch", "type")),
        ({"epoch": True}, ("batches.0.epoch", "type")),
        ({"blinded": "x"}, ("batches.0.blinded", "type")),
        ({"blinded": [["x"]]}, ("batches.0.blinded.0", "encoding")),
    ],
)
async def test_a_batch_has_one_form(house: House, changes: Json, fault: tuple[str, str]) -> None:
    status, problem = await house.ask(question(batch() | changes))

    assert (status, faults(problem)) == (400, {fault})


@pytest.mark.parametrize("reporter", ["", "x" * 65, "p 1", "p/1", "p\x00", "\u00e9", None, 1])
async def test_a_reporter_is_counted_as_given_if_well_formed(
    house: House, reporter: object
) -> None:
    status, problem = await house.ask(question() | {"reporterId": reporter})

    assert status == 400
    assert {name for name, _ in faults(problem)} == {"reporterId"}


async def test_keys_of_another_epoch_are_told_apart(house: House) -> None:
    asked = question(batch(1, epoch=1), batch(1, "nhn/parent", 2), batch(1, "nhn/parent", 3))

    status, problem = await house.ask(asked)

    assert status == 409
    assert problem["type"] == "urn:problem-type:vin:wrong-epoch"
    assert problem["currentEpochs"] == {"nhn/child": 2, "nhn/parent": 2}
    assert await house.counted() == (0, 0)


async def test_whoever_is_not_admitted_here_gets_nothing(house: House) -> None:
    for headers, status in (
        ({}, 401),
        (authorization(scope="signals"), 403),
        (authorization("client-9"), 401),
    ):
        assert (await house.ask_as(question(), headers))[0] == status

    await house.admit(replace(CLIENT, active=False))
    assert (await house.ask(question()))[0] == 401
    assert await house.counted() == (0, 0)


async def test_who_is_shut_out_while_he_asks_gets_nothing_either(house: House) -> None:
    wanted = Wanted(
        client_id="client-9", reporter_id="p-1", batches=[Batch("nhn/child", EPOCH, ELEMENTS)]
    )

    with pytest.raises(NotAuthenticatedError):
        await evaluate(house.context, wanted)


async def test_the_log_tells_who_and_how_many_and_nothing_else(house: House) -> None:
    asked = question(batch(3), reporter="p-4711")

    with capture_logs() as logs:
        _, given = await house.ask(asked)

    evaluated, answered = logs
    assert evaluated == {
        "event": "evaluated",
        "client": "client-1",
        "elements": 3,
        "request": answered["request"],
        "log_level": "info",
    }
    for told in ("p-4711", given["permit"], asked["batches"][0]["blinded"][0]):
        assert told not in str(logs)
