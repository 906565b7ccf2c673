"""Which public keys a client goes by."""

from pathlib import Path

import pytest

from tests.vin.client.services import (
    Services,
    config_for,
    registration,
)
from vin.client import (
    Client,
    KeyHolderError,
    ProblemError,
)
from vin.client.keys import encode
from vin.crypto.oprf import Key


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
