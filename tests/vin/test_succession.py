"""W3: who leaves is succeeded, and no notice goes to him (S12)."""

import json
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from matching.model import Status
from notify.carrier import UndeliveredError
from notify.retry import Result
from schemas.database import Db
from tests.officers import make_municipality, make_officer
from tests.team import EPOCH, NIL, NOW, TODAY, Team, make_team
from tests.world import SECRETS, Somebody
from vin.errors import InvalidBodyError, NotFoundError
from vin.registry import entitle, select_contacts, select_recipients
from vin.reporters import Wanted, list_reporters
from vin.reporters import read_reporter as read
from vin.signals import Withdrawal, withdraw


@pytest.fixture
async def team(db: Db) -> Team:
    return await make_team(db)


async def end_signal(team: Team, reporter: Somebody, signal: UUID, ground: str) -> None:
    request = Withdrawal(
        organisation=reporter.organisation,
        client="client",
        request_id=uuid4(),
        signal=signal,
        ground=ground,
    )
    async with team.db.transaction():
        await withdraw(team.db, request, NOW)


async def test_s12_a_successor_gets_signals_matches_and_notices(team: Team) -> None:
    signal = await team.register(team.one, 1)
    await team.register(team.other, 1)
    await team.match()

    await team.end(team.one, team.two)

    assert [each.id for each in await team.signals(team.two)] == [signal]
    assert [each.reporter_id for each in await team.signals(team.two)] == [team.two.reporter_id]
    assert await team.signals(team.one) == []
    assert [each.signal for each in await team.matches(team.two)] == [signal]
    assert await team.seen_by_other() == [team.two.email]
    assert await team.letters() == [(team.two.email, team.other.email)]


async def test_s12_without_a_successor_it_is_the_coordinator_then_the_officer_then_it_waits(
    team: Team,
) -> None:
    signal = await team.register(team.one, 1)
    await team.register(team.other, 1)
    await team.match()
    code = await make_municipality(team.db, team.organisation)
    officer = await make_officer(team.db, "follow_up_officer", municipality=code)
    await make_officer(team.db, "coordinator", team.other.organisation)
    coordinator = await make_officer(team.db, "coordinator", team.organisation)

    await team.end(team.one)

    assert [each.id for each in await team.signals(team.one)] == [signal]
    assert await team.letters() == [(coordinator, team.other.email)]
    assert await team.seen_by_other() == [coordinator]

    await team.db.execute("DELETE FROM registry.officer WHERE role = 'coordinator'")
    assert await team.letters() == [(officer, team.other.email)]
    assert await team.seen_by_other() == [officer]

    await team.db.execute("DELETE FROM registry.officer")
    assert await team.seen_by_other() == [None]
    for attempt in (team.addresses, team.letters):
        with pytest.raises(UndeliveredError) as waits:
            await attempt()
        assert waits.value.outcome.result is Result.NOBODY

    coordinator = await make_officer(team.db, "coordinator", team.organisation)
    assert await team.letters() == [(coordinator, team.other.email)]


async def test_w3_a_letter_waits_while_the_other_side_has_nobody_and_is_dropped_once_closed(
    team: Team,
) -> None:
    await team.register(team.one, 1)
    signal = await team.register(team.other, 1)
    await team.match()
    await team.end(team.one)
    (notice,) = await team.db.fetch(
        "SELECT id FROM notify.notice WHERE reporter_id = $1", team.other.id
    )

    with pytest.raises(UndeliveredError) as waits:
        await team.composer.compose(team.db, notice["id"])
    assert waits.value.outcome.result is Result.NOBODY

    await end_signal(team, team.other, signal, "risk_gone")

    assert await team.addresses() == {None}


async def test_w3_a_municipalitys_officer_is_not_another_municipalitys(team: Team) -> None:
    await make_municipality(team.db, team.organisation, "GM0361")
    await make_municipality(team.db, team.other.organisation, "GM0373")
    await make_officer(team.db, "follow_up_officer", municipality="GM0373")
    await make_officer(team.db, "auditor")
    await team.end(team.one)

    assert await select_recipients(team.db, [team.one.id], TODAY) == {}


