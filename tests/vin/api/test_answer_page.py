"""A1: the page behind the link in a mail, against a whole running VIN."""

import asyncio
import base64
import hashlib
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from aiohttp import ClientResponse, ClientSession

from tests.bsns import fresh_bsn
from tests.mails import link_in, mail_to
from tests.people import Crowd, Person, people
from tests.running import Up
from vin.base64url import encode_base64url
from vin.web.problems import HEADERS

FORM = {"outcome": "not_reachable", "new_to_me": "yes"}


@dataclass
class Asked:
    """Two reporters who match, the second of an English-speaking school, with their links."""

    one: Person
    other: Person
    number: str
    links: tuple[str, str]


@pytest.fixture
async def crowd(up: Up) -> AsyncIterator[Crowd]:
    async with people(up) as hired:
        yield hired


@pytest.fixture
async def asked(up: Up, crowd: Crowd) -> Asked:
    place = next(
        number
        for number, client in enumerate(up.ready["clients"])
        if client["clientId"] == "international-school-bergen"
    )
    one, other = await crowd.person(0), await crowd.person(place)
    child = ("bsn", fresh_bsn())
    for person in (one, other):
        await person.registers(child)
    (match,) = await one.matches()
    links = [link_in(await mail_to(up, person.email)) for person in (one, other)]
    return Asked(one, other, match["number"], (links[0], links[1]))


@pytest.fixture
async def browser() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


async def outcome_of(asked: Asked) -> str | None:
    own = (await asked.one.client.read("matches", asked.number))["outcomes"]["own"]
    return own and str(own["outcome"])


def is_page(answer: ClientResponse, status: int) -> None:
    """A page that no script can run on, and that tells no one where it was."""
    assert answer.status == status
    assert answer.content_type == "text/html"
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "form-action 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert answer.headers["Referrer-Policy"] == "no-referrer"
    rest = HEADERS.items() - {("Content-Security-Policy", HEADERS["Content-Security-Policy"])}
    assert rest <= answer.headers.items()


async def test_a1_the_page_shows_the_number_and_nothing_of_a_person_or_a_child(
    asked: Asked, browser: ClientSession
) -> None:
    async with browser.get(asked.links[0]) as answer:
        page = await answer.text()

    is_page(answer, 200)
    assert asked.number in page
    assert page.count('name="outcome"') == 4
    assert "<script" not in page
    (style,) = re.findall("<style>(.*)</style>", page, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in answer.headers["Content-Security-Policy"]
    for person in (asked.one, asked.other):
        for secret in (person.email, person.details["name"], person.details["phone"], "D-1"):
            assert secret not in page


async def test_a1_each_reads_it_in_the_language_of_the_organisation(
    asked: Asked, browser: ClientSession
) -> None:
    for link, language, words in zip(
        asked.links, ("nl", "en"), ("Wat gebeurde er?", "What happened?"), strict=True
    ):
        async with browser.get(link) as answer:
            page = await answer.text()
        assert f'<html lang="{language}">' in page
        assert words in page


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT"])
async def test_a1_programs_that_check_links_answer_for_nobody(
    asked: Asked, browser: ClientSession, method: str
) -> None:
    for _ in range(3):
        async with browser.request(method, f"{asked.links[0]}?checked=1") as answer:
            assert answer.status in {200, 405}

    assert await outcome_of(asked) is None
    async with browser.get(asked.links[0]) as answer:
        is_page(answer, 200)


async def test_a1_the_form_answers_once(asked: Asked, browser: ClientSession) -> None:
    async with browser.post(asked.links[0], data=FORM) as answer:
        assert "Dank u wel" in await answer.text()
        is_page(answer, 200)
    assert await outcome_of(asked) == "notReachable"

    async with browser.post(asked.links[0], data=FORM | {"outcome": "spoken"}) as answer:
        is_page(answer, 410)
    async with browser.get(asked.links[0]) as answer:
        is_page(answer, 410)
        assert asked.number not in await answer.text()
    assert await outcome_of(asked) == "notReachable"
    async with browser.get(asked.links[1]) as answer:
        is_page(answer, 200)


async def test_a1_two_clicks_at_once_count_once(asked: Asked, browser: ClientSession) -> None:
    async def click(outcome: str) -> int:
        async with browser.post(asked.links[0], data=FORM | {"outcome": outcome}) as answer:
            return answer.status

    statuses = await asyncio.gather(*(click(each) for each in ["spoken", "no_shared_need"] * 5))

    assert sorted(statuses) == [200] + [410] * 9


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"outcome": "spoken"},
        {"outcome": "shouted", "new_to_me": "yes"},
        {"outcome": "spoken", "new_to_me": "maybe"},
    ],
)
async def test_a1_half_an_answer_is_asked_for_again_and_uses_nothing_up(
    asked: Asked, browser: ClientSession, form: dict[str, str]
) -> None:
    async with browser.post(asked.links[0], data=form or b"", headers=FORM_TYPE) as answer:
        is_page(answer, 400)
        assert "beide vragen" in await answer.text()

    assert await outcome_of(asked) is None
    async with browser.post(asked.links[0], data=FORM) as answer:
        is_page(answer, 200)


FORM_TYPE = {"Content-Type": "application/x-www-form-urlencoded"}


async def test_a1_a_forged_link_is_404_whatever_it_is_asked(
    up: Up, browser: ClientSession, asked: Asked
) -> None:
    forged = [
        f"{up.ready['api']}/answer/{encode_base64url(bytes(32))}",
        f"{up.ready['api']}/answer/x",
        asked.links[0][:-2] + ("AA" if asked.links[0][-2:] != "AA" else "BA"),
    ]
    for link in forged:
        async with browser.get(link, headers={"Accept-Language": "en-GB"}) as answer:
            is_page(answer, 404)
            assert "does not work" in await answer.text()
        async with browser.post(link, data=FORM) as answer:
            is_page(answer, 404)
            assert "werkt niet" in await answer.text()


async def test_l5_after_the_end_of_the_match_the_page_tells_no_more_than_that_it_is_over(
    asked: Asked, browser: ClientSession
) -> None:
    await asked.other.withdraws("unjustified")

    for method in ("GET", "POST"):
        async with browser.request(method, asked.links[0], data=FORM) as answer:
            is_page(answer, 410)
            assert asked.number not in await answer.text()


async def test_a1_a_token_stands_in_no_log(up: Up, browser: ClientSession, asked: Asked) -> None:
    async with browser.post(asked.links[0], data=FORM) as answer:
        assert answer.status == 200

    token = re.sub(".*/", "", asked.links[0])
    for path in (up.data / "log").iterdir():
        assert token not in path.read_text()
