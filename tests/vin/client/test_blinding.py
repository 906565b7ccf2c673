"""What goes to the key holder, and what of its answer is believed."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from uuid import UUID

import pytest

from tests.vin.client.services import (
    CHILD,
    FATHER,
    MOTHER,
    Json,
    Services,
    registration,
)
from vin.client import (
    AnswerError,
    Bsn,
    Client,
    Demographic,
    KeyHolderError,
)
from vin.client.identifiers import ADDRESS, BSN, DEMOGRAPHIC, frame
from vin.client.keys import decode, encode
from vin.crypto.oprf import Key, hash_to_group, multiply

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
