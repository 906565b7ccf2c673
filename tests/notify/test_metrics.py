from datetime import timedelta
from pathlib import Path
from socket import socket
from uuid import uuid4

import asyncpg
import pytest
from aiohttp import ClientSession
from aiohttp.test_utils import TestClient, TestServer
from prometheus_client.parser import text_string_to_metric_families

from notify import ledger, metrics
from notify.attempts import DeliveryFinished
from notify.ledger import Channel
from notify.metrics import Meter, render
from notify.queue import STREAM, Queue, connect
from notify.relay import tidy_batch
from notify.retry import Result
from tests.notify.conftest import Service
from vin import wiring
from vin.errors import StartError
from vin.settings import Address


async def look(service: Service) -> dict[str, float]:
    """All samples by name and labels."""
    text = await render(service.pool, Queue(service.redis), Meter())
    return {
        " ".join([sample.name, *sample.labels.values()]): sample.value
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
    }


async def test_an_index_without_deliveries_shows_zeros(service: Service) -> None:
    seen = await look(service)

    assert seen["vin_deliveries mail pending"] == 0
    assert seen["vin_deliveries webhook dead"] == 0
    assert seen["vin_oldest_waiting_seconds mail"] == 0
    assert seen["vin_stream_entries"] == seen["vin_stream_pending"] == 0
    assert seen["vin_attempts_total mail sent"] == 0
    assert seen["vin_ledger_up"] == seen["vin_stream_up"] == 1


async def test_depth_and_ages_are_the_ledgers(service: Service) -> None:
    await service.append(5)
    await service.execute(
        """
        UPDATE notify.delivery
           SET created_at = clock_timestamp() - interval '1 hour',
               next_at = clock_timestamp() - interval '1 minute'
        """
    )
    await service.execute(
        """
        UPDATE notify.delivery SET state = 'unknown'
         WHERE id IN (SELECT id FROM notify.delivery LIMIT 2)
        """
    )

    seen = await look(service)

    assert seen["vin_deliveries mail pending"] == 3
    assert seen["vin_deliveries mail unknown"] == 2
    assert seen["vin_oldest_waiting_seconds mail"] == pytest.approx(3600, abs=30)
    assert seen["vin_overdue_seconds mail"] == pytest.approx(60, abs=30)
    assert seen["vin_overdue_seconds webhook"] == 0


async def test_what_is_not_due_yet_is_not_overdue(service: Service) -> None:
    await service.append()
    await service.execute("UPDATE notify.delivery SET next_at = clock_timestamp() + interval '1h'")

    assert (await look(service))["vin_overdue_seconds mail"] == 0


async def test_a_demo_that_runs_ahead_sees_the_same_ages(service: Service) -> None:
    await service.append()
    await service.execute(
        "UPDATE notify.delivery SET created_at = clock_timestamp() + interval '1 year'"
    )

    async with service.pool.acquire() as db:
        backlogs = await metrics.select_backlogs(db, timedelta(days=366))

    assert timedelta() < backlogs[0].oldest < timedelta(days=3)


async def test_a_pause_is_shown(service: Service) -> None:
    async with service.pool.acquire() as db:
        await ledger.pause(db, Channel.MAIL)

    seen = await look(service)

    assert seen["vin_channel_paused mail"] == 1
    assert seen["vin_channel_paused webhook"] == 0


async def test_the_stream_shows_what_was_read_and_not_let_go_of(service: Service) -> None:
    queue = Queue(service.redis)
    await queue.read(1, 0.01)
    await queue.publish([uuid4(), uuid4(), uuid4()])
    await queue.read(2, 0.01)

    seen = await look(service)

    assert seen["vin_stream_entries"] == 3
    assert seen["vin_stream_pending"] == 2


async def test_a_lost_group_reads_as_an_empty_one(service: Service) -> None:
    await service.redis.xadd(STREAM, {"delivery": str(uuid4())})

    assert (await look(service))["vin_stream_pending"] == 0


