"""The end of a signal on real PostgreSQL (L1-L5), and what is left of it: nothing."""

import asyncio
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg
import pytest

from matching.model import Status
from schemas.database import Db
from tests.changing import rehouse
from tests.dump import dumped
from tests.steps import FIRST, NOW, end, look, match_all, reader, register, sides_of
from tests.world import SECRETS, Somebody, make_region, make_reporters, registration, token
from vin import retention, signals
from vin.clock import Clock
from vin.errors import NotFoundError, SignalEndedError, UnavailableError
from vin.matches import Wanted, list_matches
from vin.notices import NoticeComposer
from vin.retention import Ending, destroy_batch, end_by_operator, expire_batch
from vin.sweeper import sweep_turn

if TYPE_CHECKING:
    from asyncpg import Pool, Record

TWO_YEARS_ON = datetime(2028, 11, 21, 23, 30, tzinfo=UTC)


@pytest.fixture
async def reporters(db: Db) -> list[Somebody]:
    await make_region(db)
    return await make_reporters(db, 3)


async def sweep(db: Db, now: datetime) -> int:
    async with db.transaction():
        return await destroy_batch(db, now) + await expire_batch(db, now)


@pytest.mark.parametrize(
    ("registered", "removed"),
    [
        (datetime(2026, 11, 22, 10, tzinfo=UTC), date(2028, 11, 22)),
        (datetime(2028, 2, 29, 10, tzinfo=UTC), date(2030, 3, 1)),
        (datetime(2026, 11, 22, 23, 30, tzinfo=UTC), date(2028, 11, 23)),
    ],
)
async def test_l1_a_signal_is_removed_two_years_later_by_the_dutch_calendar(
    db: Db, reporters: list[Somebody], registered: datetime, removed: date
) -> None:
    (signal,) = await register(db, registration(reporters[0], 1), now=registered)

    assert (await look(db, signal, reporters[0], registered)).remove_on == removed


# The last Sunday of March and of October: at 00:00 local the offset is still the old one.
@pytest.mark.parametrize(
    ("remove_on", "midnight"),
    [
        (date(2027, 3, 28), datetime(2027, 3, 27, 23, tzinfo=UTC)),
        (date(2027, 3, 29), datetime(2027, 3, 28, 22, tzinfo=UTC)),
        (date(2027, 10, 31), datetime(2027, 10, 30, 22, tzinfo=UTC)),
        (date(2027, 11, 1), datetime(2027, 10, 31, 23, tzinfo=UTC)),
        (date(2028, 2, 29), datetime(2028, 2, 28, 23, tzinfo=UTC)),
    ],
)
@pytest.mark.parametrize("swept", [True, False])
async def test_s05_a_minute_before_and_after_the_end_also_when_the_clock_changes(
    db: Db, reporters: list[Somebody], remove_on: date, midnight: datetime, *, swept: bool
) -> None:
    minute = timedelta(minutes=1)
    request = replace(registration(reporters[0], 1), remove_on=remove_on)
    (signal,) = await register(db, request)

    for now, status in ((midnight - minute, "live"), (midnight + minute, "ended")):
        if swept:
            await sweep(db, now)
        assert (await look(db, signal, reporters[0], now)).status == status
    (before,) = await register(db, registration(reporters[1], 1), now=midnight - minute)
    (after,) = await register(db, registration(reporters[2], 1), now=midnight + minute)
    await match_all(db, now=midnight + minute)

    kinds = await db.fetch("SELECT signal_a, signal_b FROM matching.match")
    pairs = {frozenset(pair.values()) for pair in kinds}
    assert frozenset({before, after}) in pairs
    assert frozenset({signal, after}) not in pairs
    assert frozenset({signal, before}) in pairs
    assert (await look(db, after, reporters[2], midnight + minute)).history_notice_id


async def test_l5_when_a_leg_expires_its_match_closes_whether_or_not_it_was_swept(
    db: Db, reporters: list[Somebody]
) -> None:
    short = replace(registration(reporters[0], 1), remove_on=date(2026, 12, 1))
    await register(db, short, registration(reporters[1], 1))
    await match_all(db)
    composer = NoticeComposer(SECRETS.contact, Clock(timedelta(days=3650)))
    later = datetime(2026, 12, 1, tzinfo=UTC)

    for _ in range(2):
        (side,) = await sides_of(db, reporters[1], later)
        assert side.status is Status.CLOSED
        assert side.other is None
        await sweep(db, later)
    for row in await db.fetch("SELECT id FROM notify.notice"):
        async with db.transaction():
            assert await composer.compose(db, row["id"]) is None


