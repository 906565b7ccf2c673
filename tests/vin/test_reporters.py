import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import pytest

from schemas.database import Db
from tests.dump import dumped
from tests.world import SECRETS, make_region, make_reporter
from vin.contacts import Contact
from vin.crypto.seal import SealError
from vin.errors import InvalidBodyError, NotFoundError
from vin.registry import entitle
from vin.reporters import (
    Actor,
    Designation,
    Reporter,
    Wanted,
    designate_reporter,
    list_reporters,
    person_keys,
    read_reporter,
)

if TYPE_CHECKING:
    from asyncpg import Pool, Record

NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
LATER = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)
TODAY = date(2026, 11, 22)
START = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))
KEYS = (SECRETS.contact, SECRETS.index)

CONTACT = Contact(
    name="Reporter 1",
    function="Teacher",
    email="Reporter.1@school.test",
    phone="072-0000001",
    reachable="weekdays",
    registration_number="19 0123",
)


@pytest.fixture
async def actor(db: Db) -> Actor:
    """A client of an organisation with two units, `team` and `other`."""
    await make_region(db)
    organisation = uuid4()
    await db.execute(
        "INSERT INTO registry.organisation VALUES ($1, 'org', 'Org', 'school', NULL, 'en', 'full')",
        organisation,
    )
    for code in ("team", "other"):
        await db.execute(
            "INSERT INTO registry.unit VALUES ($1, $2, $3, 'Team', $1)",
            uuid4(),
            organisation,
            code,
        )
    return Actor(organisation=organisation, client="client", request_id=uuid4())


@pytest.fixture
async def second(db_url: str) -> AsyncIterator[Db]:
    """Another connection to the same database."""
    connection = await asyncpg.connect(db_url)
    yield connection
    await connection.close()


async def designate(
    db: Db, actor: Actor, contact: Contact = CONTACT, unit: str = "team", at: datetime = NOW
) -> tuple[Reporter, bool]:
    wanted = Designation(reporter_id="p-1", unit=unit, contact=contact)
    async with db.transaction():
        return await designate_reporter(db, wanted, actor, KEYS, at)


async def events(db: Db) -> list[str]:
    rows = await db.fetch("SELECT event FROM audit.entry ORDER BY id")
    return [row["event"] for row in rows]


async def persons(db: Db) -> list[list[UUID]]:
    return [row["keys"] for row in await db.fetch("SELECT keys FROM matching.person")]


async def read(db: Db, actor: Actor, reporter_id: str = "p-1") -> Reporter:
    return await read_reporter(db, reporter_id, actor, SECRETS.contact, NOW)


async def test_a_designated_reporter_reads_back_as_he_was_given(db: Db, actor: Actor) -> None:
    reporter, is_new = await designate(db, actor)

    assert is_new
    assert await read(db, actor) == reporter
    assert (reporter.contact, reporter.unit, reporter.designated_at) == (CONTACT, "team", NOW)


async def test_saying_the_same_again_changes_nothing(db: Db, actor: Actor, db_url: str) -> None:
    first, _ = await designate(db, actor)
    before = await dumped(db_url)

    again, is_new = await designate(db, actor, at=LATER)

    assert (again, is_new) == (first, False)
    assert await dumped(db_url) == before


async def test_a_change_keeps_the_reporter_and_the_day_of_his_designation(
    db: Db, actor: Actor
) -> None:
    first, _ = await designate(db, actor)
    changed = replace(CONTACT, email="new@school.test", reachable=None)

    await designate(db, actor, changed, unit="other", at=LATER)

    assert await read(db, actor) == replace(first, contact=changed, unit="other")
    assert await events(db) == ["reporter.designated", "reporter.changed", "contact.opened"]
    assert await persons(db) == [sorted(person_keys(changed, SECRETS.index))]


@pytest.mark.parametrize("unit", ["elsewhere", "Team", ""])
async def test_the_unit_must_be_the_organisations_own(db: Db, actor: Actor, unit: str) -> None:
    await make_reporter(db, 1)

    with pytest.raises(InvalidBodyError) as error:
        await designate(db, actor, unit=unit)

    assert [(fault.name, fault.code) for fault in error.value.faults] == [("unit", "unknown")]


