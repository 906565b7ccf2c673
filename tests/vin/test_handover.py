"""W2: when an agreement ends, the region's holder takes over the live signals."""

import asyncio
import json
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from matching.model import Status
from notify.carrier import UndeliveredError
from notify.letters import MatchLetter
from notify.retry import Result
from schemas.database import Db
from tests.world import SECRETS, Somebody, make_region, make_reporter, make_reporters, registration
from vin import handover
from vin.clock import Clock
from vin.errors import NotEntitledError, NotFoundError
from vin.handover import hand_over
from vin.matches import OwnMatch, Reader, Wanted, list_matches, match_batch
from vin.notices import NoticeComposer
from vin.retention import expire_batch
from vin.signals import (
    OwnSignal,
    Registered,
    Withdrawal,
    list_signals,
    read_signal,
    register_batch,
    withdraw,
)
from vin.signals import Wanted as WantedSignals

if TYPE_CHECKING:
    from asyncpg import Pool, Record

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
LAST_DAY = date(2026, 11, 24)
THAT_DAY = datetime(2026, 11, 24, 22, 59, tzinfo=UTC)
AFTER = datetime(2026, 11, 24, 23, 0, tzinfo=UTC)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NIL = UUID(int=0)


class Region:
    """Two organisations that matched, and the holder of a third."""

    def __init__(self, db: Db, reporters: list[Somebody]) -> None:
        self.db = db
        self.leaver, self.stayer, self.holder = reporters
        self.composer = NoticeComposer(SECRETS.contact, Clock())

    async def register(self, reporter: Somebody, child: int, reference: str = "D-1") -> UUID:
        request = registration(reporter, child, reference=reference)
        async with self.db.transaction():
            (answer,) = await register_batch(self.db, [request], SECRETS, NOW)
        assert isinstance(answer, Registered)
        return answer.signal.id

    async def match(self) -> None:
        async with self.db.transaction():
            await match_batch(self.db, 100, NOW)

    async def end_agreement(self, reporter: Somebody, last_day: date = LAST_DAY) -> None:
        await self.db.execute(
            "UPDATE registry.agreement SET valid_to = $2 WHERE organisation_id = $1",
            reporter.organisation,
            last_day,
        )

    async def hand_over(self, now: datetime = AFTER) -> int:
        async with self.db.transaction():
            return await hand_over(self.db, SECRETS.contact, now)

    async def signals(self, reporter: Somebody) -> list[OwnSignal]:
        wanted = WantedSignals(
            organisation=reporter.organisation, reporter_id=None, after=(EPOCH, NIL), limit=50
        )
        return (await list_signals(self.db, wanted, SECRETS.contact, AFTER))[0]

    async def matches(self, reporter: Somebody) -> list[OwnMatch]:
        wanted = Wanted(reporter_id=None, after=(EPOCH, NIL, NIL), limit=50)
        reader = Reader(organisation=reporter.organisation, client="client", request_id=uuid4())
        return (await list_matches(self.db, wanted, reader, SECRETS.contact, AFTER))[0]

    async def notice(self, reporter: Somebody) -> UUID:
        found: UUID = await self.db.fetchval(
            "SELECT id FROM notify.notice WHERE reporter_id = $1", reporter.id
        )
        return found


@pytest.fixture
async def region(db: Db) -> Region:
    await make_region(db)
    made = Region(db, await make_reporters(db, 3))
    await db.execute(
        "UPDATE registry.region SET holder_organisation_id = $1, holder_reporter_id = $2",
        made.holder.organisation,
        made.holder.id,
    )
    return made


async def test_w2_live_signals_go_to_the_holder_at_midnight_after_the_last_day(
    region: Region,
) -> None:
    signal = await region.register(region.leaver, 1, reference="D-77")
    await region.register(region.stayer, 1)
    await region.match()
    await region.end_agreement(region.leaver)

    assert await region.hand_over(THAT_DAY) == 0
    assert await region.hand_over(AFTER) == 1
    assert await region.hand_over(AFTER) == 0

    (own,) = await region.signals(region.holder)
    assert (own.id, own.reporter_id, own.reference) == (
        signal,
        region.holder.reporter_id,
        "D-77",
    )
    assert await region.signals(region.leaver) == []
    assert len(await region.signals(region.stayer)) == 1


async def test_w2_matches_and_undelivered_notices_follow_with_the_holders_contact_data(
    region: Region,
) -> None:
    signal = await region.register(region.leaver, 1, reference="D-77")
    await region.register(region.stayer, 1)
    await region.match()
    await region.end_agreement(region.leaver)

    await region.hand_over()

    (side,) = await region.matches(region.holder)
    assert (side.signal, side.reference) == (signal, "D-77")
    assert side.other
    assert side.other[0].email == region.stayer.email
    assert await region.matches(region.leaver) == []
    (seen,) = await region.matches(region.stayer)
    assert seen.other
    assert seen.other[0].email == region.holder.email

    async with region.db.transaction():
        letter = await region.composer.compose(region.db, await region.notice(region.holder))
    assert isinstance(letter, MatchLetter)
    assert letter.recipient == region.holder.email
    assert [item.reference for item in letter.items] == ["D-77"]
    assert await region.notice(region.leaver) is None