async def test_l2_l3_an_unjustified_signal_keeps_no_token_and_goes_after_a_month(
    db: Db, reporters: list[Somebody]
) -> None:
    signal, _ = await register(db, *(registration(each, 1, parents=[1]) for each in reporters[:2]))
    await match_all(db)
    await end(db, signal, reporters[0], "unjustified")

    kept = "SELECT count(*) FROM matching.token WHERE signal_id = $1"
    assert await db.fetchval(kept, signal) == 0
    (side,) = await sides_of(db, reporters[1])
    assert side.status is Status.VOID
    assert await sweep(db, NOW + timedelta(days=29)) == 0
    assert await sweep(db, NOW + timedelta(days=31)) == 1
    assert await sides_of(db, reporters[1]) == []


async def test_l3_the_archive_ends_after_five_years(db: Db, reporters: list[Somebody]) -> None:
    (signal,) = await register(db, registration(reporters[0], 1))
    await end(db, signal, reporters[0])

    assert await sweep(db, datetime(2031, 11, 21, 22, tzinfo=UTC)) == 0
    assert await sweep(db, datetime(2031, 11, 22, 0, tzinfo=UTC)) == 1
    assert await db.fetchval("SELECT count(*) FROM matching.signal") == 0


async def test_s06_at_the_23rd_birthday_own_leg_and_mail_go_and_the_siblings_signal_stays(
    db: Db, db_url: str, reporters: list[Somebody]
) -> None:
    grown = replace(registration(reporters[0], 1, parents=[1]), destroy_by=date(2027, 3, 1))
    gone, sibling = await register(db, grown, registration(reporters[1], 2, parents=[1]))
    await match_all(db)
    eve = datetime(2027, 2, 28, 22, 59, tzinfo=UTC)
    birthday = datetime(2027, 2, 28, 23, 1, tzinfo=UTC)
    traces = await traces_of(db, gone)

    assert len(await sides_of(db, reporters[1], eve)) == 1
    assert await sides_of(db, reporters[1], birthday) == []
    with pytest.raises(NotFoundError):
        await look(db, gone, reporters[0], birthday)
    assert await sweep(db, eve) == 0
    assert await sweep(db, birthday) == 1

    assert (await look(db, sibling, reporters[1], birthday)).status == "live"
    await nothing_left(db_url, traces)


async def traces_of(db: Db, signal: UUID) -> list[str]:
    """All ids that exist because of a signal: itself, its matches, notices and deliveries."""
    rows = await db.fetch(
        """
        SELECT $1::uuid AS id
         UNION SELECT match_id FROM matching.match_side WHERE signal_id = $1
         UNION SELECT notice_match.notice_id FROM notify.notice_match
                 JOIN matching.match_side USING (match_id) WHERE match_side.signal_id = $1
         UNION SELECT delivery.id FROM notify.delivery
                 JOIN notify.notice_match USING (notice_id)
                 JOIN matching.match_side ON match_side.match_id = notice_match.match_id
                WHERE match_side.signal_id = $1
        """,
        signal,
    )
    return [str(row["id"]) for row in rows]


async def nothing_left(db_url: str, traces: list[str]) -> None:
    content = (await dumped(db_url)).decode()
    assert [trace for trace in traces if trace in content] == []


async def test_g3_of_the_log_actor_action_time_and_result_stay(
    db: Db, db_url: str, reporters: list[Somebody]
) -> None:
    (signal,) = await register(db, registration(reporters[0], 1))
    before = await db.fetchrow("SELECT id, at, event, actor, result FROM audit.entry")

    await sweep(db, NOW + timedelta(days=366 * 7))

    after = await db.fetchrow("SELECT id, at, event, actor, result FROM audit.entry LIMIT 1")
    assert before == after
    await nothing_left(db_url, [str(signal)])