def end(result: Result, seconds: float) -> DeliveryFinished:
    age = timedelta(seconds=seconds)
    return DeliveryFinished(uuid4(), uuid4(), Channel.MAIL, 1, result, None, age)


def test_ends_are_counted_by_how_and_sent_ones_by_how_long_they_took() -> None:
    meter = Meter()
    meter.count([end(Result.SENT, 0.25), end(Result.LEASE_OVER, 9)])
    text = meter.text().decode()

    assert 'vin_attempts_total{channel="mail",outcome="sent"} 1.0' in text
    assert 'vin_attempts_total{channel="mail",outcome="lease_over"} 1.0' in text
    assert 'vin_delivery_seconds_bucket{channel="mail",le="0.2"} 0.0' in text
    assert 'vin_delivery_seconds_bucket{channel="mail",le="0.3"} 1.0' in text
    assert 'vin_delivery_seconds_count{channel="mail"} 1.0' in text


def test_a_demo_that_runs_ahead_counts_the_same_seconds() -> None:
    meter = Meter(timedelta(days=366))
    meter.count([end(Result.SENT, 0.25 - 366 * 86400)])

    assert 'vin_delivery_seconds_sum{channel="mail"} 0.25' in meter.text().decode()


async def test_a_worker_and_a_relay_count_what_they_ended(service: Service) -> None:
    meter = Meter()
    await service.append(3)
    await service.execute(
        """
        UPDATE notify.delivery
           SET state = 'sending', phase = 'before_data', attempt = 1, lease_until = next_at
         WHERE id IN (SELECT id FROM notify.delivery LIMIT 1);
        INSERT INTO notify.attempt (delivery_id, attempt, worker, started_at)
        SELECT id, 1, 'gone', clock_timestamp() FROM notify.delivery WHERE state = 'sending'
        """
    )
    await tidy_batch(service.office(meter=meter))
    async with service.running(service.office(meter=meter)):
        await service.settle(sent=3)

    text = meter.text().decode()
    assert 'vin_attempts_total{channel="mail",outcome="lease_over"} 1.0' in text
    assert 'vin_attempts_total{channel="mail",outcome="sent"} 3.0' in text


async def test_what_cannot_be_reached_is_said_and_the_rest_still_shown(
    service: Service, tmp_path: Path
) -> None:
    async with asyncpg.create_pool(service.url, min_size=1, max_size=1) as closed:
        pass
    async with connect(f"unix://{tmp_path}/nothing") as nowhere:
        text = (await render(closed, Queue(nowhere), Meter())).decode()

    assert "vin_ledger_up 0.0" in text
    assert "vin_stream_up 0.0" in text
    assert "vin_attempts_total" in text
    assert "vin_deliveries{" not in text
    assert "vin_stream_entries" not in text


async def test_a_monitor_reads_them_over_http(service: Service) -> None:
    app = metrics.application(service.pool, Queue(service.redis), Meter())
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/metrics")
        text = await answer.text()

    assert answer.content_type == "text/plain"
    assert "process_resident_memory_bytes" in text
    assert "vin_deliveries{" in text


async def test_a_worker_shows_them_where_it_is_told_to(service: Service) -> None:
    at = Address("127.0.0.1", free_port())
    async with wiring.showing_metrics(service.office(), at), ClientSession() as session:
        async with session.get(f"http://{at.host}:{at.port}/metrics") as answer:
            assert answer.status == 200
        with pytest.raises(StartError, match="Cannot listen on"):
            async with wiring.showing_metrics(service.office(), at):
                pass


async def test_a_worker_that_is_told_nothing_shows_nothing(service: Service) -> None:
    async with wiring.showing_metrics(service.office(), None):
        pass


def free_port() -> int:
    with socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


async def test_no_label_tells_which(service: Service) -> None:
    await service.append(3)
    text = await render(service.pool, Queue(service.redis), Meter())

    labels = {
        name
        for family in text_string_to_metric_families(text.decode())
        for sample in family.samples
        for name in sample.labels
    }
    assert labels <= {"channel", "state", "outcome", "le"}
