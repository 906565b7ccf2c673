"""A2, A4: what is told to whom as days pass, and what stops it."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from notify import attempts, ledger
from notify.bounce import ReturnPath
from notify.carrier import UndeliveredError
from notify.letters import ReminderLetter
from notify.retry import Result
from schemas.database import Db
from tests.following import (
    AFTER_3_MONTHS,
    AFTER_A_YEAR,
    LINK_KEY,
    LINKS,
    LISTED,
    MATCHED,
    MINUTE,
    OVERDUE,
    REMINDED,
    Pair,
    follow,
    make_pair,
    reminders,
    told,
)
from tests.life import Stopped
from tests.officers import make_municipality, make_officer, shield
from tests.world import SECRETS, Somebody, make_region, make_reporter, make_reporters
from vin import follow_up, succession, succession_store
from vin.bounces import BounceDesk
from vin.contact_clock import Outcome
from vin.handover import hand_over
from vin.notices import NoticeComposer
from vin.retention import Ending, destroy_batch, end_by_operator
from vin.succession_store import Place
from vin.worklist import list_cases

if TYPE_CHECKING:
    from asyncpg import Pool, Record

DAY = timedelta(days=1)
ALL = (REMINDED, OVERDUE, LISTED, AFTER_3_MONTHS, AFTER_A_YEAR)


@pytest.fixture
async def pair(db: Db) -> Pair:
    return await make_pair(db)


async def make_veilig_thuis(db: Db, somebody: Somebody) -> None:
    await db.execute(
        """
        INSERT INTO registry.category VALUES ('vt', 'VT', '2015-01-01', NULL, 'veilig_thuis')
            ON CONFLICT DO NOTHING
        """
    )
    await db.execute(
        "UPDATE registry.organisation SET category = 'vt' WHERE id = $1", somebody.organisation
    )


async def listed(db: Db, at: datetime) -> list[str]:
    return [case.number for case in await list_cases(db, None, "operator", at)]


async def test_a2_after_three_working_days_both_sides_are_reminded_of_their_own_file(
    db: Db, pair: Pair
) -> None:
    await follow(db, REMINDED - MINUTE)
    assert await told(db, REMINDED - MINUTE) == []

    await follow(db, REMINDED)

    letters = {letter.recipient: letter for letter in await reminders(db, REMINDED)}
    assert letters.keys() == {pair.a.email, pair.b.email}
    for somebody, file in ((pair.a, "A-1"), (pair.b, "B-1")):
        letter = letters[somebody.email]
        assert letter.step == "reminder"
        (item,) = letter.items
        assert (item.number, item.reference, item.reporter) == (pair.number, file, None)
        assert item.matched_on == MATCHED.date()


async def test_a2_only_the_silent_side_is_reminded(db: Db, pair: Pair) -> None:
    await pair.says(pair.a, Outcome.NOT_REACHABLE)

    await follow(db, REMINDED)

    assert await told(db, REMINDED) == [(pair.b.email, "reminder")]


async def test_a2_after_five_the_coordinator_is_told_or_the_reporter_where_there_is_none(
    db: Db, pair: Pair
) -> None:
    coordinator = await make_officer(db, "coordinator", pair.a.organisation)

    await follow(db, REMINDED, OVERDUE)

    letters = {letter.recipient: letter for letter in await reminders(db, OVERDUE)}
    overdue = {email for email, letter in letters.items() if letter.step == "overdue"}
    assert overdue == {coordinator, pair.b.email}
    (item,) = letters[coordinator].items
    assert item.reporter == f"Reporter {pair.a.id.hex[:6]}"
    assert item.reference == "A-1"


async def test_a2_after_ten_it_is_on_the_list_and_the_officer_gets_numbers_alone(
    db: Db, pair: Pair
) -> None:
    place = await make_municipality(db, pair.a.organisation)
    officer = await make_officer(db, "follow_up_officer", municipality=place)
    await follow(db, REMINDED, OVERDUE, LISTED - MINUTE)
    assert await listed(db, LISTED - MINUTE) == []

    await follow(db, LISTED)

    (letter,) = [each for each in await reminders(db, LISTED) if each.step == "worklist"]
    assert letter.recipient == officer
    (item,) = letter.items
    assert (item.number, item.reference, item.reporter, item.answer_url) == (
        pair.number,
        None,
        None,
        None,
    )
    assert await listed(db, LISTED) == [pair.number]


async def test_a2_an_officer_gets_one_list_a_day(db: Db) -> None:
    await make_region(db)
    first = await make_reporters(db, 2)
    place = await make_municipality(db, first[0].organisation)
    officer = await make_officer(db, "follow_up_officer", municipality=place)
    for child in (1, 2, 3):
        await make_pair(db, child, of=first)
    late = await make_pair(db, 4, of=first, at=MATCHED + timedelta(hours=1))
    await follow(db, REMINDED, OVERDUE)
    await db.execute(
        "UPDATE followup.clock SET next_on = next_on + 1 WHERE match_id = $1", late.match
    )
    await follow(db, LISTED)
    (letter,) = [each for each in await reminders(db, LISTED) if each.step == "worklist"]
    assert (letter.recipient, len(letter.items)) == (officer, 3)

    await claim_all(db)
    await db.execute("UPDATE followup.clock SET next_on = next_on - 1 WHERE next_step = 'worklist'")
    await follow(db, LISTED + MINUTE)

    waits = await db.fetch(
        """
        SELECT delivery.next_at - clock_timestamp() AS wait
          FROM notify.notice
          JOIN notify.delivery ON delivery.notice_id = notice.id
         WHERE kind = 'worklist' AND delivery.state = 'pending'
        """
    )
    assert [row["wait"] > timedelta(hours=23) for row in waits] == [True]


async def claim_all(db: Db) -> None:
    """Begin to deliver all that waits."""
    await db.execute("UPDATE notify.delivery SET next_at = clock_timestamp()")
    async with db.transaction():
        await attempts.claim(db, await ledger.mark_queued(db, 100), "worker")


async def test_m9_what_is_due_at_once_comes_in_one_mail_however_it_is_found(
    db: Db, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_up, "BATCH", 2)
    await make_region(db)
    both = await make_reporters(db, 2)
    for child in range(1, 8):
        await make_pair(db, child, of=both)

    await follow(db, REMINDED)

    letters = await reminders(db, REMINDED)
    assert sorted(letter.recipient for letter in letters) == sorted(r.email for r in both)
    assert [len(letter.items) for letter in letters] == [7, 7]


@pytest.mark.parametrize("outcome", [Outcome.SPOKEN, Outcome.ALREADY_COOPERATING])
async def test_a2_once_one_side_says_that_they_spoke_nothing_more_comes(
    db: Db, pair: Pair, outcome: Outcome
) -> None:
    await pair.says(pair.a, outcome)

    await follow(db, *ALL)

    assert await told(db, AFTER_A_YEAR) == []
    assert await listed(db, AFTER_A_YEAR) == []
    assert await db.fetchval("SELECT count(*) FROM notify.notice WHERE kind <> 'match'") == 0


async def test_a2_once_both_answered_and_one_sees_no_need_nothing_more_comes(
    db: Db, pair: Pair
) -> None:
    await pair.says(pair.a, Outcome.NOT_REACHABLE)
    await follow(db, REMINDED, OVERDUE)
    assert len(await told(db, OVERDUE)) == 2
    await pair.says(pair.b, Outcome.NO_SHARED_NEED)

    await follow(db, LISTED)

    assert await told(db, LISTED) == []
    assert await listed(db, LISTED) == []


async def test_a2_where_both_tried_in_vain_the_officer_hears_of_it(db: Db, pair: Pair) -> None:
    place = await make_municipality(db, pair.b.organisation)
    officer = await make_officer(db, "follow_up_officer", municipality=place)
    await pair.says(pair.a, Outcome.NOT_REACHABLE)
    await pair.says(pair.b, Outcome.NOT_REACHABLE)

    await follow(db, REMINDED, OVERDUE, LISTED)

    assert await told(db, LISTED) == [(officer, "worklist")]
    assert await listed(db, LISTED) == [pair.number]


async def test_a2_who_takes_back_that_they_spoke_is_reminded_again(db: Db, pair: Pair) -> None:
    await pair.says(pair.a, Outcome.SPOKEN)
    await follow(db, REMINDED)
    await pair.says(pair.a, Outcome.NOT_REACHABLE, REMINDED)

    await follow(db, OVERDUE)

    assert await told(db, OVERDUE) == [(pair.b.email, "overdue")]


async def test_a2_a_listed_match_leaves_the_list_when_they_speak(db: Db, pair: Pair) -> None:
    await follow(db, REMINDED, OVERDUE, LISTED)
    assert await listed(db, LISTED) == [pair.number]

    await pair.says(pair.b, Outcome.SPOKEN, LISTED)

    assert await listed(db, LISTED) == []


async def test_a2_after_a_standstill_only_the_latest_step_is_told(db: Db, pair: Pair) -> None:
    place = await make_municipality(db, pair.a.organisation)
    await make_officer(db, "follow_up_officer", municipality=place)

    await follow(db, LISTED + DAY)

    assert [step for _, step in await told(db, LISTED + DAY)] == ["worklist"]


async def end_erased(pair: Pair, at: datetime) -> None:
    await by_operator(pair, "erased", at)


async def end_deceased(pair: Pair, at: datetime) -> None:
    await by_operator(pair, "deceased", at)


async def by_operator(pair: Pair, ground: str, at: datetime) -> None:
    order = Ending(signal=pair.signals[1], ground=ground, purpose="order", operator="o")
    async with pair.db.transaction():
        await end_by_operator(pair.db, order, at)


async def end_risk_gone(pair: Pair, at: datetime) -> None:
    await pair.ends(pair.b, "risk_gone", at)


async def end_unjustified(pair: Pair, at: datetime) -> None:
    await pair.ends(pair.b, "unjustified", at)


async def end_by_remove_on(pair: Pair, at: datetime) -> None:
    """Its date has come, and no sweeper."""
    await pair.db.execute(
        "UPDATE matching.signal SET remove_on = $2 WHERE id = $1", pair.signals[1], at.date()
    )


async def end_by_destroy_by(pair: Pair, at: datetime) -> None:
    await pair.db.execute(
        "UPDATE matching.signal SET destroy_by = $2 WHERE id = $1", pair.signals[1], at.date()
    )
    async with pair.db.transaction():
        assert await destroy_batch(pair.db, at + DAY) == 1


End = Callable[[Pair, datetime], Awaitable[None]]
ENDS: list[End] = [
    end_erased,
    end_deceased,
    end_risk_gone,
    end_unjustified,
    end_by_remove_on,
    end_by_destroy_by,
]


@pytest.mark.parametrize("end", ENDS)
async def test_l5_what_was_queued_before_the_end_of_a_match_never_goes_out(
    db: Db, pair: Pair, end: End
) -> None:
    await make_veilig_thuis(db, pair.a)
    place = await make_municipality(db, pair.b.organisation)
    await make_officer(db, "follow_up_officer", municipality=place)
    await follow(db, *ALL)
    before = {step for _, step in await told(db, AFTER_A_YEAR)}
    assert before == {"reminder", "overdue", "worklist", "monitoring_3", "monitoring_12"}

    await end(pair, AFTER_A_YEAR)

    assert await told(db, AFTER_A_YEAR + MINUTE) == []
    assert await listed(db, AFTER_A_YEAR + MINUTE) == []


@pytest.mark.parametrize("end", ENDS)
async def test_l5_on_a_match_that_has_ended_nothing_is_queued(db: Db, pair: Pair, end: End) -> None:
    await make_veilig_thuis(db, pair.a)
    await end(pair, MATCHED + DAY)

    await follow(db, *ALL)

    assert await db.fetchval("SELECT count(*) FROM notify.notice_step") == 0
    assert await db.fetchval("SELECT count(*) FROM followup.clock WHERE listed_on IS NULL") == 0


@pytest.mark.parametrize("end", [end_erased, end_deceased, end_by_destroy_by])
async def test_l4_of_a_destroyed_leg_no_step_notice_or_log_line_is_left(
    db: Db, pair: Pair, end: End
) -> None:
    await follow(db, REMINDED)

    await end(pair, REMINDED)

    rows = await db.fetch("SELECT signal_id FROM notify.notice_step")
    kept = [pair.signals[0]] if end is end_erased else []
    assert [row["signal_id"] for row in rows] == kept
    assert await db.fetchval("SELECT count(*) FROM notify.notice WHERE kind = 'reminder'") == len(
        kept
    )
    traces = await db.fetchval(
        "SELECT count(*) FROM audit.entry WHERE detail::text LIKE '%' || $1 || '%'",
        str(pair.signals[1]),
    )
    assert traces == 0


async def test_a4_veilig_thuis_looks_again_after_three_months_and_a_year(
    db: Db, pair: Pair
) -> None:
    await make_veilig_thuis(db, pair.b)
    await pair.says(pair.a, Outcome.SPOKEN)

    await follow(db, REMINDED, OVERDUE, LISTED, AFTER_3_MONTHS - MINUTE)
    assert await told(db, AFTER_3_MONTHS - MINUTE) == []
    await follow(db, AFTER_3_MONTHS)
    assert await told(db, AFTER_3_MONTHS) == [(pair.b.email, "monitoring_3")]
    await follow(db, AFTER_A_YEAR)

    letters = await reminders(db, AFTER_A_YEAR)
    assert [(each.recipient, each.step) for each in letters] == [
        (pair.b.email, "monitoring_3"),
        (pair.b.email, "monitoring_12"),
    ]
    (item,) = letters[0].items
    assert (item.reference, item.answer_url) == ("B-1", None)


async def test_a4_without_veilig_thuis_nobody_is_asked_to_look_again(db: Db, pair: Pair) -> None:
    await pair.says(pair.a, Outcome.SPOKEN)

    await follow(db, *ALL)

    assert await told(db, AFTER_A_YEAR) == []
    assert await db.fetchval("SELECT count(*) FROM followup.clock") == 0


async def test_a5_the_place_of_a_shielded_organisation_puts_no_match_on_a_list(
    db: Db, pair: Pair
) -> None:
    there = await make_municipality(db, pair.a.organisation, "GM0361")
    here = await make_municipality(db, pair.b.organisation, "GM0405")
    await make_officer(db, "follow_up_officer", municipality=there)
    officer = await make_officer(db, "follow_up_officer", municipality=here)
    await shield(db, pair.a.organisation)

    await follow(db, LISTED)

    assert await told(db, LISTED) == [(officer, "worklist")]
    (case,) = await list_cases(db, here, "o", LISTED)
    assert case.silent[0] == "Broker"
    assert await list_cases(db, there, "o", LISTED) == []


async def test_w3_a_reminder_to_who_left_goes_to_his_successor_and_names_no_file_of_another(
    db: Db, pair: Pair
) -> None:
    await follow(db, REMINDED)
    coordinator = await make_officer(db, "coordinator", pair.a.organisation)
    await db.execute("UPDATE registry.reporter SET ended_at = now() WHERE id = $1", pair.a.id)

    letters = {letter.recipient: letter for letter in await reminders(db, REMINDED)}

    assert letters.keys() == {coordinator, pair.b.email}
    assert letters[coordinator].items[0].reporter == f"Reporter {pair.a.id.hex[:6]}"
    assert letters[pair.b.email].items[0].reporter is None


async def test_w3_what_comes_back_from_a_coordinator_goes_to_the_next_in_line(
    db: Db, pair: Pair, pool: "Pool[Record]"
) -> None:
    await pair.says(pair.b, Outcome.NOT_REACHABLE)
    coordinators = [await make_officer(db, "coordinator", pair.a.organisation) for _ in range(2)]
    await follow(db, OVERDUE)
    desk = BounceDesk(
        pool, ReturnPath("bounces.test", LINK_KEY.sign), SECRETS.contact, Stopped(at=OVERDUE)
    )
    notice = await db.fetchval("SELECT id FROM notify.notice WHERE kind = 'overdue'")

    addresses = []
    for _ in range(3):
        ((address, step),) = await told(db, OVERDUE)
        assert step == "overdue"
        addresses.append(address)
        async with db.transaction():
            assert await desk.bury(db, notice, address) is Result.RELEASED

    assert sorted(addresses[:2]) == sorted(coordinators)
    assert addresses[2] == pair.a.email
    with pytest.raises(UndeliveredError):
        await told(db, OVERDUE)


async def test_w2_a_reminder_follows_a_file_to_who_took_it_over_and_the_rest_stays(
    db: Db, pair: Pair
) -> None:
    other = await make_pair(db, 2, of=(pair.a, pair.b))
    await pair.says(pair.b, Outcome.NOT_REACHABLE)
    await other.says(pair.b, Outcome.NOT_REACHABLE)
    await follow(db, REMINDED)
    colleague = await make_reporter(db, 8, pair.a.organisation)
    async with db.transaction():
        await follow_signals(db, [pair.signals[0]], Place(colleague.organisation, colleague.id))

    before = await told(db, REMINDED)
    after = await reminders(db, REMINDED)

    assert len(before) == 1
    assert {letter.recipient for letter in after} == {pair.a.email, colleague.email}
    files = {letter.recipient: [item.reference for item in letter.items] for letter in after}
    assert files == {pair.a.email: ["A-2"], colleague.email: ["A-1"]}


async def follow_signals(db: Db, signals: list[UUID], to: Place) -> None:
    """Give signals of one reporter to another, and leave him the rest."""
    await succession_store.update_signals(db, signals, to.reporter)
    await succession.follow(db, signals, to, MATCHED.date())


async def test_a2_any_number_of_workers_tell_each_step_once(
    db: Db, pool: "Pool[Record]", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_up, "BATCH", 3)
    await make_region(db)
    both = await make_reporters(db, 2)
    for child in range(1, 21):
        await make_pair(db, child, of=both)

    async def work(at: datetime) -> None:
        async with pool.acquire() as own:
            await follow(own, at)

    for at in (REMINDED, OVERDUE, LISTED):
        await asyncio.gather(*(work(at) for _ in range(4)))

    for kind in ("reminder", "overdue"):
        letters = [each for each in await reminders(db, LISTED) if each.step == kind]
        assert [len(letter.items) for letter in letters] == [20, 20]
    assert len(await listed(db, LISTED)) == 20


async def end_agreement(db: Db, somebody: Somebody, *, last: datetime) -> None:
    await db.execute(
        "UPDATE registry.agreement SET valid_to = $2 WHERE organisation_id = $1",
        somebody.organisation,
        last.date(),
    )


@pytest.mark.parametrize("at", [REMINDED, OVERDUE])
async def test_w2_neither_side_is_told_while_one_has_no_agreement_until_it_was_handed_over(
    db: Db, pair: Pair, at: datetime
) -> None:
    holder = await make_reporter(db, 8)
    await end_agreement(db, pair.a, last=MATCHED)
    await follow(db, at)
    with pytest.raises(UndeliveredError) as waits:
        await reminders(db, at)
    assert waits.value.outcome.result is Result.NOBODY
    with pytest.raises(UndeliveredError):
        await NoticeComposer(SECRETS.contact, Stopped(at=at)).compose(
            db, await db.fetchval("SELECT notice_id FROM notify.notice_step LIMIT 1")
        )

    await db.execute(
        "UPDATE registry.region SET holder_organisation_id = $1, holder_reporter_id = $2",
        holder.organisation,
        holder.id,
    )
    async with db.transaction():
        await hand_over(db, SECRETS.contact, at)

    assert {email for email, _ in await told(db, at)} == {holder.email, pair.b.email}


async def test_w2_what_waits_for_the_holder_keeps_no_other_match_from_the_mail(
    db: Db, pair: Pair
) -> None:
    third = await make_reporter(db, 8)
    other = await make_pair(db, 2, of=(pair.a, third))
    await follow(db, REMINDED)
    await end_agreement(db, pair.b, last=MATCHED)
    composer = NoticeComposer(SECRETS.contact, Stopped(at=REMINDED), LINKS)
    notice = await db.fetchval(
        "SELECT id FROM notify.notice WHERE kind = 'reminder' AND reporter_id = $1", pair.a.id
    )

    async with db.transaction():
        letter = await composer.compose(db, notice)

    assert isinstance(letter, ReminderLetter)
    assert [item.number for item in letter.items] == [other.number]
    waiting = await db.fetchval(
        "SELECT notice_id FROM notify.notice_step WHERE signal_id = $1", pair.signals[0]
    )
    with pytest.raises(UndeliveredError):
        await composer.recipient(db, waiting)


async def test_w2_the_officer_hears_of_a_listed_match_once_it_was_handed_over(
    db: Db, pair: Pair
) -> None:
    place = await make_municipality(db, pair.b.organisation)
    officer = await make_officer(db, "follow_up_officer", municipality=place)
    await end_agreement(db, pair.a, last=MATCHED)
    await follow(db, LISTED)
    notice = await db.fetchval("SELECT id FROM notify.notice WHERE kind = 'worklist'")
    composer = NoticeComposer(SECRETS.contact, Stopped(at=LISTED))
    with pytest.raises(UndeliveredError):
        await composer.recipient(db, notice)

    await db.execute("UPDATE registry.agreement SET valid_to = NULL")

    assert await composer.recipient(db, notice) == officer


async def test_l5_what_was_to_be_told_of_a_match_goes_with_it_when_it_was_void_for_long(
    db: Db, pair: Pair
) -> None:
    await follow(db, REMINDED)
    await pair.ends(pair.a, "unjustified", REMINDED)
    assert await told(db, REMINDED) == []

    async with db.transaction():
        await destroy_batch(db, REMINDED + 31 * DAY)

    assert await db.fetchval("SELECT count(*) FROM notify.notice_step") == 0
    assert await db.fetchval("SELECT count(*) FROM notify.notice") == 0
    assert await db.fetchval("SELECT count(*) FROM followup.clock") == 0


async def test_m7_nobody_is_reminded_of_a_match_with_himself(db: Db, pair: Pair) -> None:
    await follow(db, REMINDED)
    async with db.transaction():
        await follow_signals(db, [pair.signals[0]], Place(pair.b.organisation, pair.b.id))

    assert await told(db, REMINDED) == []
    await follow(db, OVERDUE, LISTED)
    assert await told(db, LISTED) == []
    assert await listed(db, LISTED) == []