async def test_w3_successors_of_successors_are_followed_and_the_last_ones_coordinator(
    team: Team,
) -> None:
    await team.register(team.one, 1)
    await team.register(team.other, 1)
    await team.match()
    await team.end(team.one, team.two)
    await team.end(team.two, team.three)

    assert await team.letters() == [(team.three.email, team.other.email)]
    found = await select_recipients(team.db, [team.one.id, team.two.id, team.three.id], TODAY)
    assert [each.open(SECRETS.contact).email for each in found.values()] == [team.three.email] * 3

    coordinator = await make_officer(team.db, "coordinator", team.organisation)
    await team.end(team.three)

    assert await team.letters() == [(coordinator, team.other.email)]
    found = await select_contacts(team.db, [team.one.id, uuid4()], TODAY)
    assert [each.open(SECRETS.contact).email for each in found.values()] == [coordinator]


async def test_w3_the_archive_goes_along_and_what_was_unjustified_stays(team: Team) -> None:
    archived, unjustified = [await team.register(team.one, child) for child in (1, 2)]
    await end_signal(team, team.one, archived, "risk_gone")
    await end_signal(team, team.one, unjustified, "unjustified")

    await team.end(team.one, team.two)

    assert [each.id for each in await team.signals(team.two)] == [archived]
    assert [each.id for each in await team.signals(team.one)] == [unjustified]


async def test_m7_the_successors_own_signal_on_the_child_stays_the_one_that_is_returned(
    team: Team,
) -> None:
    moved = await team.register(team.one, 1)
    alone = await team.register(team.one, 2)
    own = await team.register(team.two, 1)
    await team.match()

    await team.end(team.one, team.two)

    assert {each.id for each in await team.signals(team.two)} == {moved, alone, own}
    assert await team.register(team.two, 1) == own
    assert await team.register(team.two, 2) == alone


async def test_m7_an_expired_signal_of_the_successor_does_not_count_however_late_the_sweeper(
    team: Team,
) -> None:
    own = await team.register(team.two, 1)
    moved = await team.register(team.one, 1)
    await team.db.execute("UPDATE matching.signal SET remove_on = $2 WHERE id = $1", own, TODAY)

    await team.end(team.one, team.two)

    assert await team.register(team.two, 1) == moved


async def test_s03_signals_that_came_to_one_reporter_do_not_match_any_more(team: Team) -> None:
    await team.register(team.one, 1)
    await team.end(team.one, team.two)
    await team.register(team.two, 1, reference="D-2")
    await team.register(team.three, 1)
    await team.match()

    matched = await team.db.fetch("SELECT reporter_id FROM matching.match_side")

    assert {row["reporter_id"] for row in matched} == {team.two.id, team.three.id}
    assert len(matched) == 2


async def test_w3_delivered_notices_keep_the_reporter_who_got_them(team: Team) -> None:
    await team.register(team.one, 1)
    await team.register(team.other, 1)
    await team.match()
    await team.db.execute("UPDATE notify.delivery SET state = 'sent'")

    await team.end(team.one, team.two)

    assert await team.db.fetchval(
        "SELECT count(*) FROM notify.notice WHERE reporter_id = $1", team.one.id
    )


@pytest.mark.parametrize("who", ["himself", "stranger", "left", "unknown"])
async def test_w3_only_a_colleague_who_is_still_there_can_succeed(team: Team, who: str) -> None:
    await team.register(team.one, 1)
    await team.end(team.three)
    unknown = replace(team.two, reporter_id="unknown")
    successor = {
        "himself": team.one,
        "stranger": team.other,
        "left": team.three,
        "unknown": unknown,
    }[who]

    with pytest.raises(InvalidBodyError) as error:
        await team.end(team.one, successor)

    assert [(fault.name, fault.code) for fault in error.value.faults] == [
        ("successorId", "unknown")
    ]
    assert len(await team.signals(team.one)) == 1
    assert await select_reporter_ids(team) == {team.one.reporter_id, team.two.reporter_id}


async def select_reporter_ids(team: Team) -> set[str]:
    """The organisation's reporters as it lists them."""
    wanted = Wanted(after=(EPOCH, NIL), limit=50)
    listed, _ = await list_reporters(team.db, wanted, team.actor, SECRETS.contact, NOW)
    return {each.reporter_id for each in listed}


