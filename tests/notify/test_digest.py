import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID, uuid4

import pytest

from notify import attempts, ledger
from notify.ledger import FULL, Channel, NewNotice
from notify.retry import Outcome, Result, State, Verdict
from schemas.database import Db
from tests.notify.conftest import AT, Service, add_webhook, letter_for

if TYPE_CHECKING:
    from asyncpg import Pool, Record

DIGEST = timedelta(seconds=20)
READER = UUID(int=7)
_T = TypeVar("_T")


def news(reader: UUID = READER, matches: int = 1) -> NewNotice:
    return NewNotice(uuid4(), reader, [(uuid4(), uuid4()) for _ in range(matches)])


async def tell(db: Db, *notices: NewNotice, digest: timedelta = DIGEST) -> dict[UUID, UUID]:
    async with db.transaction():
        return await ledger.append(db, notices, AT, digest)


async def go_out(db: Db) -> None:
    """Let a worker send what is due."""
    for held in await attempts.claim(db, await ledger.mark_queued(db, 100), "worker 1"):
        await attempts.finish(db, held, Outcome(Result.SENT, 250), Verdict(State.SENT))


async def waits(db: Db, notice: NewNotice) -> float:
    """Seconds until the notice is due."""
    seconds = await db.fetchval(
        """
        SELECT extract(epoch FROM next_at - clock_timestamp())
          FROM notify.delivery
         WHERE notice_id = $1
        """,
        notice.id,
    )
    return float(seconds)


async def told_together(db: Db) -> list[int]:
    """How many matches each notice tells of."""
    rows = await db.fetch("SELECT count(*) FROM notify.notice_match GROUP BY notice_id")
    return sorted(row["count"] for row in rows)


async def test_m9_the_first_goes_at_once_and_the_rest_together_when_the_window_is_over(
    db: Db,
) -> None:
    first, second, third = news(), news(), news(matches=2)

    assert await tell(db, first) == {first.id: first.id}
    assert await waits(db, first) <= 0
    await go_out(db)
    assert await tell(db, second) == {second.id: second.id}
    assert 15 < await waits(db, second) <= 20
    assert await tell(db, third) == {third.id: second.id}

    assert await told_together(db) == [1, 3]
    assert await db.fetchval("SELECT count(*) FROM notify.notice") == 2


async def test_forty_matches_of_a_caseload_are_two_mails(db: Db) -> None:
    for _ in range(40):
        await tell(db, news())
        await go_out(db)

    assert await told_together(db) == [1, 39]


