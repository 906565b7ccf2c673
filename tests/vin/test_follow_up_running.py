"""A1 to A4 on a whole running VIN that is stopped and started again on later days."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

from aiohttp import ClientSession

from schemas.dates import local_date, local_midnight
from tests.bsns import fresh_bsn
from tests.mails import mail_to, mails_to, text_of
from tests.people import Person, operate, people
from tests.running import Up, running
from vin.contact_clock import Days, Step, plan

ALKMAAR_OFFICER = "regievoerder@gemeente-alkmaar.example"
SUBJECTS = {
    "reminder": "Herinnering van VIN",
    "worklist": "Uw lijst in VIN",
    "monitoring": "Bericht van VIN",
}


def started_on(data: Path, day: date) -> tuple[Path, str, str]:
    """The options that make it an hour past midnight of a day."""
    offset = local_midnight(day) + timedelta(hours=1) - datetime.now(UTC)  # noqa: TID251
    return data, "--clock-offset", str(int(offset.total_seconds()))


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


async def answer(up: Up, mail: EmailMessage, number: str) -> int:
    """Tell by the link in a mail that they spoke; the index has another port at each start."""
    link = next(each for each in text_of(mail).partition(number)[2].split() if "/answer/" in each)
    path = "/answer/" + link.rpartition("/")[2]
    form = {"outcome": "spoken", "new_to_me": "no"}
    async with ClientSession() as session, session.post(up.ready["api"] + path, data=form) as sent:
        return sent.status


async def says_spoken(up: Up, person: Person, number: str) -> int:
    """A side says through its own system that they spoke."""
    async with people(up) as crowd:
        client = await crowd.client(places(up)[person.client.entry["clientId"]])
        body = {"outcome": "spoken", "newToMe": True}
        return (await client.call("POST", f"/v1/matches/{number}/outcome", body)).status


async def test_a1_to_a4_days_pass_until_people_have_spoken(tmp_path: Path) -> None:
    data = tmp_path / "up"
    with running(data) as up:
        case = await make_case(up)
    today = local_date(datetime.now(UTC))  # noqa: TID251
    days = {step: on for on, step in plan(today, Days(3, 5, 10))}

    with running(*started_on(data, days[Step.REMINDER])) as up:
        mail = await all_are_reminded(up, case)
        assert [await answer(up, mail, number) for number in case.spoken] == [200, 200]
        assert [await answer(up, mail, number) for number in case.spoken] == [410, 410]
    with running(*started_on(data, days[Step.MONITORING_3])) as up:
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
    mail = await mail_to(up, ALKMAAR_OFFICER, is_about("worklist"))
    assert case.apart in text_of(mail)
    line = await operate(up, "follow-up", "list", "--municipality", "GM0361")
    assert case.apart in line
    assert "Basisschool (demo) Alkmaar / Huisartsenpraktijk (demo) Enkhuizen" in line
    assert "lead: Gemeente (demo) Alkmaar (by local_team_of_municipality" in line
    for text in (text_of(mail), line):
        assert not any(number in text for number in case.spoken)
        assert not any(each.details["name"] in text for each in (case.school, case.doctor))
        assert "D-1" not in text