async def test_another_organisations_reporter_is_not_found(db: Db, actor: Actor) -> None:
    await designate(db, actor)

    with pytest.raises(NotFoundError):
        await read(db, replace(actor, organisation=uuid4()))


async def test_reporters_are_listed_page_by_page_in_the_order_of_designation(
    db: Db, actor: Actor
) -> None:
    stranger = await make_reporter(db, 1)
    ids = [f"p-{number}" for number in (3, 1, 4, 5, 9, 2, 6)]
    for reporter_id in ids:
        wanted = Designation(reporter_id=reporter_id, unit="team", contact=CONTACT)
        await designate_reporter(db, wanted, actor, KEYS, LATER if reporter_id == "p-3" else NOW)

    pages, after, more = [], START, True
    while more:
        wanted_page = Wanted(after=after, limit=3)
        page, more = await list_reporters(db, wanted_page, actor, SECRETS.contact, NOW)
        after = (page[-1].designated_at, page[-1].id)
        pages.append([reporter.reporter_id for reporter in page])

    flat = [each for page in pages for each in page]
    assert [len(page) for page in pages] == [3, 3, 1]
    assert sorted(flat) == sorted(ids)
    assert flat[-1] == "p-3"
    assert stranger.reporter_id not in flat


async def test_of_two_who_designate_at_once_one_is_first(
    pool: "Pool[Record]", actor: Actor
) -> None:
    async def once(number: int) -> bool:
        contact = replace(CONTACT, name=f"Reporter {number}")
        async with pool.acquire() as db:
            return (await designate(db, actor, contact))[1]

    told = await asyncio.gather(*(once(number) for number in range(8)))

    assert sorted(told) == [*[False] * 7, True]


async def test_contact_data_stand_nowhere_in_clear(db: Db, actor: Actor, db_url: str) -> None:
    await designate(db, actor)
    await designate(db, actor, replace(CONTACT, phone="072-0000002"))
    await read(db, actor)

    dump = await dumped(db_url)

    assert b"p-1" in dump
    for clear in (b"Reporter", b"Teacher", b"school.test", b"072-000", b"weekdays", b"19 0123"):
        assert clear not in dump
        assert clear.hex().encode() not in dump


async def test_a_box_moved_to_another_reporter_does_not_open(db: Db, actor: Actor) -> None:
    await designate(db, actor)
    await designate_reporter(
        db, Designation(reporter_id="p-2", unit="team", contact=CONTACT), actor, KEYS, NOW
    )
    await db.execute(
        """
        UPDATE registry.reporter
           SET contact = (SELECT contact FROM registry.reporter WHERE reporter_id = 'p-1')
        """
    )

    with pytest.raises(SealError):
        await read(db, actor, "p-2")


def test_one_person_is_known_by_address_or_number_however_they_are_written() -> None:
    mine = set(person_keys(CONTACT, SECRETS.index))
    other_case = replace(CONTACT, email="reporter.1@SCHOOL.test", registration_number=None)
    other_spacing = replace(CONTACT, email="other@clinic.test", registration_number="190123")
    crossed = replace(CONTACT, email="190123@school.test", registration_number="reporter.1")

    assert len(mine) == 2
    assert len(mine & set(person_keys(other_case, SECRETS.index))) == 1
    assert len(mine & set(person_keys(other_spacing, SECRETS.index))) == 1
    assert not mine & set(person_keys(crossed, SECRETS.index))


async def test_registering_goes_on_while_a_reporter_is_changed(
    db: Db, actor: Actor, second: Db
) -> None:
    await designate(db, actor)

    async with db.transaction():
        await designate(db, actor, replace(CONTACT, name="Reporter 2"))
        await second.execute("SET lock_timeout = '1s'")
        known = await entitle(second, [(actor.organisation, "p-1")], TODAY)

    assert len(known) == 1


def test_nothing_shows_contact_data_by_accident(actor: Actor) -> None:
    wanted = Designation(reporter_id="p-1", unit="team", contact=CONTACT)

    assert "school.test" not in repr((wanted, CONTACT, actor))
