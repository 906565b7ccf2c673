"""G6: who is told that a child moved, what, and how often."""

from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from notify.carrier import UndeliveredError
from notify.letters import Letter, MovedLetter
from notify.retry import Result
from schemas.database import Db
from tests.changing import relate, relation
from tests.officers import make_officer, shield
from tests.steps import NOW, end, match_all, register
from tests.world import SECRETS, Somebody, make_region, make_reporter, make_reporters, registration
from vin import mailboxes
from vin.clock import Clock
from vin.handover import hand_over
from vin.notices import NoticeComposer
from vin.reporters import Actor
from vin.succession import Departure, end_reporter

TO_ALKMAAR = relation(1, moved_to="GM0361")


@pytest.fixture
async def reporters(db: Db) -> list[Somebody]:
    await make_region(db)
    return await make_reporters(db, 4)


@pytest.fixture
async def officer(db: Db) -> str:
    """The follow-up officer of Alkmaar."""
    await db.execute("INSERT INTO registry.municipality VALUES ('GM0361', 'Alkmaar')")
    return await make_officer(db, "follow_up_officer", municipality="GM0361")


async def letters(db: Db, now: "timedelta" = timedelta()) -> list[MovedLetter]:
    """The letters on moves as they would go out now, by recipient."""
    composer = NoticeComposer(SECRETS.contact, Clock(NOW + now - await Clock().now(db)))
    found: list[Letter] = []
    for row in await db.fetch("SELECT id FROM notify.notice WHERE kind = 'moved'"):
        async with db.transaction():
            letter = await composer.compose(db, row["id"])
        address = await composer.recipient(db, row["id"])
        if letter is not None:
            assert address == letter.recipient
            found.append(letter)
    moved = [letter for letter in found if isinstance(letter, MovedLetter)]
    assert len(moved) == len(found)
    return sorted(moved, key=lambda letter: letter.recipient)


def told_to(written: list[MovedLetter], email: str) -> MovedLetter:
    (letter,) = [letter for letter in written if letter.recipient == email]
    return letter


async def test_g6_reporters_are_told_their_own_files_and_the_officer_whom_to_reach(
    db: Db, reporters: list[Somebody], officer: str
) -> None:
    a, b, c, d = reporters
    *_, gone = await register(
        db,
        registration(a, 1, reference="D-7"),
        registration(b, 1, reference="F-8"),
        registration(c, 2, reference="G-9"),
        registration(d, 1, reference="H-0"),
    )
    await match_all(db)
    await end(db, gone, d)

    await relate(db, TO_ALKMAAR)

    written = await letters(db)
    assert {letter.recipient for letter in written} == {a.email, b.email, officer}
    for reporter, file in ((a, "D-7"), (b, "F-8")):
        letter = told_to(written, reporter.email)
        assert (letter.references, letter.reporters) == ([file], [])
    letter = told_to(written, officer)
    assert list(letter.references) == []
    assert {each.email for each in letter.reporters} == {a.email, b.email}
    assert {letter.municipality for letter in written} == {"Alkmaar"}
    parties = await db.fetch(
        """
        SELECT delivery.party_id
          FROM notify.delivery
          JOIN notify.notice ON notice.id = notice_id
         WHERE kind = 'moved'
        """
    )
    assert {row["party_id"] for row in parties} == {a.organisation, b.organisation, None}


async def test_s07_a_move_leaves_signals_with_their_reporters_and_outside_no_officer_is_told(
    db: Db, reporters: list[Somebody], officer: str
) -> None:
    (signal,) = await register(db, registration(reporters[0], 1))

    await relate(db, relation(1, moved_to="GM0599"))

    (letter,) = await letters(db)
    assert officer
    assert (letter.recipient, letter.municipality) == (reporters[0].email, None)
    kept = await db.fetchrow("SELECT id, reporter_id, status FROM matching.signal")
    assert kept
    assert tuple(kept) == (signal, reporters[0].id, "live")


async def test_g6_the_same_move_is_told_once_and_the_next_one_again(
    db: Db, reporters: list[Somebody], officer: str
) -> None:
    a, b, *_ = reporters
    await register(db, registration(a, 1))
    await relate(db, TO_ALKMAAR)
    await relate(db, relation(1, moved_to="GM0361"), NOW + timedelta(days=1))
    assert {letter.recipient for letter in await letters(db)} == {a.email, officer}

    await register(db, registration(b, 1))
    await relate(db, relation(1, moved_to="GM0599"), NOW + timedelta(days=2))
    await relate(db, relation(1, moved_to="GM0361"), NOW + timedelta(days=3))

    recipients = [letter.recipient for letter in await letters(db)]
    assert sorted(recipients) == sorted([a.email] * 3 + [b.email] * 2 + [officer] * 2)


async def test_l5_nothing_is_told_of_a_signal_that_ended_meanwhile(
    db: Db, reporters: list[Somebody], officer: str
) -> None:
    a, b, *_ = reporters
    one, _ = await register(db, registration(a, 1), registration(b, 1))
    await relate(db, TO_ALKMAAR)

    await end(db, one, a)

    written = await letters(db)
    assert {letter.recipient for letter in written} == {b.email, officer}
    assert [each.email for each in told_to(written, officer).reporters] == [b.email]
    assert await letters(db, timedelta(days=800)) == []


