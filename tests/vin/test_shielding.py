"""A5: of a shielded organisation the other side sees a broker, and nothing else (S8)."""

from datetime import UTC, date, datetime
from uuid import UUID, uuid4

import pytest

from notify.letters import MatchLetter
from schemas.database import Db
from tests.officers import make_municipality, make_officer, shield
from tests.world import SECRETS, Somebody, make_region, make_reporters, registration
from vin.clock import Clock
from vin.contacts import Contact
from vin.matches import Reader, Wanted, list_matches, match_batch
from vin.notices import NoticeComposer
from vin.registry import select_contacts, select_recipients
from vin.signals import register_batch

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
FIRST = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0), UUID(int=0))


@pytest.fixture
async def reporters(db: Db) -> list[Somebody]:
    """A reporter of a shelter and one of a school, who match."""
    await make_region(db)
    shelter, school = await make_reporters(db, 2)
    await db.execute(
        "UPDATE registry.organisation SET name = 'Shelter' WHERE id = $1", shelter.organisation
    )
    async with db.transaction():
        await register_batch(db, [registration(shelter, 1), registration(school, 1)], SECRETS, NOW)
        await match_batch(db, 10, NOW)
    return [shelter, school]


async def seen(db: Db, reporter: Somebody) -> tuple[Contact, str] | None:
    """Whom the one match of a reporter names, of which organisation."""
    reader = Reader(organisation=reporter.organisation, client="client", request_id=uuid4())
    wanted = Wanted(reporter_id=None, after=FIRST, limit=50)
    (match,), _ = await list_matches(db, wanted, reader, SECRETS.contact, NOW)
    return match.other


async def letter(db: Db, reporter: Somebody) -> tuple[str, list[tuple[str, str]]]:
    """To whom a reporter's letter goes, and what addresses and organisations it names."""
    notice = await db.fetchval("SELECT id FROM notify.notice WHERE reporter_id = $1", reporter.id)
    async with db.transaction():
        written = await NoticeComposer(SECRETS.contact, Clock()).compose(db, notice)
    assert isinstance(written, MatchLetter)
    return written.recipient, [(item.email, item.organisation) for item in written.items]


async def test_a5_the_other_side_sees_the_broker_and_his_name_in_list_and_letter(
    db: Db, reporters: list[Somebody]
) -> None:
    shelter, school = reporters
    broker = await shield(db, shelter.organisation, "Broker of the region")

    other = await seen(db, school)
    assert other
    assert (other[0].email, other[1]) == (broker, "Broker of the region")
    assert await letter(db, school) == (school.email, [(broker, "Broker of the region")])


async def test_a5_the_shielded_side_gets_its_own_notices_and_sees_the_other(
    db: Db, reporters: list[Somebody]
) -> None:
    shelter, school = reporters
    await shield(db, shelter.organisation)

    to, named = await letter(db, shelter)
    assert to == shelter.email
    assert [email for email, _ in named] == [school.email]
    other = await seen(db, shelter)
    assert other
    assert other[0].email == school.email


async def test_a5_who_left_a_shielded_organisation_is_succeeded_inside_and_brokered_outside(
    db: Db, reporters: list[Somebody]
) -> None:
    shelter, school = reporters
    broker = await shield(db, shelter.organisation)
    coordinator = await make_officer(db, "coordinator", shelter.organisation)
    await db.execute("UPDATE registry.reporter SET ended_at = now() WHERE id = $1", shelter.id)

    assert (await letter(db, shelter))[0] == coordinator
    assert (await letter(db, school))[1] == [(broker, "Broker")]


async def test_s08_without_a_brokers_contact_data_nobody_is_shown_rather_than_the_shelter(
    db: Db, reporters: list[Somebody]
) -> None:
    shelter, school = reporters
    code = await make_municipality(db, shelter.organisation)
    await make_officer(db, "coordinator", shelter.organisation)
    await make_officer(db, "follow_up_officer", municipality=code)
    await shield(db, shelter.organisation)
    await db.execute("DELETE FROM registry.officer WHERE role = 'broker'")

    assert await seen(db, school) is None
    assert await select_contacts(db, [shelter.id], date(2026, 11, 22)) == {}
    assert len(await select_recipients(db, [shelter.id], date(2026, 11, 22))) == 1


async def test_s08_a_broker_of_another_organisation_is_not_shown(
    db: Db, reporters: list[Somebody]
) -> None:
    shelter, school = reporters
    brokers = {await shield(db, each.organisation) for each in reporters}

    shown = await select_contacts(db, [shelter.id, school.id], date(2026, 11, 22))

    assert {each.open(SECRETS.contact).email for each in shown.values()} == brokers
    assert len({each.open(SECRETS.contact).email for each in shown.values()}) == 2
    assert {each.organisation_name for each in shown.values()} == {"Broker"}
