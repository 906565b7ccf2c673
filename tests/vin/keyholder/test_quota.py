import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest
import pytest_asyncio

from tests.vin.keyholder.house import (
    CLIENT,
    NOW,
    House,
    authorization,
    batch,
    opened,
    question,
)
from vin.keyholder.evaluator import Evaluator
from vin.keyholder.quota import seconds_to_midnight


async def test_what_is_left_is_told_of_whoever_has_least(house: House) -> None:
    _, given = await house.ask(question(batch(256)))
    assert given["quotaLeft"] == 1000 - 256

    for reporter in ("p-2", "p-3", "p-4", "p-5"):
        _, given = await house.ask(question(batch(256), reporter=reporter))
    assert given["quotaLeft"] == 2000 - 5 * 256


async def test_a_reporter_cannot_go_beyond_his_quota(house: House) -> None:
    await house.admit(replace(CLIENT, reporter_quota=5))

    assert (await house.ask(question(batch(3))))[0] == 200
    assert (await house.ask(question(batch(3))))[0] == 429
    status, given = await house.ask(question(batch(2)))
    assert (status, given["quotaLeft"]) == (200, 0)
    assert (await house.ask(question(batch(1))))[0] == 429
    assert (await house.ask(question(batch(5), reporter="p-2")))[0] == 200
    assert await house.counted() == (10, 10)


async def test_a_request_that_no_day_allows_is_refused(house: House) -> None:
    await house.admit(replace(CLIENT, reporter_quota=2))
    assert (await house.ask(question(batch(3))))[0] == 429

    await house.admit(replace(CLIENT, organisation_quota=2))
    assert (await house.ask(question(batch(3))))[0] == 429
    assert await house.counted() == (0, 0)


async def test_who_has_used_his_quota_is_told_to_wait_for_midnight(house: House) -> None:
    await house.admit(replace(CLIENT, organisation_quota=0))

    async with house.service.http.post(
        "/v1/evaluations", json=question(), headers=authorization()
    ) as answer:
        assert answer.status == 429
        assert (await answer.json())["type"] == "urn:problem-type:vin:quota-exceeded"
        assert answer.headers["Retry-After"] == str(14 * 3600)


async def test_the_quota_begins_anew_at_local_midnight(house: House) -> None:
    await house.admit(replace(CLIENT, organisation_quota=1))
    house.clock.now = datetime(2026, 11, 22, 22, 59, 59, tzinfo=UTC)
    assert (await house.ask(question()))[0] == 200
    assert (await house.ask(question()))[0] == 429

    house.clock.now += timedelta(seconds=1)

    assert (await house.ask(question()))[0] == 200


async def test_many_at_once_take_exactly_the_quota(house: House, evaluator: Evaluator) -> None:
    await house.admit(replace(CLIENT, organisation_quota=50))

    async with opened(house.pool, evaluator) as other:
        await house.admit(replace(CLIENT, organisation_quota=50))
        answers = await asyncio.gather(
            *(
                service.ask(question(batch(3), reporter=f"p-{number % 4}"))
                for number in range(20)
                for service in (house, other)
            )
        )

    statuses = [status for status, _ in answers]
    assert (statuses.count(200), statuses.count(429)) == (16, 24)
    assert await house.counted() == (48, 48)


async def test_clients_of_one_organisation_share_its_quota(house: House) -> None:
    second = replace(CLIENT, id="client-2")
    stranger = replace(CLIENT, id="client-3", organisation_id=UUID(int=6))
    for client in (CLIENT, second, stranger):
        await house.admit(replace(client, organisation_quota=1))

    statuses = [
        (await house.ask(question(), client=client))[0]
        for client in ("client-1", "client-2", "client-3")
    ]

    assert statuses == [200, 429, 200]


async def test_old_days_are_forgotten(house: House) -> None:
    for day in range(9):
        house.clock.now = NOW + timedelta(days=day)
        await house.ask(question())

    kept = [date(2026, 11, 23) + timedelta(days=day) for day in range(8)]
    for query in (
        "SELECT day FROM keyholder.reporter_usage ORDER BY day",
        "SELECT day FROM keyholder.organisation_usage ORDER BY day",
    ):
        assert [row["day"] for row in await house.pool.fetch(query)] == kept


@pytest.mark.parametrize(
    ("now", "seconds"),
    [
        (datetime(2026, 11, 22, 22, 59, 59, tzinfo=UTC), 1),
        (datetime(2026, 11, 22, 22, 59, 59, 1, tzinfo=UTC), 1),
        (datetime(2026, 11, 22, 23, 0, tzinfo=UTC), 24 * 3600),
        (datetime(2026, 3, 28, 23, 0, tzinfo=UTC), 23 * 3600),
        (datetime(2026, 10, 24, 22, 0, tzinfo=UTC), 25 * 3600),
    ],
)
def test_the_wait_is_right_also_when_the_clock_changes(now: datetime, seconds: int) -> None:
    assert seconds_to_midnight(now) == seconds


@pytest_asyncio.fixture
async def impatient(house: House, evaluator: Evaluator) -> AsyncIterator[House]:
    async with opened(house.pool, evaluator, store_seconds=0.2) as started:
        yield started


async def test_without_an_answer_of_the_database_nothing_is_evaluated(impatient: House) -> None:
    async with impatient.pool.acquire() as db, db.transaction():
        await db.execute("LOCK TABLE keyholder.organisation_usage")
        status, problem = await impatient.ask(question())

    assert (status, problem["type"]) == (503, "urn:problem-type:vin:unavailable")
    assert await impatient.counted() == (0, 0)


async def test_without_a_database_nothing_is_evaluated(house: House) -> None:
    await house.pool.close()

    assert (await house.ask(question()))[0] == 503
    for path in ("/v1/keys", "/health/ready"):
        async with house.service.http.get(path) as answer:
            assert answer.status == 503
