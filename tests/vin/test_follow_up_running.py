"""A1 to A4 on a whole running VIN, with matches that are made older as if days had passed."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from uuid import UUID

import asyncpg
import pytest
from aiohttp import ClientSession

from schemas.database import Db
from schemas.dates import local_date, local_midnight
from tests.bsns import fresh_bsn
from tests.mails import PATIENCE_SECONDS, mail_to, mails_to, text_of
from tests.people import Person, operate, people
from tests.running import Up
from vin.contact_clock import Days, Step, plan

DAYS = Days(3, 5, 10)
ALKMAAR_OFFICER = "regievoerder@gemeente-alkmaar.example"
SUBJECTS = {
    "reminder": "Herinnering van VIN",
    "worklist": "Uw lijst in VIN",
    "monitoring": "Bericht van VIN",
}


@pytest.fixture
async def index(up: Up) -> AsyncIterator[Db]:
    db = await asyncpg.connect(up.ready["databaseUrl"])
    yield db
    await db.close()


def due_since(step: Step, today: date) -> date:
    """The latest day of a match on which a step is due by now."""
    day = today
    while {each: on for on, each in plan(day, DAYS)}[step] > today:
        day -= timedelta(days=1)
    return day


async def let_days_pass(index: Db, numbers: Sequence[str], step: Step) -> None:
    """Put matches back until a step is due, and let what is told of them wait no longer."""
    today = local_date(datetime.now(UTC))  # noqa: TID251
    matched_at = local_midnight(due_since(step, today))
    matches = await index.fetch(
        "UPDATE matching.match SET matched_at = $2 WHERE number = ANY($1) RETURNING id",
        numbers,
        matched_at,
    )
    ids = [row["id"] for row in matches]
    await index.execute(
        "UPDATE followup.clock SET next_on = $2 WHERE match_id = ANY($1)", ids, today
    )
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not await hurry(index, ids):
            await asyncio.sleep(0.1)


async def hurry(index: Db, matches: Sequence[UUID]) -> bool:
    """Let what is to be told of matches go out at once; False while there is nothing."""
    done = await index.execute(
        """
        UPDATE notify.delivery
           SET next_at = clock_timestamp()
          FROM notify.notice_step
         WHERE notice_step.notice_id = delivery.notice_id
           AND notice_step.match_id = ANY($1)
           AND state = 'pending'
        """,
        matches,
    )
    return bool(done != "UPDATE 0")


def places(up: Up) -> dict[str, int]:
    return {client["clientId"]: place for place, client in enumerate(up.ready["clients"])}


@dataclass(frozen=True, slots=True)
class Case:
    """A school, a doctor and Veilig Thuis who match on a child; Veilig Thuis spoke with both."""

    school: Person
    doctor: Person
    safe_home: Person
    apart: str
    spoken: Sequence[str]


async def make_case(up: Up) -> Case:
    async with people(up) as crowd:
        clients = ("basisschool-alkmaar", "huisartsen-enkhuizen", "veilig-thuis")
        hired = [await crowd.person(places(up)[client]) for client in clients]
        child = ("bsn", fresh_bsn())
        for person in hired:
            await person.registers(child)
    school, doctor, safe_home = hired
    spoken = [await number_of(up, person, safe_home) for person in (school, doctor)]
    return Case(school, doctor, safe_home, await number_of(up, school, doctor), spoken)


async def number_of(up: Up, one: Person, other: Person) -> str:
    """The number of the match that two of them have; the names are known to their clients."""
    async with people(up) as crowd:
        client = await crowd.client(places(up)[one.client.entry["clientId"]])
        matches = await client.listed("matches", one.reporter_id)
    return next(str(each["number"]) for each in matches if each["contact"]["email"] == other.email)


def is_about(kind: str) -> Callable[[EmailMessage], bool]:
    return lambda mail: mail["Subject"] == SUBJECTS[kind]


async def answer(mail: EmailMessage, number: str) -> int:
    """Tell by the link in a mail that they spoke."""
    link = next(each for each in text_of(mail).partition(number)[2].split() if "/answer/" in each)
    form = {"outcome": "spoken", "new_to_me": "no"}
    async with ClientSession() as session, session.post(link, data=form) as sent:
        return sent.status


async def says_spoken(up: Up, person: Person, number: str) -> int:
    """A side says through its own system that they spoke."""
    async with people(up) as crowd:
        client = await crowd.client(places(up)[person.client.entry["clientId"]])
        body = {"outcome": "spoken", "newToMe": True}
        return (await client.call("POST", f"/v1/matches/{number}/outcome", body)).status


async def test_a1_to_a4_days_pass_until_people_have_spoken(up: Up, index: Db) -> None:
    case = await make_case(up)

    await let_days_pass(index, [case.apart, *case.spoken], Step.REMINDER)
    mail = await all_are_reminded(up, case)
    assert [await answer(mail, number) for number in case.spoken] == [200, 200]
    assert [await answer(mail, number) for number in case.spoken] == [410, 410]

    await let_days_pass(index, [case.apart, *case.spoken], Step.MONITORING_3)
    await veilig_thuis_looks_again(up, case)
    await officer_watches_over_the_other(up, case)
    assert await says_spoken(up, case.school, case.apart) == 200
    assert case.apart not in await operate(up, "follow-up", "list")


async def all_are_reminded(up: Up, case: Case) -> EmailMessage:
    """A2: each in one mail, of both his matches. The mail to Veilig Thuis."""
    people = (case.school, case.doctor, case.safe_home)
    mails = [await mail_to(up, person.email, is_about("reminder")) for person in people]
    for number in (case.apart, *case.spoken):
        assert [number in text_of(mail) for mail in mails].count(True) == 2
    return mails[-1]


async def veilig_thuis_looks_again(up: Up, case: Case) -> None:
    """A4: and nobody else is told anything of these matches."""
    mail = await mail_to(up, case.safe_home.email, is_about("monitoring"))
    assert case.apart not in text_of(mail)
    assert all(number in text_of(mail) for number in case.spoken)
    story = await operate(up, "audit", "matches", "--number", case.spoken[0])
    assert "lead: Veilig Thuis (demo) Noord-Holland Noord (by veilig_thuis" in story
    assert "step.taken" in story
    for person in (case.school, case.doctor):
        assert len([mail for mail in mails_to(up, person.email) if is_about("reminder")(mail)]) == 1


async def officer_watches_over_the_other(up: Up, case: Case) -> None:
    """A2, A3: numbers by mail, organisations and who leads on the list; no person, no file."""
    mail = await mail_to(
        up, ALKMAAR_OFFICER, lambda mail: is_about("worklist")(mail) and case.apart in text_of(mail)
    )
    line = await operate(up, "follow-up", "list", "--municipality", "GM0361")
    assert case.apart in line
    assert "Basisschool (demo) Alkmaar / Huisartsenpraktijk (demo) Enkhuizen" in line
    assert "lead: Gemeente (demo) Alkmaar (by local_team_of_municipality" in line
    for text in (text_of(mail), line):
        assert not any(number in text for number in case.spoken)
        assert not any(each.details["name"] in text for each in (case.school, case.doctor))
        assert "D-1" not in text