@pytest.mark.parametrize("ground", ["erased", "objected"])
async def test_l5_an_erased_leg_leaves_a_void_match_and_nothing_of_itself(
    db: Db, db_url: str, reporters: list[Somebody], ground: str
) -> None:
    gone, stays = await register(db, *(registration(each, 1) for each in reporters[:2]))
    await match_all(db)
    notice = await db.fetchval(
        "SELECT notice_id FROM notify.notice_match WHERE signal_id = $1", gone
    )
    order = Ending(signal=gone, ground=ground, purpose="request", operator="operator")

    async with db.transaction():
        assert await end_by_operator(db, order, NOW) == 1

    (side,) = await sides_of(db, reporters[1])
    assert side.status is Status.VOID
    assert side.signal == stays
    assert side.other is None
    await nothing_left(db_url, [str(gone), str(notice)])
    entry = await db.fetchrow("SELECT * FROM audit.entry WHERE event = 'signal.ended'")
    assert entry
    assert (entry["actor"], entry["purpose"]) == ("operator", "request")
    async with db.transaction():
        await end_by_operator(db, replace(order, signal=stays), NOW)
    assert await db.fetchval("SELECT count(*) FROM matching.match") == 0


async def test_s11_after_a_death_all_signals_on_the_child_go_first(
    db: Db, db_url: str, reporters: list[Somebody]
) -> None:
    first, second, sibling = await register(
        db,
        registration(reporters[0], 1, parents=[1]),
        registration(reporters[1], 1, parents=[1]),
        registration(reporters[2], 2, parents=[1]),
    )
    await match_all(db)
    traces = [*await traces_of(db, first), *await traces_of(db, second)]
    order = Ending(signal=first, ground="deceased", purpose="register", operator="operator")

    async with db.transaction():
        assert await end_by_operator(db, order, NOW) == 2

    assert (await look(db, sibling, reporters[2])).status == "live"
    assert await sides_of(db, reporters[2]) == []
    await nothing_left(db_url, [*traces, str(token(1, 1).lookup)])


@pytest.mark.parametrize("ground", ["erased", "deceased"])
async def test_a_signal_that_is_gone_cannot_be_ended_again(
    db: Db, reporters: list[Somebody], ground: str
) -> None:
    (signal,) = await register(db, registration(reporters[0], weak=1))
    order = Ending(signal=signal, ground=ground, purpose="request", operator="operator")
    async with db.transaction():
        await end_by_operator(db, order, NOW)

    with pytest.raises(NotFoundError):
        await end_by_operator(db, order, NOW)


async def test_l1_a_signal_past_its_date_cannot_be_withdrawn(
    db: Db, reporters: list[Somebody]
) -> None:
    (signal,) = await register(db, registration(reporters[0], 1))

    with pytest.raises(SignalEndedError):
        await end(db, signal, reporters[0], now=TWO_YEARS_ON)


async def test_the_sweeper_catches_up_in_batches_with_any_number_of_workers(
    pool: "Pool[Record]", db: Db, reporters: list[Somebody], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 7)
    due = [
        replace(registration(each, child), remove_on=date(2026, 12, 1 + child % 5))
        for child in range(20)
        for each in reporters
    ]
    await register(db, *due)
    await match_all(db, limit=500)
    clock = Clock(timedelta(days=20))

    async def work() -> int:
        total = 0
        while done := await sweep_turn(pool, clock):
            total += done
        return total

    assert sum(await asyncio.gather(*(work() for _ in range(3)))) == 60
    assert await db.fetchval("SELECT count(*) FROM matching.signal WHERE status = 'live'") == 0
    assert await db.fetchval("SELECT count(*) FROM matching.match WHERE status = 'open'") == 0
    assert await db.fetchval("SELECT count(*) FROM matching.live_child") == 0


async def test_a6_the_number_of_a_destroyed_match_is_never_given_again(
    db: Db, reporters: list[Somebody]
) -> None:
    await register(db, *(registration(each, 1) for each in reporters[:2]))
    await match_all(db)
    number = await db.fetchval("SELECT number FROM matching.match")

    await sweep(db, NOW + timedelta(days=366 * 7))

    assert await db.fetchval("SELECT count(*) FROM matching.match") == 0
    assert await db.fetchval("SELECT number FROM matching.given_number") == number


