import asyncio
import time
from uuid import UUID, uuid4

import pytest
from redis import ConnectionError as RedisConnectionError
from redis import ResponseError
from redis.asyncio import Redis
from redis.typing import EncodableT

from notify import queue
from notify.errors import OUTAGE
from notify.queue import BELL, GROUP, HIGH_WATER, STREAM, Bell, Entry, Queue, connect, run_bell
from notify.worker import READ_SECONDS

NOWHERE = "unix:///nowhere/redis.sock"


def ids(count: int) -> list[UUID]:
    return [uuid4() for _ in range(count)]


async def read_all(stream: Queue) -> list[Entry]:
    """Read as a worker does: the first read may only find that the group is missing."""
    await stream.read(1, 0.001)
    return await stream.read(HIGH_WATER, 0.01)


async def pending(redis: Redis) -> int:
    return int((await redis.xpending(STREAM, GROUP))["pending"])


async def test_what_is_published_is_read_once_and_in_order(redis: Redis) -> None:
    stream, deliveries = Queue(redis), ids(5)
    await stream.publish(deliveries)

    entries = await read_all(stream)

    assert [entry.delivery for entry in entries] == deliveries
    assert await stream.read(10, 0.01) == []


async def test_a_reader_takes_no_more_than_it_asks_for(redis: Redis) -> None:
    stream = Queue(redis)
    await stream.publish(ids(5))
    await stream.read(1, 0.001)

    assert len(await stream.read(2, 0.01)) == 2
    assert len(await stream.read(9, 0.01)) == 3


async def test_what_is_acknowledged_leaves_nothing_behind(redis: Redis) -> None:
    stream = Queue(redis)
    await stream.publish(ids(5))
    entries = await read_all(stream)

    await stream.acknowledge([])
    await stream.acknowledge([entry.id for entry in entries])

    assert await redis.xlen(STREAM) == 0
    assert await pending(redis) == 0


async def test_room_is_what_is_left_under_the_high_water_mark(redis: Redis) -> None:
    stream = Queue(redis)
    assert await stream.room() == HIGH_WATER

    await stream.publish(ids(HIGH_WATER - 1))
    assert await stream.room() == 1

    await stream.publish(ids(5))
    assert await stream.room() == 0


@pytest.mark.parametrize(
    "fields",
    [{"delivery": "garbage"}, {"delivery": b"\xff\xfe"}, {"other": str(uuid4())}, {"delivery": ""}],
)
async def test_a_foreign_entry_is_read_as_nobodys(
    redis: Redis, fields: dict[EncodableT, EncodableT]
) -> None:
    await redis.xadd(STREAM, fields)

    (entry,) = await read_all(Queue(redis))

    assert entry.delivery is None


async def test_after_a_flush_the_group_is_made_again_and_misses_nothing(redis: Redis) -> None:
    stream, deliveries = Queue(redis), ids(3)
    await stream.publish(ids(2))
    await read_all(stream)

    await redis.flushall()
    await stream.publish(deliveries)

    assert [entry.delivery for entry in await read_all(stream)] == deliveries


async def test_a_flush_under_a_waiting_reader_is_no_error(redis: Redis) -> None:
    stream = Queue(redis)
    await stream.read(1, 0.001)
    waiting = asyncio.create_task(stream.read(1, 2))
    await asyncio.sleep(0.05)

    await redis.flushall()
    deliveries = ids(1)
    await stream.publish(deliveries)

    entries = await waiting or await stream.read(1, 0.1)
    assert [entry.delivery for entry in entries] == deliveries


async def test_two_readers_may_both_make_the_group(redis: Redis) -> None:
    await redis.xadd(STREAM, {"delivery": str(uuid4())})
    readers = [Queue(redis) for _ in range(8)]

    early = await asyncio.gather(*(reader.read(1, 0.001) for reader in readers))
    late = await asyncio.gather(*(reader.read(1, 0.01) for reader in readers))

    assert sum(map(len, early + late)) == 1


