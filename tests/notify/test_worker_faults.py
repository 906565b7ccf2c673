import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, cast
from uuid import UUID

import pytest
from asyncpg import PostgresConnectionError

from notify import attempts, ledger, worker
from notify.ledger import Channel
from notify.mail import Conversation
from notify.office import Office
from notify.queue import HIGH_WATER
from notify.retry import Outcome, Result, State
from notify.worker import run_worker
from tests.notify.conftest import Service
from tests.notify.smtp_peer import DROP, HANG, Moment

if TYPE_CHECKING:
    from asyncpg import Pool, Record
    from asyncpg.pool import PoolAcquireContext


@asynccontextmanager
async def killed_at(service: Service, moment: str) -> AsyncIterator[None]:
    """A worker that dies at that moment of its talk, without another word."""
    service.peer.hooks[moment] = hold = Moment()
    service.peer.faults[moment].append(DROP)
    async with service.relaying():
        dying = asyncio.create_task(run_worker(service.office(), asyncio.Event()))
        await hold.reached.wait()
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        del service.peer.hooks[moment]
        hold.passed.set()
        yield


async def test_emptying_redis_under_load_loses_and_doubles_nothing(service: Service) -> None:
    await service.append(HIGH_WATER + 20)

    async with service.running(service.office("worker 1"), service.office("worker 2")):
        for _ in range(5):
            await asyncio.sleep(0.03)
            await service.redis.flushall()
        await service.execute(
            "UPDATE notify.delivery SET next_at = clock_timestamp() WHERE state = 'queued'"
        )
        await service.settle(sent=HIGH_WATER + 20)

    assert set(service.copies().values()) == {1}


async def nudged(service: Service, states: set[State]) -> None:
    """Let no delivery rest until all stand in these states."""
    while not {*await service.counts()} <= states:
        await service.execute(
            """
            UPDATE notify.delivery
               SET next_at = clock_timestamp()
             WHERE state IN ('queued', 'retry')
            """
        )
        await asyncio.sleep(0.05)


async def test_lost_connections_are_waited_out(service: Service) -> None:
    await service.append(40)

    async with service.running():
        for _ in range(3):
            await asyncio.sleep(0.03)
            await service.redis.client_kill_filter(_type="normal", skipme=True)
            await service.drop_connections()
        await nudged(service, {State.SENT, State.SENDING})
        await service.execute(
            "UPDATE notify.delivery SET lease_until = clock_timestamp() WHERE state = 'sending'"
        )
        await nudged(service, {State.SENT})

    async with service.pool.acquire() as db:
        flagged = await db.fetchval("SELECT count(*) FROM notify.delivery WHERE maybe_duplicate")
    copies = sum(count - 1 for count in service.copies().values())
    assert len(service.copies()) == 40
    assert copies <= flagged


@pytest.mark.parametrize(
    ("moment", "phase", "flagged", "copies"),
    [
        ("CONNECT", "before_data", False, 1),
        ("RCPT", "before_data", False, 1),
        ("DATA", "data", True, 1),
        ("DOT", "data", True, 1),
        ("ANSWER", "data", True, 2),
    ],
)
async def test_what_a_dead_worker_held_is_sent_by_another(
    service: Service, moment: str, phase: str, *, flagged: bool, copies: int
) -> None:
    await service.append()

    async with killed_at(service, moment):
        assert await service.standing() == [("sending", 1, False)]
        assert await service.value("SELECT phase FROM notify.delivery") == phase
        await service.hurry()
        async with service.running(service.office("worker 2")):
            await service.settle(sent=1)

    assert await service.standing() == [("sent", 2, flagged)]
    assert list(service.copies().values()) == [copies]
    assert len({mail.content for mail in service.peer.accepted}) == 1
    assert service.log.results() == [Result.LEASE_OVER, Result.SENT]


async def test_a_worker_that_wakes_up_late_sends_nothing(service: Service) -> None:
    await service.append()
    service.peer.hooks["RCPT"] = hold = Moment()

    async with service.running():
        await hold.reached.wait()
        del service.peer.hooks["RCPT"]
        await service.hurry()
        async with service.running(service.office("worker 2")):
            await service.settle(sent=1)
            hold.passed.set()
            await asyncio.sleep(0.1)

    assert len(service.peer.accepted) == 1
    assert await service.standing() == [("sent", 2, False)]


async def test_a_mail_that_was_sent_after_the_lease_is_not_sent_again(
    service: Service,
) -> None:
    await service.append()
    service.peer.hooks["ANSWER"] = hold = Moment()

    async with service.running():
        await hold.reached.wait()
        async with service.pool.acquire() as db:
            await ledger.pause(db, Channel.MAIL)
        await service.hurry()
        await service.settle(retry=1)
        hold.passed.set()
        await service.settle(sent=1)
        async with service.pool.acquire() as db:
            await ledger.resume(db, Channel.MAIL)
        await asyncio.sleep(0.1)

    assert len(service.peer.accepted) == 1
    assert await service.standing() == [("sent", 1, True)]


