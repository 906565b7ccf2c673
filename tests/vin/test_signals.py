"""Registering in batches, on real PostgreSQL."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest

from schemas.database import Db
from tests.world import (
    SECRETS,
    Somebody,
    make_region,
    make_reporter,
    make_reporters,
    permit,
    registration,
)
from vin.errors import (
    IdempotencyConflictError,
    InvalidBodyError,
    NotEntitledError,
    NotFoundError,
    PermitRefusedError,
    PermitSpentError,
    SignalEndedError,
    VinError,
)
from vin.signals import (
    Registered,
    Registration,
    Wanted,
    Withdrawal,
    list_signals,
    read_signal,
    register_batch,
    withdraw,
)

if TYPE_CHECKING:
    from asyncpg import Pool, Record

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)


@pytest.fixture
async def reporters(db: Db) -> list[Somebody]:
    await make_region(db)
    return await make_reporters(db, 3)


async def register(
    db: Db, *batch: Registration, now: datetime = NOW
) -> list[Registered | VinError]:
    async with db.transaction():
        return await register_batch(db, batch, SECRETS, now)


async def one(db: Db, request: Registration, now: datetime = NOW) -> Registered:
    (answer,) = await register(db, request, now=now)
    assert isinstance(answer, Registered), answer
    return answer


async def count(db: Db, table: str) -> int:
    number: int = await db.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608
    return number


async def test_a_registration_leaves_signal_tokens_queue_row_and_log(
    db: Db, reporters: list[Somebody]
) -> None:
    answer = await one(db, registration(reporters[0], 1, parents=[1, 2], reference="D-2026.7"))

    assert answer.created
    assert answer.signal.reference == "D-2026.7"
    assert answer.signal.status == "live"
    assert answer.signal.remove_on == date(2028, 11, 22)
    assert await count(db, "matching.token") == 3
    assert await count(db, "matching.match_queue") == 1
    assert await db.fetchval("SELECT event FROM audit.entry") == "signal.registered"


async def test_m7_the_same_child_again_returns_the_live_signal_with_its_dates(
    db: Db, reporters: list[Somebody]
) -> None:
    first = await one(db, registration(reporters[0], 1))
    later = NOW + timedelta(days=30)

    again = await one(db, registration(reporters[0], 1, reference="other"), now=later)

    assert not again.created
    assert again.signal == first.signal
    assert await count(db, "matching.signal") == 1


async def test_m7_twins_known_by_name_differ_in_their_file_number(
    db: Db, reporters: list[Somebody]
) -> None:
    first = await one(db, registration(reporters[0], weak=1, reference="A"))
    twin = await one(db, registration(reporters[0], weak=1, reference="B"))
    again = await one(db, registration(reporters[0], weak=1, reference="A"))

    assert twin.created
    assert not again.created
    assert again.signal.id == first.signal.id


async def test_m7_the_same_child_after_the_signal_ended_by_date_is_new(
    db: Db, reporters: list[Somebody]
) -> None:
    short = replace(registration(reporters[0], 1), remove_on=date(2026, 12, 1))
    first = await one(db, short)

    day_before = await one(
        db, registration(reporters[0], 1), now=datetime(2026, 11, 30, 22, 59, tzinfo=UTC)
    )
    that_day = await one(
        db, registration(reporters[0], 1), now=datetime(2026, 11, 30, 23, 1, tzinfo=UTC)
    )

    assert day_before.signal.id == first.signal.id
    assert that_day.created


async def test_a_retry_gets_the_same_answer_and_spends_no_permit(
    db: Db, reporters: list[Somebody]
) -> None:
    request = registration(reporters[0], 1)
    first = await one(db, request)

    again = await one(db, replace(request, signal=uuid4(), permit=PermitRefusedError("expired")))

    assert again == first
    assert await count(db, "matching.permit") == 1


async def test_an_idempotency_key_with_another_body_is_refused(
    db: Db, reporters: list[Somebody]
) -> None:
    request = registration(reporters[0], 1)
    await one(db, request)

    (answer,) = await register(db, replace(request, signal=uuid4(), fingerprint=bytes(31) + b"x"))

    assert isinstance(answer, IdempotencyConflictError)


async def test_two_organisations_may_use_one_idempotency_key(
    db: Db, reporters: list[Somebody]
) -> None:
    key = uuid4()
    batch = [replace(registration(each, 1), idempotency_key=key) for each in reporters]

    answers = await register(db, *batch)

    assert all(isinstance(answer, Registered) and answer.created for answer in answers)


async def test_retries_in_one_batch_share_one_outcome(db: Db, reporters: list[Somebody]) -> None:
    good = registration(reporters[0], 1)
    bad = replace(registration(reporters[1], 1), permit=PermitRefusedError("no"))
    batch = [good, replace(good, signal=uuid4()), bad, replace(bad, signal=uuid4())]

    first, second, third, fourth = await register(db, *batch)

    assert first == second
    assert isinstance(third, PermitRefusedError)
    assert isinstance(fourth, PermitRefusedError)
    assert await count(db, "matching.signal") == 1
    assert await count(db, "matching.idempotency") == 1


async def test_one_child_twice_in_one_batch_is_one_signal(
    db: Db, reporters: list[Somebody]
) -> None:
    batch = [registration(reporters[0], 1) for _ in range(5)]

    answers = await register(db, *batch)

    created = [answer for answer in answers if isinstance(answer, Registered) and answer.created]
    assert len(created) == 1
    assert {answer.signal.id for answer in answers if isinstance(answer, Registered)} == {
        created[0].signal.id
    }


async def test_a_bad_registration_fails_alone_and_leaves_nothing(
    db: Db, reporters: list[Somebody]
) -> None:
    paid = permit()
    spent = replace(registration(reporters[0], 9), permit=paid)
    await one(db, spent)
    batch = [
        registration(reporters[0], 1),
        replace(registration(reporters[1], 1), reporter_id="nobody"),
        replace(registration(reporters[1], 2), permit=paid),
        replace(registration(reporters[1], 3), remove_on=date(2028, 11, 23)),
        replace(registration(reporters[1], 4), remove_on=date(2026, 11, 22)),
        replace(registration(reporters[1], 5), destroy_by=date(2033, 11, 23)),
        registration(reporters[2], 1),
    ]

    answers = await register(db, *batch)

    assert [type(answer) for answer in answers] == [
        Registered,
        InvalidBodyError,
        PermitSpentError,
        InvalidBodyError,
        InvalidBodyError,
        InvalidBodyError,
        Registered,
    ]
    assert await count(db, "matching.signal") == 3
    assert await count(db, "matching.idempotency") == 3
    assert await count(db, "matching.permit") == 3


async def test_a_body_with_several_faults_names_them_all(db: Db, reporters: list[Somebody]) -> None:
    request = replace(
        registration(reporters[0], 1),
        reporter_id="nobody",
        remove_on=date(2020, 1, 1),
        destroy_by=date(2050, 1, 1),
    )

    (answer,) = await register(db, request)

    assert isinstance(answer, InvalidBodyError)
    assert [fault.name for fault in answer.faults] == ["reporterId", "removeOn", "destroyBy"]


async def test_w1_without_an_agreement_or_a_designated_category_nobody_registers(
    db: Db, reporters: list[Somebody]
) -> None:
    await db.execute(
        "UPDATE registry.agreement SET valid_to = '2026-11-21' WHERE organisation_id = $1",
        reporters[0].organisation,
    )
    await db.execute("INSERT INTO registry.category VALUES ('shop', 'Shop', '2030-01-01', NULL)")
    await db.execute(
        "UPDATE registry.organisation SET category = 'shop' WHERE id = $1",
        reporters[1].organisation,
    )

    answers = await register(db, *(registration(each, 1) for each in reporters))

    assert [type(answer) for answer in answers] == [NotEntitledError, NotEntitledError, Registered]
    assert await count(db, "matching.permit") == 1


async def test_one_permit_pays_once_among_many_at_once(
    pool: "Pool[Record]", db: Db, reporters: list[Somebody]
) -> None:
    paid = permit()
    requests = [replace(registration(reporters[0], child), permit=paid) for child in range(20)]

    async def alone(request: Registration) -> Registered | VinError:
        async with pool.acquire() as own:
            return (await register(own, request))[0]

    answers = await asyncio.gather(*map(alone, requests))

    assert sum(isinstance(answer, Registered) for answer in answers) == 1
    assert sum(isinstance(answer, PermitSpentError) for answer in answers) == 19
    assert await count(db, "matching.signal") == 1


async def test_batches_that_meet_on_keys_and_children_neither_lock_nor_double(
    pool: "Pool[Record]", db: Db, reporters: list[Somebody]
) -> None:
    requests = [registration(each, child) for child in range(10) for each in reporters]
    retried = [*requests, *(replace(each, signal=uuid4()) for each in reversed(requests))]

    async def batch(part: Sequence[Registration]) -> list[Registered | VinError]:
        async with pool.acquire() as own:
            return await register(own, *part)

    parts = [retried[start::6] for start in range(6)]
    answers = [each for part in await asyncio.gather(*map(batch, parts)) for each in part]

    assert len({each.signal.id for each in answers if isinstance(each, Registered)}) == 30
    assert all(isinstance(each, Registered) for each in answers)
    assert await count(db, "matching.signal") == 30


def withdrawal(signal: UUID, by: Somebody, ground: str = "risk_gone") -> Withdrawal:
    return Withdrawal(
        organisation=by.organisation,
        client="client",
        request_id=uuid4(),
        signal=signal,
        ground=ground,
    )


async def test_l2_a_withdrawn_signal_ends_and_its_reporter_may_register_anew(
    db: Db, reporters: list[Somebody]
) -> None:
    first = await one(db, registration(reporters[0], 1))
    request = withdrawal(first.signal.id, reporters[0])

    async with db.transaction():
        await withdraw(db, request, NOW)
        await withdraw(db, request, NOW)
    anew = await one(db, registration(reporters[0], 1))

    ended = await read_signal(db, first.signal.id, reporters[0].organisation, SECRETS.contact, NOW)
    assert ended.status == "ended"
    assert anew.created
    with pytest.raises(SignalEndedError):
        await withdraw(db, replace(request, ground="unjustified"), NOW)


async def test_d4_another_organisations_signal_is_not_there(
    db: Db, reporters: list[Somebody]
) -> None:
    first = await one(db, registration(reporters[0], 1))

    with pytest.raises(NotFoundError):
        await read_signal(db, first.signal.id, reporters[1].organisation, SECRETS.contact, NOW)
    with pytest.raises(NotFoundError):
        await withdraw(db, withdrawal(first.signal.id, reporters[1]), NOW)


async def test_d4_a_list_holds_own_signals_once_each_in_order(
    db: Db, reporters: list[Somebody]
) -> None:
    colleague = await make_reporter(db, 50, reporters[0].organisation)
    expected = [(await one(db, registration(reporters[0], n))).signal.id for n in range(5)]
    other = (await one(db, registration(colleague, 1))).signal.id
    await one(db, registration(reporters[1], 1))

    async def pages(reporter_id: str | None) -> list[UUID]:
        found: list[UUID] = []
        after = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))
        more = True
        while more:
            wanted = Wanted(
                organisation=reporters[0].organisation,
                reporter_id=reporter_id,
                after=after,
                limit=2,
            )
            items, more = await list_signals(db, wanted, SECRETS.contact, NOW)
            found += [item.id for item in items]
            after = (items[-1].registered_at, items[-1].id) if items else after
        return found

    assert set(await pages(None)) == {*expected, other}
    assert sorted(await pages(reporters[0].reporter_id)) == sorted(expected)
    assert await pages("nobody") == []
