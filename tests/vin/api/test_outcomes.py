"""A1 over HTTP, against a whole running VIN."""

from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import pytest

from tests.bsns import fresh_bsn
from tests.contract.contract_client import Answer, RefusedError
from tests.people import Crowd, Person, people, status_of
from tests.running import Up

Json = dict[str, Any]
SPOKEN = {"outcome": "spoken", "newToMe": True}


@pytest.fixture
async def crowd(up: Up) -> AsyncIterator[Crowd]:
    async with people(up) as hired:
        yield hired


async def matched(crowd: Crowd) -> tuple[Person, Person, str]:
    """Two reporters of two organisations, and the number of their match."""
    one, other = await crowd.person(0), await crowd.person(1)
    child = ("bsn", fresh_bsn())
    for person in (one, other):
        await person.registers(child)
    (match,) = await one.matches()
    return one, other, str(match["number"])


async def say(person: Person, number: str, body: Json, query: str = "") -> Answer:
    return await person.client.call("POST", f"/v1/matches/{number}/outcome{query}", body)


async def outcomes(person: Person, number: str) -> Json:
    found: Json = (await person.client.read("matches", number))["outcomes"]
    return found


async def test_a1_a_side_says_what_happened_and_the_match_answers(crowd: Crowd) -> None:
    one, other, number = await matched(crowd)
    assert await outcomes(one, number) == {"own": None, "other": None}

    answer = await say(one, number, {"outcome": "alreadyCooperating", "newToMe": False})

    assert answer.status == 200
    assert answer.body["number"] == number
    assert answer.body["contact"]["email"] == other.email
    own = answer.body["outcomes"]["own"]
    assert (own["outcome"], own["newToMe"]) == ("alreadyCooperating", False)
    assert datetime.fromisoformat(own["saidAt"])
    assert await outcomes(one, number) == {"own": own, "other": None}
    seen = (await outcomes(other, number))["other"]
    assert seen == {"outcome": "alreadyCooperating", "saidAt": own["saidAt"]}
    (listed,) = await other.matches()
    assert listed["outcomes"] == {"own": None, "other": seen}


async def test_a1_said_again_it_replaces_what_was_said(crowd: Crowd) -> None:
    one, _, number = await matched(crowd)
    for outcome in ("notReachable", "noSharedNeed", "spoken"):
        await say(one, number, {"outcome": outcome, "newToMe": True})

    assert (await outcomes(one, number))["own"]["outcome"] == "spoken"


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, {("outcome", "required"), ("newToMe", "required")}),
        ({"outcome": "already_cooperating", "newToMe": True}, {("outcome", "choice")}),
        ({"outcome": None, "newToMe": "yes"}, {("outcome", "choice"), ("newToMe", "type")}),
        (SPOKEN | {"text": "We had coffee."}, {("text", "unexpected")}),
    ],
)
async def test_a1_what_is_no_outcome_is_400_with_all_faults(
    crowd: Crowd, body: Json, faults: set[tuple[str, str]]
) -> None:
    person = await crowd.person(0)

    with pytest.raises(RefusedError) as refused:
        await say(person, "M-7KQ4-9XWD-2", body)

    answer: Answer = refused.value.args[0]
    assert answer.status == 400
    told = {(each["name"], each["code"]) for each in answer.body["invalidParams"]}
    assert told == faults


async def test_a1_on_a_match_that_ended_it_is_409(crowd: Crowd) -> None:
    one, other, number = await matched(crowd)
    await other.withdraws("unjustified")

    with pytest.raises(RefusedError) as refused:
        await say(one, number, SPOKEN)

    answer: Answer = refused.value.args[0]
    assert (answer.status, answer.body["type"]) == (409, "urn:problem-type:vin:match-not-open")


async def test_d4_anothers_or_an_unknown_number_is_404(crowd: Crowd) -> None:
    *_, number = await matched(crowd)
    stranger = await crowd.person(2)

    assert await status_of(say(stranger, number, SPOKEN)) == 404
    assert await status_of(say(stranger, "M-0000-0000-0", SPOKEN)) == 404
    assert await status_of(say(stranger, "M-1", SPOKEN)) == 404


async def test_a1_who_has_both_sides_names_the_signal(crowd: Crowd) -> None:
    """The municipality's local team and its school attendance officer match each other."""
    place = next(
        number
        for number, client in enumerate(crowd.up.ready["clients"])
        if client["clientId"] == "gemeente-alkmaar"
    )
    child = ("bsn", fresh_bsn())
    team, attendance = await crowd.person(place), await crowd.person(place, unit="leerplicht")
    for person in (team, attendance):
        await person.registers(child)
    (match,) = await team.matches()
    number = match["number"]

    assert await status_of(say(team, number, SPOKEN)) == 400
    answer = await say(team, number, SPOKEN, f"?signalId={team.signals[0]}")

    assert answer.body["signalId"] == team.signals[0]
    assert answer.body["outcomes"]["own"]["outcome"] == "spoken"
    (theirs,) = await attendance.matches()
    assert theirs["outcomes"]["own"] is None
    assert theirs["outcomes"]["other"]["outcome"] == "spoken"
