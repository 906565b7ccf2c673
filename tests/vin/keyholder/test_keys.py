from dataclasses import replace
from datetime import datetime, timedelta

from tests.vin.keyholder.house import CLIENT, EPOCH, NOW, SEEDS, House, Json, opened
from vin.base64url import encode_base64url
from vin.crypto.pseudonym import domain_key
from vin.keyholder.evaluator import Evaluator


async def keys(house: House) -> list[Json]:
    async with house.service.http.get("/v1/keys") as answer:
        assert answer.status == 200
        listed: list[Json] = (await answer.json())["keys"]
        return listed


async def test_there_is_one_key_for_each_domain_of_those_who_may_ask(house: House) -> None:
    await house.admit(replace(CLIENT, id="client-2", domains=("nhn/weak", "nhn/child")))
    await house.admit(replace(CLIENT, id="client-3", domains=("gone/child",), active=False))

    listed = await keys(house)

    assert [key["domain"] for key in listed] == ["nhn/child", "nhn/parent", "nhn/weak"]
    for key in listed:
        assert (key["epoch"], key["suite"]) == (EPOCH, "P256-SHA256")
        public_key = domain_key(SEEDS[EPOCH], key["domain"], EPOCH).public_key
        assert key["publicKey"] == encode_base64url(public_key)
        assert datetime.fromisoformat(key["notBefore"]) <= NOW
        assert datetime.fromisoformat(key["notAfter"]) > NOW + timedelta(days=365)


async def test_a_later_start_does_not_move_the_period(house: House, evaluator: Evaluator) -> None:
    before = await keys(house)

    async with opened(house.pool, evaluator) as again:
        again.clock.now = NOW + timedelta(days=100)
        assert await keys(again) == before