async def test_what_a_lost_worker_had_read_is_let_go(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Queue(redis)
    await stream.publish(ids(3))
    await read_all(stream)

    await stream.clear_stale()
    assert await pending(redis) == 3

    monkeypatch.setattr(queue, "STALE_SECONDS", 0)
    await stream.clear_stale()
    assert await pending(redis) == await redis.xlen(STREAM) == 0


async def test_clearing_without_a_stream_is_no_error(redis: Redis) -> None:
    await Queue(redis).clear_stale()


async def test_another_error_is_not_taken_for_a_lost_group(redis: Redis) -> None:
    await redis.set(STREAM, "no stream")

    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await Queue(redis).read(1, 0.01)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await Queue(redis).clear_stale()


async def test_a_group_that_cannot_be_made_is_an_error(redis: Redis) -> None:
    await redis.acl_setuser("default", enabled=True, commands=["-xgroup"])
    try:
        with pytest.raises(ResponseError, match="xgroup"):
            await Queue(redis).read(1, 0.01)
    finally:
        await redis.acl_setuser("default", enabled=True, commands=["+xgroup"])


async def test_no_command_is_repeated_when_redis_is_away() -> None:
    async with connect(NOWHERE) as nobody:
        with pytest.raises(RedisConnectionError):
            await Queue(nobody).publish(ids(1))


async def test_an_idle_stream_is_no_outage(redis: Redis) -> None:
    assert await read_all(Queue(redis)) == []
    assert await Queue(redis).read(1, READ_SECONDS) == []


async def heard(bell: Bell, redis: Redis) -> None:
    """Wait until the bell listens."""
    for _ in range(200):
        await redis.publish(BELL, "match")
        started = time.monotonic()
        await bell.wait("match", 0.05)
        if time.monotonic() - started < 0.05:
            await bell.wait("match", 0.05)
            return
    pytest.fail("the bell does not listen")


async def test_a_ring_wakes_another_process(redis: Redis) -> None:
    stop, bell = asyncio.Event(), Bell(redis)
    async with asyncio.TaskGroup() as group:
        group.create_task(run_bell(bell, stop))
        await heard(bell, redis)

        started = time.monotonic()
        waiting = group.create_task(bell.wait("deliver", 5))
        await asyncio.sleep(0.02)
        await Bell(redis).ring("deliver")
        await waiting
        assert time.monotonic() - started < 2
        stop.set()


async def test_a_ring_for_another_loop_wakes_nobody(redis: Redis) -> None:
    stop, bell = asyncio.Event(), Bell(redis)
    async with asyncio.TaskGroup() as group:
        group.create_task(run_bell(bell, stop))
        await heard(bell, redis)

        started = time.monotonic()
        await bell.ring("match")
        await redis.publish(BELL, "nonsense")
        await redis.publish(BELL, b"\xff")
        await bell.wait("deliver", 0.1)
        assert time.monotonic() - started >= 0.1
        stop.set()


async def test_a_ring_before_the_wait_is_not_lost(redis: Redis) -> None:
    stop, bell = asyncio.Event(), Bell(redis)
    async with asyncio.TaskGroup() as group:
        group.create_task(run_bell(bell, stop))
        await heard(bell, redis)
        await bell.ring("deliver")
        await asyncio.sleep(0.05)

        started = time.monotonic()
        await bell.wait("deliver", 5)
        assert time.monotonic() - started < 1
        stop.set()


async def test_without_redis_a_wait_is_a_poll() -> None:
    async with connect(NOWHERE) as nobody:
        bell = Bell(nobody)
        await bell.ring("deliver")

        started = time.monotonic()
        await bell.wait("deliver", 0.05)
        assert 0.05 <= time.monotonic() - started < 1


async def test_the_bell_listens_again_after_an_outage(redis: Redis) -> None:
    stop, bell = asyncio.Event(), Bell(redis)
    async with asyncio.TaskGroup() as group:
        group.create_task(run_bell(bell, stop))
        await heard(bell, redis)

        await redis.client_kill_filter(_type="pubsub")
        await asyncio.sleep(0.05)

        await heard(bell, redis)
        stop.set()


async def test_a_redis_that_refuses_writes_is_an_outage(redis: Redis) -> None:
    await redis.config_set("min-replicas-to-write", 1)
    try:
        with pytest.raises(OUTAGE):
            await Queue(redis).publish([uuid4()])
        await Bell(redis).ring("match")
    finally:
        await redis.config_set("min-replicas-to-write", 0)