async def test_w3_who_left_is_not_there_any_more(team: Team) -> None:
    await team.end(team.one)

    with pytest.raises(NotFoundError):
        await read(team.db, team.one.reporter_id, team.actor, SECRETS.contact, NOW)
    with pytest.raises(NotFoundError):
        await team.end(team.one)
    with pytest.raises(NotFoundError):
        await team.end(replace(team.other, organisation=team.organisation))
    assert await select_reporter_ids(team) == {team.two.reporter_id, team.three.reporter_id}
    assert await entitle(team.db, [(team.organisation, team.one.reporter_id)], TODAY) == {}


async def test_w3_who_is_designated_anew_is_new_and_what_moved_stays_with_the_successor(
    team: Team,
) -> None:
    moved = await team.register(team.one, 1)
    kept = await team.register(team.three, 2)
    await team.end(team.one, team.two)
    await team.end(team.three)

    assert await team.designate(team.one, "back.one@school.test")
    assert await team.designate(team.three, "back.three@school.test")
    assert not await team.designate(team.three, "back.three@school.test")

    assert [each.id for each in await team.signals(team.two)] == [moved]
    assert [each.id for each in await team.signals(team.three)] == [kept]
    found = await select_recipients(team.db, [team.one.id, team.three.id], TODAY)
    assert [each.open(SECRETS.contact).email for each in found.values()] == [
        "back.one@school.test",
        "back.three@school.test",
    ]
    back = await read(team.db, team.one.reporter_id, team.actor, SECRETS.contact, NOW)
    assert back.designated_at == NOW
    events = await team.db.fetch("SELECT event FROM audit.entry WHERE event LIKE 'reporter.%'")
    assert [row["event"] for row in events] == [
        "reporter.ended",
        "reporter.ended",
        "reporter.designated",
        "reporter.designated",
    ]


async def test_g3_the_end_of_a_designation_is_logged_with_who_took_over_what(team: Team) -> None:
    await team.register(team.one, 1)
    await team.end(team.one, team.two)
    await team.end(team.three)

    rows = await team.db.fetch(
        "SELECT object_id, actor, detail FROM audit.entry WHERE event = 'reporter.ended'"
    )

    assert [(row["object_id"], row["actor"], json.loads(row["detail"])) for row in rows] == [
        (team.one.id, "client", {"signals": 1, "successor": str(team.two.id)}),
        (team.three.id, "client", {"signals": 0}),
    ]


async def test_w3_an_open_match_stays_open_when_one_side_is_succeeded(team: Team) -> None:
    await team.register(team.one, 1)
    await team.register(team.other, 1)
    await team.match()
    (before,) = await team.matches(team.other)

    await team.end(team.one, team.two)

    (after,) = await team.matches(team.other)
    assert (after.number, after.status) == (before.number, Status.OPEN)
    assert after.matched_at == before.matched_at


async def test_a_notice_that_is_gone_has_nobody_to_reach_and_nothing_to_say(team: Team) -> None:
    assert await team.composer.recipient(team.db, uuid4()) is None
    assert await team.composer.compose(team.db, uuid4()) is None


async def test_m7_when_the_successors_own_signal_ends_the_one_that_came_to_him_is_returned(
    team: Team,
) -> None:
    came = await team.register(team.one, 1)
    own = await team.register(team.two, 1)
    await team.end(team.one, team.two)
    assert await team.register(team.two, 1) == own

    await end_signal(team, team.two, own, "risk_gone")

    assert await team.register(team.two, 1) == came
    await team.end(team.two, team.three)
    assert await team.register(team.three, 1) == came


async def test_m7_a_match_between_signals_that_came_to_one_reporter_closes(team: Team) -> None:
    signal = await team.register(team.one, 1)
    await team.register(team.two, 1)
    await team.db.execute(
        "UPDATE matching.signal SET match_unit_id = gen_random_uuid() WHERE id = $1", signal
    )
    await team.match()
    assert [each.status for each in await team.matches(team.one)] == [Status.OPEN]

    await team.end(team.one, team.two)

    sides = await team.matches(team.two)
    assert [(each.status, each.other) for each in sides] == [(Status.CLOSED, None)] * 2
    assert await team.letters() == []
