import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from asyncpg import UndefinedTableError
from redis import ConnectionError as RedisConnectionError
from redis.asyncio import Redis

from notify.attempts import DeliveryFinished, DeliveryStarted
from notify.queue import HIGH_WATER, STREAM, Bell, Queue, connect
from notify.relay import relay_batch, run_relay, tidy_batch
from notify.retry import Result, State
from schemas.database import Db
from tests.notify.conftest import Service

if TYPE_CHECKING:
    pass


class FailingQueue(Queue):
    """Redis goes away between the mark and the stream, as often as told."""

    def __init__(self, redis: Redis, failures: int) -> None:
        super().__init__(redis)
        self.failures = failures

    async def publish(self, deliveries: Sequence[UUID]) -> None:
        if deliveries and self.failures:
            self.failures -= 1
            raise RedisConnectionError
        await super().publish(deliveries)


async def read(stream: Queue) -> list[UUID | None]:
    await stream.read(1, 0.001)
    return [entry.delivery for entry in await stream.read(HIGH_WATER, 0.01)]


async def test_what_is_due_goes_to_the_stream_once(service: Service) -> None:
    await service.append(3)
    stream = Queue(service.redis)

    assert await relay_batch(service.office(queue=stream)) == 3
    assert await relay_batch(service.office(queue=stream)) == 0

    assert len(set(await read(stream))) == 3
    assert await service.counts() == {State.QUEUED: 3}


async def test_the_stream_stays_short_and_the_backlog_in_the_ledger(service: Service) -> None:
    await service.append(HIGH_WATER + 44)
    stream = Queue(service.redis)

    assert await relay_batch(service.office(queue=stream)) == HIGH_WATER
    assert await relay_batch(service.office(queue=stream)) == 0
    await service.hurry()
    assert await relay_batch(service.office(queue=stream)) == 0

    assert await service.redis.xlen(STREAM) == HIGH_WATER
    assert await service.counts() == {State.QUEUED: HIGH_WATER, State.PENDING: 44}


async def test_relays_side_by_side_publish_each_delivery_once(service: Service) -> None:
    await service.append(60)
    stream = Queue(service.redis)

    await asyncio.gather(*(relay_batch(service.office(queue=stream)) for _ in range(4)))

    entries = await read(stream)
    assert len(entries) == len(set(entries)) == 60


async def test_while_redis_is_away_nothing_is_marked(service: Service) -> None:
    await service.append()

    async with connect("unix:///nowhere/redis.sock") as nobody:
        with pytest.raises(RedisConnectionError):
            await relay_batch(service.office(queue=Queue(nobody)))

    assert await service.counts() == {State.PENDING: 1}


async def test_what_was_marked_but_not_published_comes_back(service: Service) -> None:
    await service.append()
    stream = FailingQueue(service.redis, failures=1)

    with pytest.raises(RedisConnectionError):
        await relay_batch(service.office(queue=stream))
    assert await service.counts() == {State.QUEUED: 1}
    assert await relay_batch(service.office(queue=stream)) == 0

    await service.hurry()
    assert await relay_batch(service.office(queue=stream)) == 1


async def test_a_flushed_stream_is_filled_again_when_visibility_ends(service: Service) -> None:
    await service.append(2)
    stream = Queue(service.redis)
    await relay_batch(service.office(queue=stream))

    await service.redis.flushall()
    await service.hurry()
    await relay_batch(service.office(queue=stream))

    assert len(await read(stream)) == 2


async def test_a_lost_attempt_is_taken_back_and_logged(service: Service) -> None:
    (notice,) = await service.append()
    await service.execute(
        """
        UPDATE notify.delivery
           SET state = 'sending', phase = 'before_data', attempt = 1, lease_until = next_at;
        INSERT INTO notify.attempt (delivery_id, attempt, worker, started_at)
        SELECT id, 1, 'gone', clock_timestamp() FROM notify.delivery
        """
    )

    await tidy_batch(service.office())

    assert await service.counts() == {State.RETRY: 1}
    (event,) = service.log.events
    assert isinstance(event, DeliveryFinished)
    assert (event.notice_id, event.result) == (notice, Result.LEASE_OVER)


async def run_for(service: Service, stream: Queue, until: asyncio.Event) -> None:
    """Let a relay run until the event."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        bell = Bell(service.redis)
        group.create_task(run_relay(service.office(queue=stream), bell, stop))
        await until.wait()
        stop.set()


async def test_the_relay_waits_out_a_dropped_connection_and_a_lost_redis(
    service: Service,
) -> None:
    await service.append()
    stream, passed = FailingQueue(service.redis, failures=2), asyncio.Event()

    async def disturb() -> None:
        while stream.failures:
            await asyncio.sleep(0.01)
            await service.hurry()
        await service.drop_connections()
        await service.append()
        while await service.redis.xlen(STREAM) < 2:
            await asyncio.sleep(0.01)
            await service.hurry()
        passed.set()

    await asyncio.gather(run_for(service, stream, passed), disturb())

    assert (await service.counts())[State.QUEUED] == 2


async def test_a_bug_ends_the_relay(service: Service) -> None:
    await service.execute("ALTER TABLE notify.channel RENAME TO elsewhere")
    try:
        with pytest.raises(UndefinedTableError):
            await run_relay(service.office(), Bell(service.redis), asyncio.Event())
    finally:
        await service.execute("ALTER TABLE notify.elsewhere RENAME TO channel")


async def test_what_could_not_be_logged_is_not_taken_back(service: Service) -> None:
    await service.append()
    await service.execute(
        """
        UPDATE notify.delivery
           SET state = 'sending', phase = 'data', attempt = 1, lease_until = next_at;
        INSERT INTO notify.attempt (delivery_id, attempt, worker, started_at)
        SELECT id, 1, 'gone', clock_timestamp() FROM notify.delivery
        """
    )

    async def full(_db: Db, _events: Sequence[DeliveryStarted | DeliveryFinished]) -> None:
        raise LookupError

    with pytest.raises(LookupError):
        await tidy_batch(service.office(journal=full))

    assert await service.counts() == {State.SENDING: 1}