async def test_w2_delivered_notices_stay_with_whom_they_reached(region: Region) -> None:
    await region.register(region.leaver, 1)
    await region.register(region.stayer, 1)
    await region.match()
    await region.db.execute("UPDATE notify.delivery SET state = 'sent'")
    await region.end_agreement(region.leaver)

    await region.hand_over()

    assert await region.notice(region.leaver)


async def test_w2_the_former_organisation_has_no_part_in_it_any_more(region: Region) -> None:
    request = registration(region.leaver, 1)
    async with region.db.transaction():
        (first,) = await register_batch(region.db, [request], SECRETS, NOW)
    assert isinstance(first, Registered)
    await region.end_agreement(region.leaver)
    await region.hand_over()

    async with region.db.transaction():
        (again,) = await register_batch(region.db, [request], SECRETS, AFTER)
    assert isinstance(again, NotEntitledError)
    with pytest.raises(NotFoundError):
        await read_signal(
            region.db, first.signal.id, region.leaver.organisation, SECRETS.contact, AFTER
        )
    withdrawal = Withdrawal(
        organisation=region.leaver.organisation,
        client="client",
        request_id=uuid4(),
        signal=first.signal.id,
        ground="risk_gone",
    )
    with pytest.raises(NotFoundError):
        await withdraw(region.db, withdrawal, AFTER)


async def test_w2_the_holder_withdraws_and_registers_what_he_took_over_as_his_own(
    region: Region,
) -> None:
    taken, twice, own = (
        await region.register(region.leaver, 1),
        await region.register(region.leaver, 2),
        await region.register(region.holder, 2),
    )
    await region.end_agreement(region.leaver)
    await region.hand_over()

    assert await region.register(region.holder, 1) == taken
    assert await region.register(region.holder, 2) == own
    withdrawal = Withdrawal(
        organisation=region.holder.organisation,
        client="client",
        request_id=uuid4(),
        signal=taken,
        ground="risk_gone",
    )
    await withdraw(region.db, withdrawal, AFTER)
    assert {each.id: each.status for each in await region.signals(region.holder)} == {
        taken: "ended",
        twice: "live",
        own: "live",
    }


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE registry.region SET holder_organisation_id = NULL, holder_reporter_id = NULL",
        "UPDATE registry.agreement SET valid_to = '2027-01-01'",
        "UPDATE registry.agreement SET valid_to = NULL",
        "DELETE FROM registry.agreement",
    ],
)
async def test_w2_nothing_moves_without_a_holder_or_unless_the_last_agreement_ended(
    region: Region, change: str
) -> None:
    await region.register(region.leaver, 1)
    await region.end_agreement(region.leaver)
    await region.db.execute(change)

    assert await region.hand_over() == 0
    assert len(await region.signals(region.leaver)) == 1


async def test_w2_nothing_moves_between_two_agreements(region: Region) -> None:
    await region.register(region.leaver, 1)
    await region.end_agreement(region.leaver)
    await region.db.execute(
        "INSERT INTO registry.agreement VALUES ($1, '2026-12-01', NULL)",
        region.leaver.organisation,
    )

    assert await region.hand_over() == 0


async def test_w2_the_holder_keeps_his_own_when_his_agreement_ends(region: Region) -> None:
    await region.register(region.holder, 1)
    await region.end_agreement(region.holder)

    assert await region.hand_over() == 0


async def test_w2_what_had_ended_before_stays(region: Region) -> None:
    withdrawn, expired = [await region.register(region.leaver, child) for child in (1, 2)]
    withdrawal = Withdrawal(
        organisation=region.leaver.organisation,
        client="client",
        request_id=uuid4(),
        signal=withdrawn,
        ground="risk_gone",
    )
    await withdraw(region.db, withdrawal, NOW)
    await region.db.execute(
        "UPDATE matching.signal SET remove_on = $2 WHERE id = $1",
        expired,
        LAST_DAY + timedelta(days=1),
    )
    await region.end_agreement(region.leaver)

    assert await region.hand_over() == 0


@pytest.mark.parametrize("sweep_first", [True, False])
async def test_w2_after_a_standstill_it_does_not_matter_who_sweeps_first(
    region: Region, *, sweep_first: bool
) -> None:
    signal = await region.register(region.leaver, 1)
    await region.db.execute(
        "UPDATE matching.signal SET remove_on = $1", LAST_DAY + timedelta(days=2)
    )
    await region.end_agreement(region.leaver)
    later = AFTER + timedelta(days=30)

    if sweep_first:
        assert await expire_batch(region.db, later) == 1
    assert await region.hand_over(later) == 1
    if not sweep_first:
        assert await expire_batch(region.db, later) == 1

    row = await region.db.fetchrow("SELECT id, reporter_id, status FROM matching.signal")
    assert row
    assert tuple(row) == (signal, region.holder.id, "ended")