async def test_what_nobody_can_ask_for_any_more_is_forgotten(
    db: Db, reporters: list[Somebody]
) -> None:
    await register(db, registration(reporters[0], 1), registration(reporters[1], 1))
    await db.execute(
        """
        WITH old AS (SELECT key FROM matching.idempotency LIMIT 1)
        UPDATE matching.idempotency SET remembered_at = now() - interval '8 days'
          FROM old WHERE idempotency.key = old.key
        """
    )
    await db.execute("UPDATE matching.permit SET expires_at = now() - interval '2 hours'")
    await db.execute(
        """
        INSERT INTO registry.assertion VALUES ('client', 'old', now() - interval '2 hours'),
                                              ('client', 'new', now())
        """
    )

    await retention.forget_old(db)

    for table, left in (
        ("matching.idempotency", 1),
        ("matching.permit", 0),
        ("registry.assertion", 1),
    ):
        assert await db.fetchval(f"SELECT count(*) FROM {table}") == left  # noqa: S608


async def test_l4_what_is_past_its_date_costs_no_page_and_fails_no_retry(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    going = replace(registration(a, 1), destroy_by=date(2026, 11, 23))
    await register(db, going, registration(b, 1), registration(a, 2), registration(b, 2))
    await match_all(db)
    after = NOW + timedelta(days=1)
    wanted = Wanted(reporter_id=None, after=FIRST, limit=1)
    own = signals.Wanted(organisation=a.organisation, reporter_id=None, after=FIRST[:2], limit=1)

    shown, more = await list_matches(db, wanted, reader(a), SECRETS.contact, after)
    assert (len(shown), more) == (1, False)
    found, more = await signals.list_signals(db, own, SECRETS.contact, after)
    assert (len(found), more) == (1, False)
    again = replace(going, signal=uuid4())
    async with db.transaction():
        (answer,) = await signals.register_batch(db, [again], SECRETS, after)
    assert isinstance(answer, UnavailableError)


async def test_l5_a_void_match_goes_after_a_month_whatever_made_it_void(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    x, y, z, *_ = await register(
        db,
        registration(a, 1, parents=[1]),
        registration(a, 2, parents=[2]),
        registration(a, 3, parents=[3]),
        *(registration(b, 10 + parent, parents=[parent]) for parent in (1, 2, 3)),
    )
    await match_all(db)
    await end(db, x, a, "unjustified")
    await rehouse(db, y, a, [9])
    async with db.transaction():
        await end_by_operator(db, Ending(signal=z, ground="erased", purpose="p", operator="o"), NOW)

    month = NOW + timedelta(days=30)
    assert [each.status for each in await sides_of(db, b, month)] == [Status.VOID] * 3
    later = month + timedelta(seconds=1)
    assert await sides_of(db, b, later) == []
    await sweep(db, later)
    assert await db.fetchval("SELECT count(*) FROM matching.match") == 0
    assert await db.fetchval("SELECT count(*) FROM notify.notice") == 0


async def test_g3_who_looks_while_a_match_is_destroyed_leaves_nothing_in_the_log(
    db: Db, db_url: str, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    going = replace(registration(a, 1), destroy_by=date(2026, 11, 23))
    await register(db, going, registration(b, 1))
    await match_all(db)
    looking = await asyncpg.connect(db_url)
    transaction = looking.transaction()
    await transaction.start()
    assert len(await sides_of(looking, b)) == 1
    sweeping = asyncio.create_task(sweep(db, NOW + timedelta(days=1)))
    await asyncio.sleep(0.2)
    assert not sweeping.done()
    await transaction.commit()
    await looking.close()
    await sweeping

    left = await db.fetch(
        "SELECT FROM audit.entry WHERE event = 'contact.opened' AND object_id IS NOT NULL"
    )
    assert left == []


async def test_g3_no_match_number_stays_in_the_log_of_the_other_signal(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    going = replace(registration(b, 2, parents=[1]), destroy_by=date(2026, 11, 23))
    (x, _) = await register(db, registration(a, 1, parents=[1]), going)
    await match_all(db)
    await end(db, x, a)
    await sweep(db, NOW + timedelta(days=1))

    rows = await db.fetch("SELECT detail::text FROM audit.entry WHERE detail::text LIKE '%M-%'")
    assert rows == []