async def test_a_long_talk_keeps_its_lease(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LEASE", timedelta(seconds=1))
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.05)
    await service.append()

    async def dawdle() -> None:
        await asyncio.sleep(1.5)

    service.peer.hooks["DOT"] = dawdle
    async with service.running():
        await service.settle(sent=1)

    assert await service.standing() == [("sent", 1, False)]


class Faltering:
    """A pool that has nothing to give while it is down."""

    def __init__(self, pool: "Pool[Record]") -> None:
        self.pool = pool
        self.down = False
        self.refused = asyncio.Event()

    def acquire(self) -> "PoolAcquireContext[Record]":
        if self.down:
            self.refused.set()
            raise PostgresConnectionError
        return self.pool.acquire()


def faltering(service: Service) -> tuple[Faltering, Office]:
    pool = Faltering(service.pool)
    return pool, service.office(pool=cast("Pool[Record]", pool))


async def test_the_end_of_a_mail_is_written_after_an_outage(service: Service) -> None:
    await service.append()
    pool, office = faltering(service)
    service.peer.hooks["ANSWER"] = hold = Moment()

    async with service.running(office):
        await hold.reached.wait()
        pool.down = True
        hold.passed.set()
        await pool.refused.wait()
        assert await service.standing() == [("sending", 1, False)]
        pool.down = False
        await service.settle(sent=1)

    assert await service.standing() == [("sent", 1, False)]
    assert len(service.peer.accepted) == 1


async def test_an_end_that_cannot_be_written_is_left_to_the_sweep(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LEASE", timedelta(seconds=0.05))
    await service.append()
    pool, office = faltering(service)
    service.peer.hooks["ANSWER"] = hold = Moment()
    service.peer.hooks["QUIT"] = given_up = Moment()

    async with service.running(office):
        await hold.reached.wait()
        del service.peer.hooks["ANSWER"]
        pool.down = True
        hold.passed.set()
        await given_up.reached.wait()
        pool.down = False
        given_up.passed.set()
        assert await service.standing() == [("sending", 1, False)]
        await service.hurry()
        await service.settle(sent=1)

    assert await service.standing() == [("sent", 2, True)]
    assert list(service.copies().values()) == [2]


async def test_an_outage_before_data_sends_nothing_and_is_tried_again(
    service: Service,
) -> None:
    await service.append()
    pool, office = faltering(service)
    service.peer.hooks["RCPT"] = hold = Moment()

    async with service.running(office):
        await hold.reached.wait()
        pool.down = True
        hold.passed.set()
        await pool.refused.wait()
        assert service.peer.accepted == []
        pool.down = False
        await service.settle(retry=1)

    assert service.log.results() == [Result.UNREACHABLE]


async def test_a_missed_heartbeat_is_no_end(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.02)
    await service.append()
    pool, office = faltering(service)
    service.peer.hooks["DOT"] = hold = Moment()

    async with service.running(office):
        await hold.reached.wait()
        pool.down = True
        await pool.refused.wait()
        pool.down = False
        hold.passed.set()
        await service.settle(sent=1)

    assert await service.standing() == [("sent", 1, False)]


async def test_a_stop_gives_back_what_is_not_yet_in_data(service: Service) -> None:
    await service.append(2)
    service.peer.faults["CONNECT"].extend([HANG, HANG])

    async with service.running():
        await service.settle(sending=2)

    assert {state for state, _, _ in await service.standing()} <= {"retry", "queued"}
    assert [attempt for _, attempt, _ in await service.standing()] == [1, 1]
    assert service.log.results() == [Result.RELEASED] * 2


async def test_a_stop_finishes_what_is_in_data(service: Service) -> None:
    await service.append()
    service.peer.hooks["DOT"] = hold = Moment()

    async with service.running() as stop:
        await hold.reached.wait()
        stop.set()
        await asyncio.sleep(0.05)
        hold.passed.set()

    assert await service.standing() == [("sent", 1, False)]


async def test_a_stop_does_not_wait_for_a_server_that_hangs(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STOP_SECONDS", 0.1)
    await service.append()
    service.peer.hooks["DOT"] = hold = Moment()

    async with service.running():
        await hold.reached.wait()

    ((state, attempt, _),) = await service.standing()
    assert (state, attempt) in {("sending", 1), ("retry", 1)}


async def test_whatever_fails_after_the_mark_may_have_arrived(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unforeseen error tells no more of what the server has than silence does."""
    hand_over = Conversation.hand_over

    async def stumble(self: Conversation, message: bytes) -> Outcome:
        await hand_over(self, message)
        raise LookupError

    monkeypatch.setattr(Conversation, "hand_over", stumble)
    await service.append()

    async with service.running():
        await service.settle(retry=1)

    assert await service.standing() == [("retry", 1, True)]
    assert service.log.results() == [Result.UNANSWERED]
    assert list(service.copies().values()) == [1]


async def test_a_notice_that_cannot_be_written_stops_no_other(service: Service) -> None:
    unfit, _ = await service.append(2)

    async def stumble(notice: UUID) -> None:
        if notice == unfit:
            raise LookupError

    service.letters.written = stumble
    async with service.running():
        await service.settle(retry=1, sent=1)

    assert service.log.results().count(Result.UNREACHABLE) == 1
    assert list(service.copies().values()) == [1]