async def test_a5_of_a_shielded_organisation_the_officer_is_told_the_broker(
    db: Db, reporters: list[Somebody], officer: str
) -> None:
    shielded = reporters[0]
    await register(db, registration(shielded, 1))
    await relate(db, TO_ALKMAAR)
    broker = await shield(db, shielded.organisation)

    (other,) = told_to(await letters(db), officer).reporters
    assert (other.email, other.organisation) == (broker, "Broker")


async def test_w3_who_left_is_told_nothing_and_his_successor_is(
    db: Db, reporters: list[Somebody], officer: str
) -> None:
    a, b, *_ = reporters
    await register(db, registration(a, 1, reference="D-7"))
    await relate(db, TO_ALKMAAR)
    await db.execute(
        "UPDATE registry.reporter SET ended_at = now(), successor_id = $2 WHERE id = $1", a.id, b.id
    )

    written = await letters(db)
    assert {letter.recipient for letter in written} == {b.email, officer}
    assert told_to(written, b.email).references == ["D-7"]


async def test_w2_a_file_that_another_organisation_took_over_is_not_told_to_the_former(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    (signal,) = await register(db, registration(a, 1))
    await relate(db, TO_ALKMAAR)

    await db.execute("UPDATE matching.signal SET reporter_id = $2 WHERE id = $1", signal, b.id)

    assert await letters(db) == []


async def test_l4_what_was_to_be_told_of_a_move_goes_with_the_signal(
    db: Db, reporters: list[Somebody], officer: str
) -> None:
    a, b, *_ = reporters
    await register(db, registration(a, 1), registration(b, 1))
    await relate(db, TO_ALKMAAR)
    assert officer

    await relate(db, relation(1, deceased=True))

    for table in ("notice", "notice_move", "delivery"):
        assert await db.fetchval(f"SELECT count(*) FROM notify.{table}") == 0  # noqa: S608


async def test_a_notice_that_is_gone_has_nobody_to_go_to(db: Db) -> None:
    composer = NoticeComposer(SECRETS.contact, Clock())

    assert await composer.recipient(db, UUID(int=1)) is None
    assert await composer.compose(db, UUID(int=1)) is None


async def test_w3_what_an_officer_is_told_waits_while_mail_to_all_of_them_comes_back(
    db: Db, reporters: list[Somebody], officer: str
) -> None:
    await register(db, registration(reporters[0], 1))
    await match_all(db)
    await relate(db, TO_ALKMAAR)
    notice = await db.fetchval(
        "SELECT id FROM notify.notice WHERE reporter_id <> $1", reporters[0].id
    )
    line = [each.id for each in await mailboxes.select_line(db, notice)]
    await db.execute("UPDATE registry.officer SET mail_failed_at = now()")
    composer = NoticeComposer(SECRETS.contact, Clock())

    with pytest.raises(UndeliveredError) as waits:
        await composer.recipient(db, notice)
    assert waits.value.outcome.result is Result.NOBODY

    second = await make_officer(db, "follow_up_officer", municipality="GM0361")
    assert await composer.recipient(db, notice) == second
    assert officer != second
    assert len(line) == 1


async def test_w3_what_a_reporter_is_told_of_a_move_waits_as_well(
    db: Db, reporters: list[Somebody]
) -> None:
    await register(db, registration(reporters[0], 1))
    await match_all(db)
    await relate(db, TO_ALKMAAR)
    notice = await db.fetchval("SELECT id FROM notify.notice")
    await db.execute("UPDATE registry.reporter SET mail_failed_at = now()")
    composer = NoticeComposer(SECRETS.contact, Clock())

    with pytest.raises(UndeliveredError) as waits:
        await composer.recipient(db, notice)

    assert waits.value.outcome.result is Result.NOBODY


async def test_w3_what_a_successor_is_to_be_told_stays_his_when_the_former_returns(
    db: Db, reporters: list[Somebody]
) -> None:
    a, *_ = reporters
    successor = await make_reporter(db, 77, a.organisation)
    await register(db, registration(a, 1))
    await relate(db, TO_ALKMAAR)
    departure = Departure(a.reporter_id, successor.reporter_id)
    actor = Actor(organisation=a.organisation, client="client", request_id=uuid4())
    async with db.transaction():
        await end_reporter(db, departure, actor, NOW)

    await db.execute("UPDATE registry.reporter SET ended_at = NULL, successor_id = NULL")

    assert [letter.recipient for letter in await letters(db)] == [successor.email]


async def test_w2_what_was_to_be_told_of_a_move_goes_to_the_holder(
    db: Db, reporters: list[Somebody]
) -> None:
    a, _, _, holder = reporters
    await register(db, registration(a, 1))
    await relate(db, TO_ALKMAAR)
    await db.execute(
        "UPDATE registry.region SET holder_organisation_id = $1, holder_reporter_id = $2",
        holder.organisation,
        holder.id,
    )
    await db.execute(
        "UPDATE registry.agreement SET valid_to = '2026-11-21' WHERE organisation_id = $1",
        a.organisation,
    )
    async with db.transaction():
        await hand_over(db, SECRETS.contact, NOW)

    assert [letter.recipient for letter in await letters(db)] == [holder.email]