async def test_a_mail_that_is_long_enough_takes_nothing_more_in(db: Db) -> None:
    """Servers turn away mails of megabytes, which a caseload of thousands would be."""
    await tell(db, news())
    await go_out(db)
    for _ in range(5):
        last = news(matches=FULL // 2)
        await tell(db, last)

    assert await told_together(db) == [1, FULL // 2, FULL, FULL]
    assert 2 * DIGEST.total_seconds() < await waits(db, last) <= 3 * DIGEST.total_seconds()


async def test_each_later_mail_keeps_its_distance_from_the_one_before(db: Db) -> None:
    await tell(db, news())
    await go_out(db)
    await tell(db, news())
    await db.execute("UPDATE notify.delivery SET state = 'queued' WHERE state = 'pending'")
    third = news()

    await tell(db, third)

    assert 35 < await waits(db, third) <= 40


async def test_after_a_quiet_window_the_next_goes_at_once_again(db: Db) -> None:
    await tell(db, news())
    await go_out(db)
    await db.execute("UPDATE notify.mailbox SET quiet_until = clock_timestamp()")
    later = news()

    assert await tell(db, later) == {later.id: later.id}
    assert await waits(db, later) <= 0


async def test_readers_do_not_wait_for_each_other(db: Db) -> None:
    await tell(db, news())
    await go_out(db)
    other = news(reader=uuid4())

    await tell(db, news(), other)

    assert await waits(db, other) <= 0


async def test_without_a_window_each_notice_goes_on_its_own(db: Db) -> None:
    for _ in range(3):
        await tell(db, news(), digest=timedelta())

    assert await told_together(db) == [1, 1, 1]
    assert len(await ledger.mark_queued(db, 10)) == 3


@pytest.mark.parametrize("state", ["queued", "sending", "retry", "sent", "unknown", "dead"])
async def test_what_was_begun_takes_nothing_in(db: Db, state: str) -> None:
    await tell(db, news())
    await db.execute(
        """
        UPDATE notify.delivery
           SET state = $1,
               lease_until = CASE WHEN $1 = 'sending' THEN next_at END,
               phase = CASE WHEN $1 = 'sending' THEN 'before_data' END
        """,
        state,
    )
    later = news()

    assert await tell(db, later) == {later.id: later.id}


async def test_what_was_taken_back_by_a_pause_takes_more_in_until_it_was_tried(db: Db) -> None:
    waiting = news()
    await tell(db, waiting)
    await ledger.mark_queued(db, 10)
    await ledger.pause(db, Channel.MAIL)

    assert set((await tell(db, news())).values()) == {waiting.id}
    await db.execute("UPDATE notify.delivery SET attempt = 1")
    assert set((await tell(db, news())).values()) != {waiting.id}


async def test_a_notice_on_something_else_takes_no_match_in(db: Db) -> None:
    await tell(db, news())
    await db.execute("UPDATE notify.notice SET kind = 'reminder'")
    match = news()

    assert await tell(db, match) == {match.id: match.id}


async def test_a_webhook_never_waits(db: Db) -> None:
    hook = await add_webhook(db)
    waiting = news()
    await tell(db, waiting)
    first = NewNotice(uuid4(), READER, [(uuid4(), uuid4())], uuid4(), [hook])

    assert await tell(db, first) == {first.id: waiting.id}
    row = await db.fetchrow(
        """
        SELECT notice_id, match_id, next_at <= clock_timestamp() AS due
          FROM notify.delivery
         WHERE channel = 'webhook'
        """
    )
    assert row is not None
    assert tuple(row) == (waiting.id, first.matches[0][0], True)


async def stuck(work: Awaitable[_T]) -> "asyncio.Future[_T]":
    """Begin work that has to wait for a lock."""
    task = asyncio.ensure_future(work)
    await asyncio.sleep(0.2)
    assert not task.done()
    return task


async def test_two_matchers_for_one_reader_make_one_notice(pool: "Pool[Record]") -> None:
    first, second = news(), news()
    async with pool.acquire() as one, pool.acquire() as other:
        await tell(one, news())
        await go_out(one)
        async with one.transaction():
            await ledger.append(one, [first], AT, DIGEST)
            waiting = await stuck(tell(other, second))
        assert await waiting == {second.id: first.id}
        assert await told_together(one) == [1, 2]


async def test_two_matchers_fill_up_the_same_notice_one_after_the_other(
    pool: "Pool[Record]",
) -> None:
    waiting, first, second = news(), news(), news()
    async with pool.acquire() as one, pool.acquire() as other:
        await tell(one, waiting)
        async with one.transaction():
            assert await ledger.append(one, [first], AT, DIGEST) == {first.id: waiting.id}
            later = await stuck(tell(other, second))
        assert await later == {second.id: waiting.id}


async def test_what_a_relay_is_just_taking_takes_nothing_in(pool: "Pool[Record]") -> None:
    later = news()
    async with pool.acquire() as one, pool.acquire() as other:
        await tell(one, news())
        async with one.transaction():
            await ledger.mark_queued(one, 10)
            assert await tell(other, later) == {later.id: later.id}


async def test_a_relay_leaves_what_is_just_filled_up(pool: "Pool[Record]") -> None:
    async with pool.acquire() as one, pool.acquire() as other:
        await tell(one, news())
        async with one.transaction():
            await ledger.append(one, [news()], AT, DIGEST)
            assert await ledger.mark_queued(other, 10) == []
        assert len(await ledger.mark_queued(other, 10)) == 1
        assert await told_together(one) == [2]


async def withdraw(db: Db, notice: NewNotice) -> list[UUID]:
    async with db.transaction():
        return await ledger.withdraw_matches(db, [match for match, _ in notice.matches])


async def test_a_withdrawal_keeps_what_was_just_filled_up(pool: "Pool[Record]") -> None:
    waiting, more = news(), news()
    async with pool.acquire() as one, pool.acquire() as other:
        await tell(one, waiting)
        async with one.transaction():
            assert await ledger.append(one, [more], AT, DIGEST) == {more.id: waiting.id}
            withdrawn = await stuck(withdraw(other, waiting))
        assert await withdrawn == []
        assert await ledger.select_matches(one, waiting.id) == list(more.matches)
        assert len(await ledger.mark_queued(one, 10)) == 1


async def test_what_is_just_withdrawn_takes_nothing_in(pool: "Pool[Record]") -> None:
    waiting, more = news(), news()
    async with pool.acquire() as one, pool.acquire() as other:
        await tell(one, waiting)
        async with one.transaction():
            matches = [match for match, _ in waiting.matches]
            assert waiting.id in await ledger.withdraw_matches(one, matches)
            assert await tell(other, more) == {more.id: more.id}
        assert await ledger.select_matches(one, more.id) == list(more.matches)


async def test_what_a_withdrawal_is_just_looking_at_takes_nothing_in(
    pool: "Pool[Record]",
) -> None:
    waiting, more = news(), news()
    async with pool.acquire() as one, pool.acquire() as other:
        await tell(one, waiting)
        async with one.transaction():
            await one.execute("SELECT FROM notify.notice WHERE id = $1 FOR UPDATE", waiting.id)
            assert await asyncio.wait_for(tell(other, more), 5) == {more.id: more.id}


async def test_matchers_with_many_readers_in_any_order_never_deadlock(
    pool: "Pool[Record]",
) -> None:
    readers = [uuid4() for _ in range(20)]

    async def write(order: list[UUID]) -> None:
        async with pool.acquire() as db:
            for _ in range(5):
                await tell(db, *(news(reader) for reader in order))

    await asyncio.gather(*(write(order) for order in [readers, readers[::-1]] * 3))

    async with pool.acquire() as db:
        assert sum(await told_together(db)) == 20 * 5 * 6


async def test_one_mail_tells_all_that_came_in_the_window(service: Service) -> None:
    (first,) = await service.append()
    async with service.pool.acquire() as db:
        reader = await ledger.select_reporter(db, first)
        assert reader is not None
        into = await tell(db, news(reader, 2))
    assert set(into.values()) == {first}
    service.letters.by_notice[first] = letter_for(1)

    async with service.running():
        await service.settle(sent=1)

    assert len(service.peer.accepted) == 1
