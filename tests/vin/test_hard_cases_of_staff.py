"""The hard cases on who is shown and who is told, over HTTP on real servers with mail."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from uuid import uuid4

import asyncpg
import pytest

from schemas.database import Db
from tests.bsns import fresh_bsn
from tests.contract.contract_client import RefusedError
from tests.own_region import CITY, COLLEGE, INSTITUTE, NAMES, SCHOOL, SHELTER, own_region
from tests.people import Crowd, Person, operate, people, status_of
from tests.running import Up
from vin.clock import Clock
from vin.crypto import keyfile
from vin.crypto.seal import FileKek
from vin.data_keys import load_data_keys
from vin.handover import hand_over

Value = tuple[str, str]


@pytest.fixture(scope="module")
def region(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    with own_region(tmp_path_factory.mktemp("region")) as up:
        yield up


@pytest.fixture
async def crowd(region: Up) -> AsyncIterator[Crowd]:
    async with people(region) as hired:
        yield hired


@pytest.fixture
async def index(region: Up) -> AsyncIterator[Db]:
    db = await asyncpg.connect(region.ready["databaseUrl"])
    yield db
    await db.close()


def child() -> Value:
    return "bsn", fresh_bsn()


async def leaves(person: Person, successor: Person | None = None) -> int:
    query = f"?successorId={successor.reporter_id}" if successor else ""
    answer = await person.client.call("DELETE", f"/v1/reporters/{person.reporter_id}{query}")
    return answer.status


async def mail(region: Up, to: str, about: str) -> str:
    """The text of the mail to an address that says this, once it is there."""
    async with asyncio.timeout(20):
        while True:
            for text in mails(region, to):
                if about in text:
                    return text
            await asyncio.sleep(0.1)


def mails(region: Up, to: str) -> list[str]:
    """All mails to an address: headers, then both parts."""
    found = []
    for path in Path(region.ready["mailDir"]).glob("*.eml"):
        message = message_from_bytes(path.read_bytes(), policy=default)
        assert isinstance(message, EmailMessage)
        if message["To"] == to:
            parts = [part.get_content() for part in message.walk() if not part.is_multipart()]
            found.append("\n".join([str(message.items()), *parts]))
    return found


async def test_s12_a_successor_gets_the_signals_the_matches_and_the_mail(
    region: Up, crowd: Crowd
) -> None:
    leaver, successor = [await crowd.person(SCHOOL) for _ in range(2)]
    other = await crowd.person(CITY)
    number = child()
    first = await leaver.registers(number, reference="D-12")

    assert await leaves(leaver, successor) == 204

    await other.registers(number)
    assert await other.knows() == {successor.email: "child"}
    assert await successor.knows() == {other.email: "child"}
    assert (await successor.client.read("signals", first.body["id"]))["reporterId"] == (
        successor.reporter_id
    )
    assert other.email in await mail(region, successor.email, "D-12")
    assert successor.email in await mail(region, other.email, "D-1")
    assert mails(region, leaver.email) == []


async def test_s12_else_it_is_the_coordinator_and_he_finds_the_signal_under_the_old_name(
    region: Up, crowd: Crowd
) -> None:
    leaver, other = await crowd.person(SCHOOL), await crowd.person(CITY)
    number = child()
    first = await leaver.registers(number, reference="D-12b")
    await leaves(leaver)

    await other.registers(number)

    assert await other.knows() == {"coordinator@school.test": "child"}
    assert other.email in await mail(region, "coordinator@school.test", "D-12b")
    assert [signal["id"] for signal in await listed(leaver)] == [first.body["id"]]
    assert [match["contact"]["email"] for match in await leaver.matches()] == [other.email]
    assert mails(region, leaver.email) == []


async def listed(person: Person) -> list[dict[str, str]]:
    return await person.client.listed("signals", person.reporter_id)


async def test_s12_else_it_is_the_follow_up_officer_of_the_municipality(
    region: Up, crowd: Crowd
) -> None:
    leaver, other = await crowd.person(COLLEGE), await crowd.person(CITY)
    number = child()
    await leaver.registers(number, reference="D-12c")
    await leaves(leaver)

    await other.registers(number)

    assert await other.knows() == {"officer@city.test": "child"}
    assert other.email in await mail(region, "officer@city.test", "D-12c")
    assert mails(region, leaver.email) == []


async def test_w1_who_left_registers_no_more_until_he_is_designated_anew(crowd: Crowd) -> None:
    person = await crowd.person(SCHOOL)
    body = await person.body(child())
    await leaves(person)

    with pytest.raises(RefusedError) as refused:
        await person.client.register(body, str(uuid4()))
    answer = refused.value.args[0]
    assert answer.status == 400
    assert [fault["name"] for fault in answer.body["invalidParams"]] == ["reporterId"]
    assert await status_of(leaves_again(person)) == 404

    assert (await person.client.put_reporter(person.reporter_id, person.details)).status == 201
    assert (await person.client.register(body, str(uuid4()))).status == 201


async def leaves_again(person: Person) -> object:
    return await person.client.call("DELETE", f"/v1/reporters/{person.reporter_id}")


async def test_s08_of_a_shelter_neither_answer_nor_mail_nor_error_tells_name_or_place(
    region: Up, crowd: Crowd
) -> None:
    shelter = await crowd.person(SHELTER, name="Hidden Reporter", phone="+31 6 00001111")
    school = await crowd.person(SCHOOL)
    number = child()
    await shelter.registers(number, reference="SHELTER-FILE")
    await school.registers(number, reference="D-8")

    (match,) = await school.matches()
    assert match["contact"] == {
        "name": "Somebody",
        "function": "Broker",
        "organisation": "Broker of the region",
        "email": "broker@vin.test",
        "phone": "072-0000003",
        "reachable": None,
    }
    read = await school.client.read("matches", match["number"])
    letter = await mail(region, school.email, "D-8")
    seen = "\n".join([json.dumps([match, read]), letter])
    assert "broker@vin.test" in letter
    for secret in (
        NAMES["shelter"],
        "Hidden Reporter",
        "+31 6 00001111",
        shelter.email,
        shelter.reporter_id,
        "SHELTER-FILE",
        "shelter",
    ):
        assert secret not in seen

    assert await shelter.knows() == {school.email: "child"}
    assert school.email in await mail(region, shelter.email, "SHELTER-FILE")


async def test_s08_a_shelters_history_is_shown_by_its_broker(crowd: Crowd) -> None:
    shelter, school = await crowd.person(SHELTER), await crowd.person(SCHOOL)
    number = child()
    await shelter.registers(number)
    await shelter.withdraws()
    await school.registers(number)
    notice = await school.history()
    assert notice

    opened = await school.opens(notice)

    assert "broker@vin.test" in json.dumps(opened.body)
    for secret in (NAMES["shelter"], shelter.email):
        assert secret not in json.dumps(opened.body)


async def test_s08_two_unrelated_children_match_at_an_address_unless_it_is_excluded(
    region: Up, crowd: Crowd
) -> None:
    shelter, school = await crowd.person(SHELTER), await crowd.person(SCHOOL)
    home, refuge = [("address", f"1811AB|{number}||") for number in (1, 2)]
    await exclude(region, school, refuge)
    for address in (refuge, home):
        await shelter.registers(child(), address)
        await school.registers(child(), address)

    assert await shelter.knows() == {school.email: "household"}
    assert [match["signalId"] for match in await school.matches()] == school.signals[1:]


async def exclude(region: Up, person: Person, address: Value) -> None:
    """Put one address into the region's file, as `vin client elements` writes it."""
    (element,), _ = await person.client.evaluate(person.reporter_id, [address])
    line = {member: element[member] for member in ("domain", "epoch", "element")}
    folder = region.data.parent
    (folder / "excluded.ndjson").write_text(json.dumps(line))
    keys = str(region.data / "keys")
    await operate(region, "onboard", str(folder / "region.toml"), VIN_KEYS=keys)


async def test_w2_when_an_agreement_ends_the_holder_has_the_signals_and_is_shown(
    region: Up, crowd: Crowd, index: Db
) -> None:
    leaver, other = await crowd.person(INSTITUTE), await crowd.person(SCHOOL)
    number = child()
    taken = (await leaver.registers(number, reference="D-2")).body["id"]
    await other.registers(number)
    body = await leaver.body(child())
    await index.execute(
        """
        UPDATE registry.agreement
           SET valid_to = current_date - 2
          FROM registry.organisation
         WHERE organisation.id = organisation_id AND organisation.code = 'institute'
        """
    )
    keys = await load_data_keys(index, FileKek.load(region.data / "keys" / keyfile.CONTACT_KEK))

    async with index.transaction():
        await hand_over(index, keys, await Clock().now(index))

    city = await crowd.client(CITY)
    held = await city.read("signals", taken)
    assert (held["reporterId"], held["reference"], held["status"]) == ("holder", "D-2", "live")
    assert await other.knows() == {"coordinator@city.test": "child"}
    assert await status_of(leaver.client.call("GET", f"/v1/signals/{taken}")) == 404
    assert await leaver.matches() == []
    assert await status_of(leaver.client.register(body, str(uuid4()))) == 403
