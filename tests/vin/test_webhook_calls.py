"""An organisation's own system beside `vin up`: told over real HTTP, by a real worker."""

import asyncio
import json
from base64 import b64decode
from itertools import chain, repeat

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from standardwebhooks import Webhook

from tests.bsns import fresh_bsn
from tests.notify.receiver import Answer, Receiver, Request, receiving, says
from tests.people import Crowd, Json, Person, people
from tests.running import Up

PATIENCE_SECONDS = 30


def in_turn(*answers: Answer) -> Answer:
    """The next answer for each call; the last one from then on."""
    coming = chain(answers, repeat(answers[-1]))

    async def answer(writer: asyncio.StreamWriter) -> None:
        await next(coming)(writer)

    return answer


async def put(person: Person, receiver: Receiver, **changes: str) -> Json:
    body = {"url": receiver.url, **changes}
    answer = await person.client.call("PUT", f"/v1/webhooks/case-{receiver.port}", body)
    return answer.body


async def show(person: Person, receiver: Receiver) -> Json:
    return (await person.client.call("GET", f"/v1/webhooks/case-{receiver.port}")).body


async def remove(person: Person, receiver: Receiver) -> None:
    await person.client.call("DELETE", f"/v1/webhooks/case-{receiver.port}")


async def meet(crowd: Crowd, one: Person) -> str:
    """A match of his; its number."""
    other = await crowd.person(1)
    child = ("bsn", fresh_bsn())
    for person in (one, other):
        await person.registers(child)
    (match,) = await one.matches()
    return str(match["number"])


async def called(receiver: Receiver, times: int) -> list[Request]:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while len(receiver.requests) < times:
            await asyncio.sleep(0.05)
    return receiver.requests


def signed(request: Request) -> dict[str, str]:
    return {name: value for name, value in request.headers.items() if name.startswith("webhook-")}


async def test_a_system_is_told_until_it_answers(up: Up) -> None:
    async with people(up) as crowd, receiving(in_turn(says("500 No"), says("204 Yes"))) as receiver:
        one = await crowd.person(0)
        made = await put(one, receiver)
        number = await meet(crowd, one)
        first, second = await called(receiver, 2)
        await remove(one, receiver)

    told = Webhook(made["secret"]).verify(second.body, signed(second))
    assert told == {"type": "nl.vin.match.created", "matchNumber": number}
    assert first.body == second.body
    assert first.headers["webhook-id"] == second.headers["webhook-id"]


async def test_two_organisations_and_both_forms(up: Up) -> None:
    async with people(up) as crowd, receiving() as here, receiving() as there:
        one, other = await crowd.person(0), await crowd.person(1)
        mine = await put(one, here, form="cloudEvents")
        theirs = await put(other, there)
        number = await meet(crowd, one)
        (event,), (told,) = await called(here, 1), await called(there, 1)
        await remove(one, here)
        await remove(other, there)

    assert Webhook(mine["secret"]).verify(event.body, signed(event))["data"] == {
        "matchNumber": number
    }
    assert Webhook(theirs["secret"]).verify(told.body, signed(told))["matchNumber"] == number
    vouched(event, mine["publicKey"])
    vouched(told, mine["publicKey"])


def vouched(request: Request, public: str) -> None:
    """Check our own signature, which no library does yet."""
    signatures = dict(each.split(",") for each in request.headers["webhook-signature"].split(" "))
    content = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode()
    key = Ed25519PublicKey.from_public_bytes(b64decode(public.removeprefix("whpk_")))
    key.verify(b64decode(signatures["v1a"]), content + request.body)


async def test_who_is_gone_is_disabled_until_the_next_put(up: Up) -> None:
    gone = in_turn(says("410 Gone"), says("200 OK"))
    async with people(up) as crowd, receiving(gone) as receiver:
        one = await crowd.person(0)
        await put(one, receiver)
        await meet(crowd, one)
        await called(receiver, 1)
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (await show(one, receiver))["disabledAt"]:
                await asyncio.sleep(0.05)
        await meet(crowd, await crowd.person(0))
        await put(one, receiver)
        number = await meet(crowd, await crowd.person(0))
        requests = await called(receiver, 2)
        await remove(one, receiver)

    assert [json.loads(request.body)["matchNumber"] == number for request in requests] == [
        False,
        True,
    ]


async def test_logs_hold_neither_addresses_nor_secrets(up: Up) -> None:
    refusing = says("400 No", body=b"what-they-said")
    async with people(up) as crowd, receiving(refusing) as receiver:
        one = await crowd.person(0)
        made = await put(one, receiver)
        await meet(crowd, one)
        await called(receiver, 1)
        await remove(one, receiver)

    logs = "".join(path.read_text() for path in (up.data / "log").glob("*.log"))
    assert "webhooks/{name}" in logs
    for secret in (made["secret"], f":{receiver.port}", "hook?key", "what-they-said"):
        assert secret not in logs
