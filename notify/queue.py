"""The Redis stream of due deliveries, and the doorbell between processes.

Redis holds ids and wake-ups only, and losing it loses nothing: what stands in the ledger
is published again.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast, get_args
from uuid import UUID

import structlog
from redis import ResponseError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from notify.errors import OUTAGE

STREAM = "vin:deliveries"
BELL = "vin:bell"
# Who works on what is told by the ledger's leases. One name for all readers means that a
# process that goes away leaves no consumer behind.
GROUP = READER = "notify"
HIGH_WATER = 256
STALE_SECONDS = 10
SOCKET_SECONDS = 5
LISTEN_SECONDS = 1

Name: TypeAlias = Literal["match", "deliver"]
_Streams: TypeAlias = Sequence[tuple[bytes, Sequence[tuple[bytes, dict[bytes, bytes]]]]]
log: structlog.stdlib.BoundLogger = structlog.get_logger()


def connect(url: str) -> Redis:
    """Open the client that queue and bell use.

    It repeats no command: an XADD whose answer was lost would land twice, and the loops
    try again anyway.
    """
    return Redis.from_url(
        url,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=SOCKET_SECONDS,
        socket_connect_timeout=SOCKET_SECONDS,
        health_check_interval=2 * SOCKET_SECONDS,
    )


@dataclass(frozen=True, slots=True)
class Entry:
    """One wake-up; `delivery` is None when it is none of ours."""

    id: bytes
    delivery: UUID | None


class Queue:
    """The stream between relay and workers, at most about `HIGH_WATER` entries long."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def room(self) -> int:
        """How many entries may be added; the backlog beyond waits in the ledger."""
        return max(0, HIGH_WATER - await self._redis.xlen(STREAM))

    async def lag(self) -> tuple[int, int]:
        """How many entries there are, and how many of them were read and not let go of."""
        length: int = await self._redis.xlen(STREAM)
        try:
            pending = await self._redis.xpending(STREAM, GROUP)
        except ResponseError as error:
            await self._restore_group(error)
            return length, 0
        return length, pending["pending"]

    async def publish(self, deliveries: Sequence[UUID]) -> None:
        """Wake a worker for each delivery, in order."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for delivery in deliveries:
                pipe.xadd(STREAM, {"delivery": str(delivery)})  # type: ignore[unused-awaitable]
            await pipe.execute()

    async def read(self, count: int, seconds: float) -> list[Entry]:
        """Take up to `count` entries, waiting up to `seconds` for the first.

        `seconds` stays under the socket's time-out, or an idle stream reads as an outage.
        """
        try:
            streams = await self._redis.xreadgroup(
                GROUP, READER, {STREAM: ">"}, count=count, block=int(seconds * 1000)
            )
        except ResponseError as error:
            await self._restore_group(error)
            return []
        return [_entry(*entry) for _, entries in cast("_Streams", streams) for entry in entries]

    async def acknowledge(self, entries: Sequence[bytes]) -> None:
        """Let go of entries; XACK alone would leave them in memory."""
        if not entries:
            return
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.xack(STREAM, GROUP, *entries)  # type: ignore[unused-awaitable]
            pipe.xdel(STREAM, *entries)  # type: ignore[unused-awaitable]
            await pipe.execute()

    async def clear_stale(self) -> None:
        """Let go of what a lost worker had read: the ledger publishes it again by itself."""
        try:
            stale = await self._redis.xautoclaim(
                STREAM, GROUP, READER, STALE_SECONDS * 1000, count=HIGH_WATER, justid=True
            )
        except ResponseError as error:
            await self._restore_group(error)
            return
        await self.acknowledge(stale)

    async def _restore_group(self, error: ResponseError) -> None:
        """Make the group again, from the stream's start, if `error` says that it is gone."""
        if not str(error).startswith(("NOGROUP", "UNBLOCKED")):
            raise error
        try:
            await self._redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
        except ResponseError as answer:
            if not str(answer).startswith("BUSYGROUP"):
                raise


def _entry(entry: bytes, fields: dict[bytes, bytes]) -> Entry:
    try:
        return Entry(entry, UUID(fields[b"delivery"].decode()))
    except (KeyError, ValueError):
        log.warning("foreign entry in the stream", entry=entry.decode())
        return Entry(entry, None)


class Bell:
    """Wakes loops of this process and others; those who wait poll too, so a lost ring is late."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._rung = {name.encode(): asyncio.Event() for name in get_args(Name)}

    async def ring(self, name: Name) -> None:
        """Ring after the commit; without Redis nobody hears it, and the poll finds the work."""
        with suppress(*OUTAGE):
            await self._redis.publish(BELL, name)

    async def wait(self, name: Name, seconds: float) -> None:
        """Return at the first ring since the last wait, or after `seconds`."""
        rung = self._rung[name.encode()]
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await rung.wait()
        rung.clear()

    async def listen(self, stop: asyncio.Event) -> None:
        """Pass on rings until `stop` is set."""
        async with self._redis.pubsub() as line:
            await line.subscribe(BELL)
            while not stop.is_set():
                message = await line.get_message(
                    ignore_subscribe_messages=True, timeout=LISTEN_SECONDS
                )
                rung = self._rung.get(message["data"]) if message else None
                if rung is not None:
                    rung.set()


async def run_bell(bell: Bell, stop: asyncio.Event) -> None:
    """Listen until `stop` is set, again after each outage."""
    while not stop.is_set():
        try:
            await bell.listen(stop)
        except OUTAGE as error:
            log.warning("bell is silent", reason=type(error).__name__)
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), LISTEN_SECONDS)
