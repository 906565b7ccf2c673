import asyncio
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from notify import ledger
from notify.attempts import DeliveryStarted
from notify.ledger import Channel
from notify.queue import GROUP, STREAM, Queue
from notify.retry import Result
from tests.notify.conftest import Letters, Service
from tests.notify.smtp_peer import DROP, Moment

if TYPE_CHECKING:
    pass


async def test_each_notice_becomes_one_mail(service: Service) -> None:
    await service.append(30)

    async with service.running():
        await service.settle(sent=30)

    assert Counter(mail.recipient for mail in service.peer.accepted) == Counter(
        f"reporter{number}@school.test" for number in range(30)
    )
    assert set(service.copies().values()) == {1}
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
        for secret in (b"school", b"Reporter", b"reporter", b"D-2026", b"M-7KQ4", b"072 123"):
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

    assert set(service.copies().values()) == {1}
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

    assert await service.standing() == [("sent", 2, False)]
    assert service.log.results() == [Result.RELEASED, Result.SENT]


async def test_workers_never_send_the_same_mail_twice(service: Service) -> None:
    await service.append(60)
    async with service.pool.acquire() as db:
        deliveries = await ledger.mark_queued(db, 60)
    for _ in range(3):
        await Queue(service.redis).publish(deliveries)

    async with service.running(*(service.office(f"worker {number}") for number in (1, 2, 3))):
        await service.settle(sent=60)

    assert len(service.copies()) == len(service.peer.accepted) == 60


async def test_a_worker_holds_no_more_than_its_slots(service: Service) -> None:
    await service.append(9)
    most = now = 0

    async def count() -> None:
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.05)
        now -= 1

    service.peer.hooks["RCPT"] = count
    async with service.running(service.office(slots=3)):
        await service.settle(sent=9)

    assert 1 < most <= 3


async def test_foreign_entries_are_let_go(service: Service) -> None:
    await service.redis.xadd(STREAM, {"delivery": "garbage"})
    await service.redis.xadd(STREAM, {"delivery": str(uuid4())})
    await service.append()

    async with service.running():
        await service.settle(sent=1)

    assert await service.redis.xlen(STREAM) == 0


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

    assert await service.standing() == [("dead", 1, False)]
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
        assert await service.standing() == [("retry", 1, flagged)]
        await service.hurry()
        await service.settle(sent=1)

    assert await service.standing() == [("sent", 2, flagged)]
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


async def test_an_office_shows_no_secret(letters: Letters, service: Service) -> None:
    await service.append()

    assert letters.by_notice
    assert "school.test" not in repr(service.office())
