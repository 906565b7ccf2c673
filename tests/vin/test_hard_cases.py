"""The hard cases of the domain by their numbers, over HTTP on real servers."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from schemas.dates import LOCAL, years_after
from tests.bsns import fresh_bsn
from tests.people import Crowd, Person, operate, people, status_of
from tests.running import Up, running
from vin.contact_clock import working_days_after

Bsn = tuple[str, str]


@pytest.fixture
async def crowd(up: Up) -> AsyncIterator[Crowd]:
    async with people(up) as hired:
        yield hired


def child() -> Bsn:
    return "bsn", fresh_bsn()


def parent() -> Bsn:
    return "parent", fresh_bsn()


def named() -> Bsn:
    surname = fresh_bsn().translate(str.maketrans("0123456789", "ABCDEFGHIJ"))
    return "demographic", f"{surname}|2019-03-01|F"


async def test_s01_who_shares_a_mother_and_who_shares_a_father_stay_invisible_to_each_other(
    crowd: Crowd,
) -> None:
    a, b, c = [await crowd.person(place) for place in range(3)]
    mother, father = parent(), parent()
    await a.registers(child(), mother)
    await c.registers(child(), father)
    await b.registers(child(), mother, father)

    assert await a.knows() == {b.email: "household"}
    assert await b.knows() == {a.email: "household", c.email: "household"}
    assert await c.knows() == {b.email: "household"}


async def test_s02_twins_are_household_with_numbers_and_possible_without(crowd: Crowd) -> None:
    a, b, c, d = [await crowd.person(place) for place in range(4)]
    mother = parent()
    await a.registers(child(), mother)
    await b.registers(child(), mother)
    twin = named()
    await c.registers(twin, reference="D-1")
    await d.registers(twin, reference="D-2")

    assert await a.knows() == {b.email: "household"}
    assert await c.knows() == {d.email: "possible"}


async def test_s03_twice_a_colleague_two_match_units_and_one_person_with_two_employers(
    crowd: Crowd,
) -> None:
    one = child()
    first = await crowd.person(0)
    colleague = await crowd.person(0)
    assert (await first.registers(one)).status == 201
    assert (await first.registers(one)).status == 200
    await colleague.registers(one)
    assert await first.knows() == await colleague.knows() == {}

    same_person = await crowd.person(1, email=first.email.upper())
    await same_person.registers(one)
    assert await same_person.knows() == {colleague.email: "child"}
    assert await first.knows() == {}

    other = await crowd.person(2)
    await other.registers(one)
    assert first.email in await other.knows()


async def test_s03_m8_attendance_officer_and_local_team_of_one_municipality_match(
    crowd: Crowd,
) -> None:
    one, municipality = child(), 8
    team, attendance = [
        await crowd.person(municipality, unit=unit) for unit in ("wijkteam", "leerplicht")
    ]
    await team.registers(one)
    await attendance.registers(one)

    assert await team.knows() == {attendance.email: "child"}
    assert await attendance.knows() == {team.email: "child"}


async def test_s04_unjustified_leaves_nothing_and_risk_gone_a_history_for_the_new_one_alone(
    crowd: Crowd,
) -> None:
    for ground, expected in (("unjustified", False), ("riskGone", True)):
        one = child()
        a, b = [await crowd.person(place) for place in range(2)]
        await a.registers(one)
        await a.withdraws(ground)
        answer = await b.registers(one)

        assert "historyNoticeId" not in answer.body
        assert bool(await b.history()) is expected
        assert await a.matches() == await b.matches() == []


@pytest.mark.parametrize(
    ("ground", "outcomes"),
    [
        ("riskGone", [([], True), (["closed"], False)]),
        ("unjustified", [([], False), (["void"], False)]),
    ],
)
async def test_s04_a_withdrawal_and_a_registration_in_the_same_second_have_one_outcome(
    crowd: Crowd, ground: str, outcomes: list[tuple[list[str], bool]]
) -> None:
    for _ in range(3):
        one = child()
        a, b = [await crowd.person(place) for place in range(2)]
        await a.registers(one)
        await asyncio.gather(a.withdraws(ground), b.registers(one))

        statuses = [match["status"] for match in await b.matches()]
        assert (statuses, await b.history() is not None) in outcomes


async def test_s11_after_a_death_everything_on_the_child_is_gone(crowd: Crowd) -> None:
    one, mother = child(), parent()
    a, b, c = [await crowd.person(place) for place in range(3)]
    await a.registers(one, mother)
    await b.registers(one, mother)
    await c.registers(child(), mother)
    ground = ("--ground", "deceased", "--purpose", "population register")
    await operate(crowd.up, "signals", "end", a.signals[0], *ground)

    for person in (a, b):
        assert await person.matches() == []
        assert await status_of(person.client.call("GET", f"/v1/signals/{person.signals[0]}")) == 404
    assert await c.matches() == []
    assert (await c.client.read("signals", c.signals[0]))["status"] == "live"


async def test_s13_a_number_found_later_makes_matches_then_with_the_original_dates(
    crowd: Crowd,
) -> None:
    one = child()
    a, b = [await crowd.person(place) for place in range(2)]
    await a.registers(one)
    await b.registers(named())
    before = await b.client.read("signals", b.signals[0])
    assert await b.knows() == {}

    found, permit = await b.client.evaluate(b.reporter_id, [one])
    key = {"kind": "bsn"} | {name: found[0][name] for name in ("domain", "epoch", "element")}
    path = f"/v1/signals/{b.signals[0]}/child"
    assert (await b.client.call("PUT", path, {"child": key, "permit": permit})).status == 200

    assert await eventually_knows(b, {a.email: "child"})
    after = await b.client.read("signals", b.signals[0])
    assert {**after, "processedAt": None} == {**before, "processedAt": None}


async def eventually_knows(person: Person, expected: dict[str, str]) -> bool:
    """Whether the matches become these, in time."""
    for _ in range(100):
        if await person.knows() == expected:
            return True
        await asyncio.sleep(0.05)
    return False


async def test_s14_when_parents_change_matches_are_void_and_new_and_no_reason_shows(
    crowd: Crowd,
) -> None:
    old, new = parent(), parent()
    a, b, c = [await crowd.person(place) for place in range(3)]
    await a.registers(child(), old)
    await b.registers(child(), old)
    await c.registers(child(), new)
    assert await b.knows() == {a.email: "household"}

    found, permit = await b.client.evaluate(b.reporter_id, [new])
    body = {"household": found, "permit": permit}
    await b.client.call("PUT", f"/v1/signals/{b.signals[0]}/household", body)

    assert await eventually_knows(b, {c.email: "household"})
    (lost,) = await a.matches()
    assert (lost["status"], lost["contact"]) == ("void", None)


async def test_s15_a_foster_child_matches_its_own_siblings_and_not_the_family_it_lives_in(
    crowd: Crowd,
) -> None:
    own, foster = parent(), parent()
    a, b, c = [await crowd.person(place) for place in range(3)]
    home = ("address", "1811AB|1||")
    await a.registers(child(), own, home)
    await b.registers(child(), foster, home)
    await c.registers(child(), own)

    assert await a.knows() == {c.email: "household"}
    assert await b.knows() == {}


async def test_s16_a_third_reporter_gets_one_mail_with_both_and_they_one_each_on_him(
    crowd: Crowd,
) -> None:
    one = child()
    persons = [await crowd.person(place) for place in range(3)]
    for person in persons:
        await person.registers(one)

    counts = {}
    for person in persons:
        counts[person.email] = await mails_to(crowd.up, person.email, 2)
    assert counts == {
        persons[0].email: [1, 1],
        persons[1].email: [1, 1],
        persons[2].email: [2],
    }


async def mails_to(up: Up, address: str, matches: int) -> list[int]:
    """How many matches each mail to an address tells of, once they tell of so many."""
    async with asyncio.timeout(20):
        while True:
            mails = [
                path.read_bytes().count(b"X-VIN-Match:")
                for path in Path(up.ready["mailDir"]).glob("*.eml")
                if f"To: {address}".encode() in path.read_bytes()
            ]
            if sum(mails) >= matches:
                return sorted(mails)
            await asyncio.sleep(0.1)


def seconds_until(day: date, *, minutes: int) -> str:
    """The clock offset that puts now so many minutes after the start of a local day."""
    start = datetime.combine(day, datetime.min.time(), LOCAL)
    target = start + timedelta(minutes=minutes)
    return str(int((target - datetime.now(UTC)).total_seconds()))  # noqa: TID251 (a real clock)


@dataclass
class Cast:
    """Who plays in the cases that span years, and the day on which a signal and a youth end."""

    child: Bsn
    end: date
    people: dict[str, Person] = field(default_factory=dict)


async def test_s05_s06_s10_a_life_over_the_years_with_restarts_in_between(tmp_path: Path) -> None:
    """S5: the end of a signal; S6: the 23rd birthday; S10: the archive."""
    today = datetime.now(LOCAL).date()  # noqa: TID251 (the real clock)
    cast = Cast(child(), today + timedelta(days=100))
    scenes = (
        (seconds_until(cast.end, minutes=-10), before_the_end),
        (seconds_until(cast.end, minutes=2), after_the_end),
        (seconds_until(years_after(cast.end, 5), minutes=2), s10_after_five_years),
    )
    for offset, scene in scenes:
        with running(tmp_path, "--clock-offset", offset) as up:
            async with people(up) as crowd:
                await scene(crowd, cast)


async def before_the_end(crowd: Crowd, cast: Cast) -> None:
    a, last = [await crowd.person(place) for place in range(2)]
    await a.registers(cast.child, removeOn=cast.end.isoformat())
    await last.registers(cast.child)
    assert await last.knows() == {a.email: "child"}
    assert await a2_reminded_on(crowd) == working_days_after(cast.end - timedelta(days=1), 3)

    grown, sibling = [await crowd.person(place) for place in range(2)]
    mother = parent()
    await grown.registers(child(), mother, destroyBy=cast.end.isoformat())
    await sibling.registers(child(), mother)
    assert await sibling.knows() == {grown.email: "household"}
    cast.people = {"a": a, "grown": grown, "sibling": sibling}


async def a2_reminded_on(crowd: Crowd) -> date:
    """When the contact clock of the one match that there is will remind of it."""
    db = await asyncpg.connect(crowd.up.ready["databaseUrl"])
    day: date = await db.fetchval("SELECT next_on FROM followup.clock")
    await db.close()
    return day


async def after_the_end(crowd: Crowd, cast: Cast) -> None:
    await s06_after_the_birthday(crowd, cast)
    await s05_s10_after_the_end(crowd, cast)


async def s06_after_the_birthday(crowd: Crowd, cast: Cast) -> None:
    grown, sibling = [await again(crowd, cast.people[who]) for who in ("grown", "sibling")]
    gone = f"/v1/signals/{grown.signals[0]}"
    assert await status_of(grown.client.call("GET", gone)) == 404
    assert await sibling.matches() == []
    assert (await sibling.client.read("signals", sibling.signals[0]))["status"] == "live"


async def s05_s10_after_the_end(crowd: Crowd, cast: Cast) -> None:
    new = await crowd.person(2)
    await new.registers(cast.child)
    assert cast.people["a"].email not in await new.knows()
    notice = await new.history()
    assert notice
    opened = (await new.opens(notice)).body
    assert [contact["email"] for contact in opened["contacts"]] == [cast.people["a"].email]
    assert await status_of(new.opens(notice)) == 410


async def s10_after_five_years(crowd: Crowd, cast: Cast) -> None:
    late = await crowd.person(3)
    await late.registers(cast.child)
    notice = await late.history()
    shown = (await late.opens(notice)).body["contacts"] if notice else []
    assert cast.people["a"].email not in [contact["email"] for contact in shown]
    db = await asyncpg.connect(crowd.up.ready["databaseUrl"])
    left = await db.fetchval(
        "SELECT count(*) FROM matching.signal WHERE id = $1", cast.people["a"].signals[0]
    )
    await db.close()
    assert left == 0


async def again(crowd: Crowd, person: Person) -> Person:
    """The same reporter at the same client of a VIN that was started anew."""
    place = next(
        number
        for number, entry in enumerate(crowd.up.ready["clients"])
        if entry["clientId"] == person.client.entry["clientId"]
    )
    person.client = await crowd.client(place)
    return person
