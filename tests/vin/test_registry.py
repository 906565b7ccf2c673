from collections.abc import AsyncIterator
from datetime import date
from uuid import uuid4

import asyncpg
import pytest

from schemas.database import Db
from tests.officers import make_officer
from tests.world import SECRETS, Somebody, make_region, make_reporter, make_reporters
from vin.registry import (
    Entitled,
    entitle,
    select_contacts,
    select_recipients,
    select_reporter,
    select_reporter_ids,
)

TODAY = date(2026, 11, 22)


@pytest.fixture
async def second(db_url: str) -> AsyncIterator[Db]:
    """Another connection to the same database."""
    connection = await asyncpg.connect(db_url)
    yield connection
    await connection.close()


async def ask(db: Db, who: Somebody, on: date = TODAY) -> Entitled | None:
    key = (who.organisation, who.reporter_id)
    return (await entitle(db, [key], on)).get(key)


@pytest.mark.parametrize(
    ("change", "before", "first", "last", "after"),
    [
        ("agreement SET valid_from = '2026-11-22', valid_to = '2026-11-24'", *"nyyn"),
        ("agreement SET valid_from = '2026-11-22'", *"nyyy"),
        ("category SET valid_from = '2026-11-22', valid_to = '2026-11-24'", *"nyyn"),
        ("category SET valid_to = '2026-11-24'", *"yyyn"),
        ("agreement SET valid_to = '2026-11-24'", *"yyyn"),
    ],
)
async def test_agreement_and_category_hold_from_their_first_to_their_last_day(
    db: Db, change: str, before: str, first: str, last: str, after: str
) -> None:
    await make_region(db)
    who = await make_reporter(db, 1)
    await db.execute(f"UPDATE registry.{change}")

    asked = [await ask(db, who, date(2026, 11, day)) for day in (21, 22, 24, 25)]

    assert ["y" if each and each.entitled else "n" for each in asked] == [
        before,
        first,
        last,
        after,
    ]


async def test_a_reporter_without_any_agreement_is_known_but_not_entitled(db: Db) -> None:
    await make_region(db)
    who = await make_reporter(db, 1)
    await db.execute("DELETE FROM registry.agreement")

    asked = await ask(db, who)

    assert asked == Entitled(
        reporter=who.id,
        unit=asked.unit if asked else who.id,
        match_unit=who.match_unit,
        entitled=False,
    )


async def test_a_batch_is_told_apart_by_organisation_and_name(db: Db) -> None:
    await make_region(db)
    one, two = await make_reporters(db, 2)
    await db.execute("UPDATE registry.reporter SET reporter_id = 'p-1'")
    wanted = [(each, "p-1") for each in (one.organisation, two.organisation, one.organisation)]

    known = await entitle(db, [*wanted, (uuid4(), "p-1"), (one.organisation, "p-2")], TODAY)

    assert {key: each.reporter for key, each in known.items()} == {
        (one.organisation, "p-1"): one.id,
        (two.organisation, "p-1"): two.id,
    }
    assert await entitle(db, [], TODAY) == {}


async def test_a_reporter_stays_as_long_as_a_batch_counts_on_him(db: Db, second: Db) -> None:
    await make_region(db)
    who = await make_reporter(db, 1)
    await second.execute("SET lock_timeout = '100ms'")

    async with db.transaction():
        await ask(db, who)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await second.execute("DELETE FROM registry.reporter")


async def test_contacts_for_a_notice_open_with_organisation_and_language(db: Db) -> None:
    await make_region(db)
    who = await make_reporter(db, 1)
    await db.execute("UPDATE registry.organisation SET name = 'School', language = 'en'")

    found = await select_contacts(db, [who.id, uuid4()], TODAY)

    assert list(found) == [who.id]
    assert found[who.id].open(SECRETS.contact).email == who.email
    assert (found[who.id].organisation_name, found[who.id].style.language) == ("School", "en")


async def test_reporters_are_found_and_named_as_their_organisations_name_them(db: Db) -> None:
    await make_region(db)
    one, two = await make_reporters(db, 2)

    assert await select_reporter(db, one.organisation, one.reporter_id) == one.id
    assert await select_reporter(db, one.organisation, two.reporter_id) is None
    assert await select_reporter_ids(db, {one.id, uuid4()}) == {one.id: one.reporter_id}


async def test_w3_mail_passes_over_who_cannot_be_mailed_and_others_still_see_him(db: Db) -> None:
    await make_region(db)
    who = await make_reporter(db, 1)
    coordinators = [await make_officer(db, "coordinator", who.organisation) for _ in range(2)]
    await db.execute("UPDATE registry.reporter SET mail_failed_at = now()")
    first = (await select_recipients(db, [who.id], TODAY))[who.id].open(SECRETS.contact).email
    await db.execute(
        """
        UPDATE registry.officer SET mail_failed_at = now() WHERE id = (
               SELECT id FROM registry.officer ORDER BY id LIMIT 1)
        """
    )

    second = (await select_recipients(db, [who.id], TODAY))[who.id].open(SECRETS.contact).email

    assert {first, second} == set(coordinators)
    shown = (await select_contacts(db, [who.id], TODAY))[who.id]
    assert shown.open(SECRETS.contact).email == who.email
    await db.execute("UPDATE registry.officer SET mail_failed_at = now()")
    assert await select_recipients(db, [who.id], TODAY) == {}


async def test_w3_of_who_left_a_coordinator_is_shown_even_when_mail_to_him_comes_back(
    db: Db,
) -> None:
    await make_region(db)
    who = await make_reporter(db, 1)
    coordinator = await make_officer(db, "coordinator", who.organisation)
    await db.execute("UPDATE registry.officer SET mail_failed_at = now()")
    await db.execute("UPDATE registry.reporter SET ended_at = now()")

    shown = (await select_contacts(db, [who.id], TODAY))[who.id]

    assert shown.open(SECRETS.contact).email == coordinator
    assert await select_recipients(db, [who.id], TODAY) == {}