async def test_w2_each_batch_is_logged_for_each_organisation_that_left(region: Region) -> None:
    colleague = await make_reporter(region.db, 9, region.leaver.organisation)
    for reporter in (region.leaver, colleague, region.stayer):
        await region.register(reporter, 1)
        await region.end_agreement(reporter)
    await region.hand_over()

    rows = await region.db.fetch(
        """
        SELECT object_id, actor, detail FROM audit.entry WHERE event = 'signals.handed_over'
        """
    )

    assert {row["object_id"]: json.loads(row["detail"]) for row in rows} == {
        region.leaver.organisation: {"signals": 2, "holder": str(region.holder.id)},
        region.stayer.organisation: {"signals": 1, "holder": str(region.holder.id)},
    }
    assert {row["actor"] for row in rows} == {"sweeper"}


async def test_w2_many_workers_move_each_signal_once(
    pool: "Pool[Record]", region: Region, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handover, "BATCH", 7)
    for child in range(40):
        await region.register(region.leaver, child)
        await region.register(region.stayer, child)
    await region.match()
    await region.end_agreement(region.leaver)
    await region.end_agreement(region.stayer)

    async def worker() -> int:
        moved, idle = 0, 0
        while idle < 3:
            async with pool.acquire() as db, db.transaction():
                done = await hand_over(db, SECRETS.contact, AFTER)
            moved += done
            idle = 0 if done else idle + 1
        return moved

    assert sum(await asyncio.gather(*(worker() for _ in range(4)))) == 80
    for table in ("matching.signal", "matching.match_side", "notify.notice", "matching.live_child"):
        rows = await region.db.fetch(f"SELECT reporter_id FROM {table}")  # noqa: S608
        assert {row["reporter_id"] for row in rows} == {region.holder.id}, table
    children = await region.db.fetchval("SELECT count(DISTINCT key) FROM matching.live_child")
    assert children == 40


async def test_w2_a_letter_that_is_being_written_goes_to_the_holder_or_was_sent_before(
    pool: "Pool[Record]", region: Region
) -> None:
    await region.register(region.leaver, 1)
    await region.register(region.stayer, 1)
    await region.match()
    await region.end_agreement(region.leaver)
    notice = await region.notice(region.leaver)

    async with pool.acquire() as moving:
        mover = moving.transaction()
        await mover.start()
        assert await hand_over(moving, SECRETS.contact, AFTER) == 1
        writing = asyncio.create_task(compose(pool, region, notice))
        await asyncio.sleep(0.2)
        assert not writing.done()
        await mover.commit()

    with pytest.raises(UndeliveredError) as given_back:
        await writing
    assert given_back.value.outcome.result is Result.RELEASED
    assert await region.composer.recipient(region.db, notice) == region.holder.email


async def compose(pool: "Pool[Record]", region: Region, notice: UUID) -> object:
    async with pool.acquire() as db, db.transaction():
        return await region.composer.compose(db, notice)


async def test_w2_a_signal_that_is_in_use_is_left_to_the_next_turn(
    pool: "Pool[Record]", region: Region
) -> None:
    await region.register(region.leaver, 1)
    await region.end_agreement(region.leaver)

    async with pool.acquire() as using, using.transaction():
        await using.execute("SELECT id FROM matching.signal FOR SHARE")
        assert await region.hand_over() == 0
    assert await region.hand_over() == 1


async def test_w2_who_succeeded_the_holder_takes_over(region: Region) -> None:
    signal = await region.register(region.leaver, 1)
    successor = await make_reporter(region.db, 77, region.holder.organisation)
    await region.db.execute(
        "UPDATE registry.reporter SET ended_at = now(), successor_id = $2 WHERE id = $1",
        region.holder.id,
        successor.id,
    )
    await region.end_agreement(region.leaver)

    assert await region.hand_over() == 1

    owner = "SELECT reporter_id FROM matching.signal WHERE id = $1"
    assert await region.db.fetchval(owner, signal) == successor.id


async def test_m7_a_match_of_the_former_with_the_holder_closes(region: Region) -> None:
    await region.register(region.leaver, 1)
    await region.register(region.holder, 1)
    await region.match()
    await region.end_agreement(region.leaver)

    await region.hand_over()

    sides = await region.matches(region.holder)
    assert [(each.status, each.other) for each in sides] == [(Status.CLOSED, None)] * 2


async def test_w2_before_the_hand_over_nobody_is_shown_and_mails_wait(region: Region) -> None:
    await region.register(region.leaver, 1)
    await region.register(region.stayer, 1)
    await region.match()
    notices = [await region.notice(each) for each in (region.leaver, region.stayer)]
    await region.end_agreement(region.leaver)
    composer = NoticeComposer(SECRETS.contact, Clock(AFTER - await Clock().now(region.db)))

    for side in (region.leaver, region.stayer):
        assert [each.other for each in await region.matches(side)] == [None]
    for notice in notices:
        with pytest.raises(UndeliveredError) as waits:
            await composer.compose(region.db, notice)
        assert waits.value.outcome.result is Result.NOBODY
