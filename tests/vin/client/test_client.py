"""What a client registers, refuses and reads."""

import logging
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from aiohttp import web

from tests.vin.client.services import (
    CHILD,
    FATHER,
    MOTHER,
    Json,
    Services,
    config_for,
    registration,
)
from vin.client import (
    AnswerError,
    Bsn,
    Client,
    ConfigError,
    Demographic,
    OwnNumberError,
    TooOldError,
)


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


@pytest.mark.parametrize("relation", ["child", "parents"])
async def test_s17_a_reporter_cannot_register_his_own_family(
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
