import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, cast
from uuid import UUID, uuid4

import pytest
from asyncpg import PostgresConnectionError

from notify import attempts, ledger, worker
from notify.attempts import DeliveryStarted
from notify.ledger import Channel
from notify.queue import GROUP, HIGH_WATER, STREAM, Queue
from notify.relay import relay_batch
from notify.retry import Result
from notify.worker import Office, run_worker
from tests.notify.conftest import Letters, Service
from tests.notify.smtp_peer import DROP, HANG

if TYPE_CHECKING:
    from asyncpg import Pool, Record
    from asyncpg.pool import PoolAcquireContext

Flag = tuple[str, int, bool]


async def standing(service: Service) -> list[Flag]:
    """Each delivery's state, number of attempts, and whether it may have been sent twice."""
    async with service.pool.acquire() as db:
        rows = await db.fetch("SELECT state, attempt, maybe_duplicate FROM notify.delivery")
    return [tuple(row) for row in rows]


def message_ids(service: Service) -> Counter[str]:
    lines = [line for mail in service.peer.accepted for line in mail.content.splitlines()]
    return Counter(line.decode() for line in lines if line.startswith(b"Message-ID:"))


class Moment:
    """Holds a conversation at one point until it is let go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.passed = asyncio.Event()

    async def __call__(self, *_: object) -> None:
        self.reached.set()
        await self.passed.wait()


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


async def test_each_notice_becomes_one_mail(service: Service) -> None:
    await service.append(30)

    async with service.running():
        await service.settle(sent=30)

    assert Counter(mail.recipient for mail in service.peer.accepted) == Counter(
        f"reporter{number}@school.test" for number in range(30)
    )
    assert set(message_ids(service).values()) == {1}
    assert await service.redis.xlen(STREAM) == 0
    assert (await service.redis.xpending(STREAM, GROUP))["pending"] == 0


async def test_each_attempt_is_logged_at_its_start_and_at_its_end(service: Service) -> None:
    (notice,) = await service.append()

    async with service.running():
        await service.settle(sent=1)

    started, finished = service.log.events
    assert isinstance(started, DeliveryStarted)
    assert (started.notice_id, started.channel, started.attempt) == (notice, Channel.MAIL, 1)
    assert service.log.results() == [Result.SENT]
    async with service.pool.acquire() as db:
        (line,) = await ledger.select_attempts(db, [notice])
    assert (line.result, line.code, line.delivery_id) == (
        Result.SENT,
        250,
        finished.delivery_id,
    )
    assert await service.value("SELECT worker FROM notify.attempt") == "worker 1"


async def test_redis_never_sees_a_name_or_an_address(service: Service) -> None:
    await service.append(3)
    stop = asyncio.Event()
    service.peer.hooks["RCPT"] = hold = Moment()
    async with service.running():
        await hold.reached.wait()
        await Queue(service.redis).publish([uuid4()])
        stored = [await service.redis.dump(key) for key in await service.redis.keys("*")]
        hold.passed.set()
        await service.settle(sent=3)
        stop.set()

    assert stored
    for value in stored:
        for secret in (b"school", b"Reporter", b"reporter", b"D-2026", b"M-7KQ4", b"072"):
            assert secret not in (value or b"")


async def test_while_paused_nothing_is_sent_and_on_resume_everything_is_once(
    service: Service,
) -> None:
    async with service.running():
        async with service.pool.acquire() as db:
            await ledger.pause(db, Channel.MAIL)
        await service.append(20)
        await asyncio.sleep(0.2)
        assert service.peer.sessions == 0

        await service.redis.flushall()
        await asyncio.sleep(0.1)
        assert service.peer.sessions == 0
        async with service.pool.acquire() as db:
            await ledger.resume(db, Channel.MAIL)
        await service.settle(sent=20)

    assert set(message_ids(service).values()) == {1}
    assert len(service.peer.accepted) == 20


async def test_a_pause_stops_a_mail_that_a_worker_already_holds(service: Service) -> None:
    await service.append()
    service.peer.hooks["RCPT"] = hold = Moment()

    async with service.running():
        await hold.reached.wait()
        async with service.pool.acquire() as db:
            await ledger.pause(db, Channel.MAIL)
        hold.passed.set()
        await service.settle(retry=1)
        assert service.peer.accepted == []
        async with service.pool.acquire() as db:
            await ledger.resume(db, Channel.MAIL)
        await service.settle(sent=1)

    assert await standing(service) == [("sent", 2, False)]
    assert service.log.results() == [Result.RELEASED, Result.SENT]


async def test_workers_never_send_the_same_mail_twice(service: Service) -> None:
    await service.append(60)
    async with service.pool.acquire() as db:
        deliveries = await ledger.mark_queued(db, 60)
    for _ in range(3):
        await Queue(service.redis).publish(deliveries)

    async with service.running(*(service.office(f"worker {number}") for number in (1, 2, 3))):
        await service.settle(sent=60)

    assert len(message_ids(service)) == len(service.peer.accepted) == 60


async def test_a_worker_holds_no_more_than_its_slots(service: Service) -> None:
    await service.append(9)
    most = now = 0

    async def count() -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1

    service.peer.hooks["RCPT"] = count
    async with service.running(service.office(slots=3)):
        await service.settle(sent=9)

    assert most == 3


async def test_foreign_entries_are_let_go(service: Service) -> None:
    await service.redis.xadd(STREAM, {"delivery": "garbage"})
    await service.redis.xadd(STREAM, {"delivery": str(uuid4())})
    await service.append()

    async with service.running():
        await service.settle(sent=1)

    assert await service.redis.xlen(STREAM) == 0


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

    assert set(message_ids(service).values()) == {1}


async def test_lost_connections_are_waited_out(service: Service) -> None:
    await service.append(40)

    async with service.running():
        for _ in range(3):
            await asyncio.sleep(0.03)
            await service.redis.client_kill_filter(_type="normal", skipme=True)
            await service.drop_connections()
        for _ in range(20):
            await asyncio.sleep(0.05)
            await service.execute(
                """
                UPDATE notify.delivery
                   SET next_at = clock_timestamp()
                 WHERE state IN ('queued', 'retry')
                """
            )
        await service.execute(
            "UPDATE notify.delivery SET lease_until = clock_timestamp() WHERE state = 'sending'"
        )
        await service.settle(sent=40)

    async with service.pool.acquire() as db:
        flagged = await db.fetchval("SELECT count(*) FROM notify.delivery WHERE maybe_duplicate")
    copies = sum(count - 1 for count in message_ids(service).values())
    assert len(message_ids(service)) == 40
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
        assert await standing(service) == [("sending", 1, False)]
        assert await service.value("SELECT phase FROM notify.delivery") == phase
        await service.hurry()
        async with service.running(service.office("worker 2")):
            await service.settle(sent=1)

    assert await standing(service) == [("sent", 2, flagged)]
    assert list(message_ids(service).values()) == [copies]
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
    assert await standing(service) == [("sent", 2, False)]


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
    assert await standing(service) == [("sent", 1, True)]


async def test_a_long_talk_keeps_its_lease(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "LEASE", timedelta(seconds=0.3))
    monkeypatch.setattr(worker, "BEAT_SECONDS", 0.05)
    await service.append()

    async def dawdle() -> None:
        await asyncio.sleep(0.8)

    service.peer.hooks["DOT"] = dawdle
    async with service.running():
        await service.settle(sent=1)

    assert await standing(service) == [("sent", 1, False)]


async def test_nothing_is_sent_when_nothing_is_left_to_tell(service: Service) -> None:
    withdrawn, unreachable = await service.append(2)
    del service.letters.by_notice[unreachable]

    async def withdraw(notice: UUID) -> None:
        del service.letters.by_notice[notice]

    service.letters.written = withdraw
    async with service.running():
        await service.settle(suppressed=2)

    assert withdrawn not in service.letters.by_notice
    assert service.peer.accepted == []
    assert service.log.results() == [Result.SUPPRESSED] * 2


async def test_a_mail_goes_to_the_address_that_holds_when_it_is_written(
    service: Service,
) -> None:
    (notice,) = await service.append()

    async def move(_: UUID) -> None:
        letter = service.letters.by_notice[notice]
        service.letters.by_notice[notice] = replace(letter, recipient="new@school.test")

    service.letters.written = move
    async with service.running():
        await service.settle(sent=1)

    assert [mail.recipient for mail in service.peer.accepted] == ["new@school.test"]
    assert service.log.results() == [Result.RELEASED, Result.SENT]


@pytest.mark.parametrize("moment", ["MAIL", "RCPT", "DATA", "DOT"])
async def test_a_final_no_ends_the_delivery(service: Service, moment: str) -> None:
    await service.append()
    service.peer.faults[moment].append("550 never")

    async with service.running():
        await service.settle(dead=1)

    assert await standing(service) == [("dead", 1, False)]
    assert await service.value("SELECT code FROM notify.attempt") == 550


@pytest.mark.parametrize(
    ("moment", "fault", "result", "flagged"),
    [
        ("CONNECT", DROP, Result.UNREACHABLE, False),
        ("RCPT", "450 later", Result.DEFERRED, False),
        ("DOT", "451 later", Result.DEFERRED, False),
        ("ANSWER", DROP, Result.UNANSWERED, True),
    ],
)
async def test_anything_else_is_tried_again_later(
    service: Service, moment: str, fault: str, result: Result, *, flagged: bool
) -> None:
    await service.append()
    service.peer.faults[moment].append(fault)

    async with service.running():
        await service.settle(retry=1)
        assert await standing(service) == [("retry", 1, flagged)]
        await service.hurry()
        await service.settle(sent=1)

    assert await standing(service) == [("sent", 2, flagged)]
    assert service.log.results() == [result, Result.SENT]


async def test_a_retry_rests_first(service: Service) -> None:
    await service.append()
    service.peer.faults["RCPT"].append("450 later")

    async with service.running():
        await service.settle(retry=1)

    rest = await service.value(
        "SELECT next_at - clock_timestamp() < interval '5 minutes' FROM notify.delivery"
    )
    assert rest


class Faltering:
    """A pool that has nothing to give while it is down."""

    def __init__(self, pool: "Pool[Record]") -> None:
        self.pool = pool
        self.down = False

    def acquire(self) -> "PoolAcquireContext[Record]":
        if self.down:
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
        await asyncio.sleep(0.1)
        assert await standing(service) == [("sending", 1, False)]
        pool.down = False
        await service.settle(sent=1)

    assert await standing(service) == [("sent", 1, False)]
    assert len(service.peer.accepted) == 1


async def test_an_end_that_cannot_be_written_is_left_to_the_sweep(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "LEASE", timedelta(seconds=0.05))
    await service.append()
    pool, office = faltering(service)
    service.peer.hooks["ANSWER"] = hold = Moment()

    async with service.running(office):
        await hold.reached.wait()
        del service.peer.hooks["ANSWER"]
        pool.down = True
        hold.passed.set()
        await asyncio.sleep(0.15)
        pool.down = False
        assert await standing(service) == [("sending", 1, False)]
        await service.hurry()
        await service.settle(sent=1)

    assert await standing(service) == [("sent", 2, True)]
    assert list(message_ids(service).values()) == [2]


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
        await asyncio.sleep(0.1)
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
        await asyncio.sleep(0.1)
        pool.down = False
        hold.passed.set()
        await service.settle(sent=1)

    assert await standing(service) == [("sent", 1, False)]


async def test_a_stop_gives_back_what_is_not_yet_in_data(service: Service) -> None:
    await service.append(2)
    service.peer.faults["CONNECT"].extend([HANG, HANG])

    async with service.running():
        await service.settle(sending=2)

    assert {state for state, _, _ in await standing(service)} <= {"retry", "queued"}
    assert [attempt for _, attempt, _ in await standing(service)] == [1, 1]
    assert service.log.results() == [Result.RELEASED] * 2


async def test_a_stop_finishes_what_is_in_data(service: Service) -> None:
    await service.append()
    service.peer.hooks["DOT"] = hold = Moment()

    async with service.running() as stop:
        await hold.reached.wait()
        stop.set()
        await asyncio.sleep(0.05)
        hold.passed.set()

    assert await standing(service) == [("sent", 1, False)]


async def test_a_stop_does_not_wait_for_a_server_that_hangs(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "STOP_SECONDS", 0.1)
    await service.append()
    service.peer.hooks["DOT"] = hold = Moment()

    async with service.running():
        await hold.reached.wait()

    ((state, attempt, _),) = await standing(service)
    assert (state, attempt) in {("sending", 1), ("retry", 1)}


async def test_a_bug_ends_the_worker(service: Service) -> None:
    await service.append()

    async def stumble(_: UUID) -> None:
        raise LookupError

    service.letters.written = stumble
    await Queue(service.redis).read(1, 0.001)
    await relay_batch(service.pool, Queue(service.redis))
    with pytest.RaisesGroup(LookupError):
        await run_worker(service.office(), asyncio.Event())

    assert service.peer.accepted == []


async def test_an_office_shows_no_secret(letters: Letters, service: Service) -> None:
    await service.append()

    assert letters.by_notice
    assert "school.test" not in repr(service.office())
