"""What a monitor sees of the deliveries (Prometheus): counts and times, never an id.

Depth, ages and the stream are read when asked for and are the same in every worker, so take
their maximum; what ended is counted by the worker that ended it, so take the sum.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from aiohttp import hdrs, web
from prometheus_client import (
    CONTENT_TYPE_PLAIN_0_0_4,
    CollectorRegistry,
    Counter,
    Histogram,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.process_collector import ProcessCollector

from notify.attempts import DeliveryFinished
from notify.errors import OUTAGE
from notify.ledger import Channel
from notify.queue import Queue
from notify.retry import Result, State
from schemas.database import Db

if TYPE_CHECKING:
    from asyncpg import Pool, Record

# What has ended well is counted as attempts; its rows are too many to count at each look.
STANDING = (
    State.PENDING,
    State.QUEUED,
    State.RETRY,
    State.SENDING,
    State.UNKNOWN,
    State.DEAD,
)
SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 1, 1.5, 3, 10, 30, 60, 300, 1800, 3600, 6 * 3600, 86400)


@dataclass(frozen=True, slots=True)
class Backlog:
    """How a channel stands; `oldest` since its notice was written, `overdue` since it was due."""

    channel: Channel
    paused: bool
    deliveries: dict[State, int]
    oldest: timedelta
    overdue: timedelta


class Meter:
    """Counts what this process ended; `offset` is the demo's, by which notices are dated."""

    def __init__(self, offset: timedelta = timedelta()) -> None:
        self.offset = offset
        self._registry = CollectorRegistry()
        self._attempts = Counter(
            "vin_attempts",
            "Attempts that ended, by how; lease_over are those of workers that went away.",
            ["channel", "outcome"],
            registry=self._registry,
        )
        self._delivery = Histogram(
            "vin_delivery_seconds",
            "From the match to the other server's yes.",
            ["channel"],
            buckets=SECONDS,
            registry=self._registry,
        )
        for channel in Channel:
            self._delivery.labels(channel)
            for result in Result:
                self._attempts.labels(channel, result)
        ProcessCollector(registry=self._registry)

    def count(self, ends: Iterable[DeliveryFinished]) -> None:
        """Take note of ends that were committed."""
        for end in ends:
            self._attempts.labels(end.channel, end.result).inc()
            if end.result is Result.SENT:
                age = end.age + self.offset
                self._delivery.labels(end.channel).observe(age.total_seconds())

    def text(self) -> bytes:
        """The counts in Prometheus' own format."""
        return generate_latest(self._registry)


class Gauges:
    """What was read at one look, for the library to write out."""

    def __init__(self, families: Iterable[GaugeMetricFamily]) -> None:
        self._families = list(families)

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """The library asks for this."""
        return self._families

    def text(self) -> bytes:
        """The gauges in Prometheus' own format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)


def application(pool: "Pool[Record]", queue: Queue, meter: Meter) -> web.Application:
    """Serve `/metrics`."""

    async def answer(_: web.Request) -> web.Response:
        text = await render(pool, queue, meter)
        return web.Response(body=text, headers={hdrs.CONTENT_TYPE: CONTENT_TYPE_PLAIN_0_0_4})

    app = web.Application()
    app.router.add_get("/metrics", answer)
    return app


async def render(pool: "Pool[Record]", queue: Queue, meter: Meter) -> bytes:
    """All metrics as text; what cannot be reached is said to be, and left out."""
    found: list[GaugeMetricFamily] = []
    found += await _ledger(pool, meter.offset)
    found += await _stream(queue)
    return meter.text() + Gauges(found).text()


async def _ledger(pool: "Pool[Record]", offset: timedelta) -> list[GaugeMetricFamily]:
    try:
        async with pool.acquire() as db, db.transaction():
            backlogs = await select_backlogs(db, offset)
    except OUTAGE:
        return [_one("vin_ledger_up", "Whether PostgreSQL answers.", 0)]
    return [_one("vin_ledger_up", "Whether PostgreSQL answers.", 1), *_depths(backlogs)]


def _depths(backlogs: Sequence[Backlog]) -> Iterable[GaugeMetricFamily]:
    depth = GaugeMetricFamily(
        "vin_deliveries", "Deliveries that did not end well yet.", labels=["channel", "state"]
    )
    oldest = GaugeMetricFamily(
        "vin_oldest_waiting_seconds", "Age of the oldest that waits.", labels=["channel"]
    )
    overdue = GaugeMetricFamily(
        "vin_overdue_seconds", "How long the longest has been due.", labels=["channel"]
    )
    paused = GaugeMetricFamily("vin_channel_paused", "By an operator.", labels=["channel"])
    for backlog in backlogs:
        for state in STANDING:
            depth.add_metric([backlog.channel, state], backlog.deliveries.get(state, 0))
        oldest.add_metric([backlog.channel], backlog.oldest.total_seconds())
        overdue.add_metric([backlog.channel], backlog.overdue.total_seconds())
        paused.add_metric([backlog.channel], backlog.paused)
    return depth, oldest, overdue, paused


async def _stream(queue: Queue) -> list[GaugeMetricFamily]:
    try:
        length, pending = await queue.lag()
    except OUTAGE:
        return [_one("vin_stream_up", "Whether Redis answers.", 0)]
    return [
        _one("vin_stream_up", "Whether Redis answers.", 1),
        _one("vin_stream_entries", "Wake-ups in the stream, read or not.", length),
        _one("vin_stream_pending", "Wake-ups that a worker read and did not let go of.", pending),
    ]


def _one(name: str, text: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, text, value=value)


async def select_backlogs(db: Db, offset: timedelta) -> list[Backlog]:
    """How each channel stands; each part of the query reads one partial index."""
    rows = await db.fetch(
        """
        -- metrics.select_backlogs
        WITH standing AS (
             SELECT channel, state, count(*) AS deliveries,
                    min(created_at) AS created_at, min(next_at) AS next_at
               FROM notify.delivery
              WHERE state IN ('pending', 'queued', 'retry')
              GROUP BY channel, state
              UNION ALL
             SELECT channel, state, count(*), min(created_at), NULL
               FROM notify.delivery
              WHERE state = 'sending'
              GROUP BY channel, state
              UNION ALL
             SELECT channel, state, count(*), NULL, NULL
               FROM notify.delivery
              WHERE state IN ('unknown', 'dead')
              GROUP BY channel, state
        )
        SELECT name, paused_at IS NOT NULL AS paused,
               array_agg(state) AS states, array_agg(deliveries) AS deliveries,
               clock_timestamp() + $1 - min(created_at) AS oldest,
               clock_timestamp() - min(next_at) AS overdue
          FROM notify.channel
          LEFT JOIN standing ON standing.channel = channel.name
         GROUP BY name, paused_at
         ORDER BY name
        """,
        offset,
    )
    return [
        Backlog(
            channel=Channel(row["name"]),
            paused=row["paused"],
            deliveries={
                State(state): count
                for state, count in zip(row["states"], row["deliveries"], strict=True)
                if state is not None
            },
            oldest=row["oldest"] or timedelta(),
            overdue=max(timedelta(), row["overdue"] or timedelta()),
        )
        for row in rows
    ]
