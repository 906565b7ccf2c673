"""The checks of `tests/invariants.py` see what they are for, and bugs that were planted."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from notify import attempts
from notify.queue import HIGH_WATER, STREAM
from notify.retry import State
from notify.worker import run_worker
from tests.conftest import MakeDatabase
from tests.invariants import Evidence, Hook, broken, copy_of
from tests.notify.conftest import Letters, Log, Service
from tests.notify.smtp_peer import DROP, Moment, Peer
from tests.soak import sabotage
from tests.steps import end, match_all, register
from tests.world import SECRETS, Somebody, make_region, make_reporters, registration
from vin import match_store
from vin.clock import Clock
from vin.notices import NoticeComposer, journal_with

if TYPE_CHECKING:
    from asyncpg import Pool, Record


@pytest_asyncio.fixture
async def db_url(make_database: MakeDatabase) -> str:
    return await make_database("vin")


@dataclass
class House:
    """Two reporters who matched, and a service that tells them."""

    service: Service
    reporters: list[Somebody]
    signals: list[UUID]

    async def evidence(self, **changes: object) -> Evidence:
        seen = Evidence(
            copies=[
                copy_of(mail.sender, mail.recipient, mail.content)
                for mail in self.service.peer.accepted
            ],
            addresses={each.id: each.email for each in self.reporters},
            personal=[each.email for each in self.reporters],
        )
        return replace(seen, **changes)  # type: ignore[arg-type]

    async def broken(self, **changes: object) -> list[str]:
        """The invariants that do not hold, by their names."""
        async with self.service.pool.acquire() as db:
            told = await broken(db, self.service.redis, await self.evidence(**changes))
        return sorted({sentence.partition(":")[0] for sentence in told})

    async def withdraw(self) -> datetime:
        """One of the two has nothing to do with the child any more."""
        async with self.service.pool.acquire() as db:
            await end(db, self.signals[0], self.reporters[0], now=await Clock().now(db))
            return await Clock().now(db)


@pytest_asyncio.fixture
async def house(db_url: str, pool: "Pool[Record]", redis: Redis, peer: Peer) -> House:
    async with pool.acquire() as db:
        await make_region(db)
        reporters = await make_reporters(db, 2)
        now = await Clock().now(db)
        requests = [registration(each, 1) for each in reporters]
        signals = await register(db, *requests, now=now)
        await match_all(db, now=now)
    composer = cast("Letters", NoticeComposer(SECRETS.contact, Clock()))
    journal = cast("Log", journal_with(Clock()))
    return House(Service(db_url, pool, redis, composer, journal, peer), reporters, signals)


async def deliver(house: House) -> None:
    async with house.service.running():
        await house.service.settle(sent=2)
        await still(house)


async def still(house: House) -> None:
    while await house.service.redis.xlen(STREAM):
        await asyncio.sleep(0.01)


async def test_what_went_well_breaks_nothing(house: House) -> None:
    await deliver(house)

    assert await house.broken() == []


DAMAGES = [
    (
        "I1",
        """
        ALTER TABLE notify.delivery DROP CONSTRAINT delivery_notice;
        INSERT INTO notify.delivery (id, notice_id, channel, state, next_at, created_at)
        SELECT gen_random_uuid(), notice_id, 'mail', 'suppressed', next_at, created_at
          FROM notify.delivery
         LIMIT 1
        """,
    ),
    ("I4", "UPDATE notify.delivery SET state = 'retry'"),
    ("I4", "UPDATE notify.delivery SET state = 'unknown'"),
    ("I7", "UPDATE notify.delivery SET attempt = attempt + 1"),
    ("I7", "UPDATE notify.attempt SET attempt = attempt + 1"),
    ("I7", "UPDATE notify.attempt SET outcome = 'deferred'"),
    ("I7", "DELETE FROM audit.entry WHERE event = 'delivery.started'"),
    ("I7", "DELETE FROM audit.entry WHERE event = 'delivery.finished'"),
]


async def test_a_damaged_ledger_is_seen(house: House) -> None:
    await deliver(house)
    async with house.service.pool.acquire() as db:
        for invariant, damage in DAMAGES:
            undone = db.transaction()
            await undone.start()
            await db.execute(damage)
            found = await broken(db, house.service.redis, await house.evidence())
            await undone.rollback()

            assert {sentence.partition(":")[0] for sentence in found} == {invariant}, damage


async def test_a_mail_that_came_twice_is_seen(house: House) -> None:
    await deliver(house)
    seen = await house.evidence()
    twice = [*seen.copies, seen.copies[0]]

    assert await house.broken(copies=twice) == ["I3"]
    await house.service.execute("UPDATE notify.delivery SET maybe_duplicate = true")
    assert await house.broken(copies=twice) == ["I3"]
    await house.service.execute("UPDATE notify.attempt SET outcome = 'unanswered'")
    assert "I3" not in await house.broken(copies=twice)
    assert "I3" in await house.broken(copies=twice, hold=True)
    await house.service.execute("UPDATE notify.delivery SET maybe_duplicate = false")
    assert "I3" in await house.broken(copies=twice)


async def test_one_attempt_that_arrives_twice_is_seen(house: House) -> None:
    await deliver(house)
    await house.service.execute("UPDATE notify.delivery SET maybe_duplicate = true")
    await house.service.execute("UPDATE notify.attempt SET outcome = 'unanswered'")
    seen = await house.evidence()
    first = replace(seen.copies[0], attempt=1)

    assert "I3" in await house.broken(copies=[first, first, seen.copies[1]])


async def test_what_is_wrong_with_a_mail_is_seen(house: House) -> None:
    await deliver(house)
    first, second = (await house.evidence()).copies
    changes: list[dict[str, Any]] = [
        {"recipient": "somebody@else.test"},
        {"text": "another@school.test"},
        {"text": ""},
        {"numbers": frozenset({"M-0000-0000-0"})},
        {"numbers": frozenset()},
    ]

    assert await house.broken(copies=[second]) == ["I2"]
    for change in changes:
        assert await house.broken(copies=[replace(first, **change), second]) == ["I6"]


async def test_an_address_in_redis_or_a_log_is_seen(house: House, tmp_path: Path) -> None:
    await deliver(house)
    address = house.reporters[0].email
    log = tmp_path / "worker.log"
    log.write_text(f"sent to {address}\n")

    assert await house.broken(logs=[log]) == ["I5"]
    await house.service.redis.set("last", address)
    assert await house.broken() == ["I5"]


async def test_a_stream_that_is_long_or_not_emptied_is_seen(house: House) -> None:
    await deliver(house)

    assert await house.broken(longest_stream=HIGH_WATER + 1) == ["I9"]
    assert await house.broken(longest_stream=HIGH_WATER + 1, relays=2) == []
    await house.service.redis.xadd(STREAM, {"delivery": str(uuid4())})
    assert await house.broken() == ["I9"]


async def test_a_mail_on_what_was_withdrawn_before_is_seen(house: House) -> None:
    await deliver(house)
    async with house.service.pool.acquire() as db:
        now = await Clock().now(db)
    before, after = now - timedelta(hours=1), now

    assert await house.broken(withdrawn={house.signals[0]: after}) == []
    assert await house.broken(withdrawn={house.signals[0]: before}) == ["I8"]


async def test_a_webhook_that_tells_twice_or_wrongly_is_seen(house: House) -> None:
    await deliver(house)
    delivery, number = await told_by_webhook(house)
    once = Hook("webhook", delivery, number)

    assert await house.broken(hooks=[once, once]) == []
    assert await house.broken(hooks=[]) == ["I2"]
    assert await house.broken(hooks=[once, Hook("webhook", uuid4(), number)]) == ["I10"]
    assert await house.broken(hooks=[replace(once, number="M-0000-0000-0")]) == ["I10"]


async def told_by_webhook(house: House) -> tuple[UUID, str]:
    """A webhook's delivery that was sent, and the match that it told."""
    delivery = uuid4()
    async with house.service.pool.acquire() as db:
        await db.execute(
            """
            INSERT INTO registry.webhook
            VALUES ($1, $2, 'w', 'standard', 1, '', 1, '', now(), NULL)
            """,
            webhook := uuid4(),
            house.reporters[0].organisation,
        )
        number: str = await db.fetchval(
            """
            WITH sent AS (
                 INSERT INTO notify.delivery
                        (id, notice_id, channel, state, next_at, created_at, webhook_id, match_id)
                 SELECT $1, notice_id, 'webhook', 'sent', now(), now(), $2, match_id
                   FROM notify.notice_match
                  LIMIT 1
                 RETURNING match_id
            )
            SELECT number FROM matching.match JOIN sent ON match_id = id
            """,
            delivery,
            webhook,
        )
    return delivery, number


async def dies_after_the_dot(house: House) -> dict[str, Any]:
    """A worker dies when the mail has arrived and it has not written so; another takes over."""
    service = house.service
    service.peer.hooks["ANSWER"] = hold = Moment()
    service.peer.faults["ANSWER"] += [DROP, DROP]
    async with service.relaying():
        dying = asyncio.create_task(run_worker(service.office(), asyncio.Event()))
        await hold.reached.wait()
        while len(service.peer.accepted) < 2:
            await asyncio.sleep(0.01)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        del service.peer.hooks["ANSWER"]
        hold.passed.set()
        await service.hurry()
        async with service.running(service.office("worker 2")):
            await service.settle(sent=2)
            await still(house)
    return {}


class Gate(Moment):
    """Holds all that come, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    async def __call__(self) -> None:
        self.count += 1
        await super().__call__()

    async def full(self, count: int) -> None:
        while self.count < count:
            await asyncio.sleep(0.01)


async def wakes_up_late(house: House) -> dict[str, Any]:
    """A worker stands still before DATA; when another has taken over, it goes on."""
    service = house.service
    service.peer.hooks["RCPT"] = asleep = Gate()
    async with service.running():
        await asleep.full(2)
        del service.peer.hooks["RCPT"]
        gate = Gate()
        service.peer.hooks |= {"CONTENT": gate, "RSET": gate, "QUIT": gate}
        await service.hurry()
        async with service.running(service.office("worker 2")):
            await gate.full(2)
            asleep.passed.set()
            await gate.full(4)
            service.peer.hooks.clear()
            gate.passed.set()
            await service.settle(sent=2)
            await still(house)
    return {}


async def is_withdrawn_first(house: House) -> dict[str, Any]:
    """A signal is withdrawn after the match, before the mail on it."""
    at = await house.withdraw()
    async with house.service.running():
        while await house.service.counts() not in ENDS:
            await asyncio.sleep(0.01)
        await still(house)
    return {"withdrawn": {house.signals[0]: at}}


ENDS = ({State.SUPPRESSED: 2}, {State.SENT: 2})


@pytest.mark.parametrize(
    ("what", "scene", "invariant"),
    [
        ("mark", dies_after_the_dot, "I3"),
        ("fence", wakes_up_late, "I3"),
        ("check", is_withdrawn_first, "I8"),
    ],
)
async def test_what_is_taken_out_is_missed(
    house: House,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    scene: Callable[[House], Awaitable[dict[str, Any]]],
    invariant: str,
) -> None:
    for module, name in [
        (attempts, "mark_batch"),
        (attempts, "finish_batch"),
        (match_store, "select_sides"),
    ]:
        monkeypatch.setattr(module, name, getattr(module, name))  # to be put back after this
    sabotage.take_out(what)
    changes = await scene(house)

    assert invariant in await house.broken(**changes)


@pytest.mark.parametrize("scene", [dies_after_the_dot, wakes_up_late, is_withdrawn_first])
async def test_with_all_in_place_nothing_is_broken(
    house: House, scene: Callable[[House], Awaitable[dict[str, Any]]]
) -> None:
    changes = await scene(house)

    assert await house.broken(**changes) == []
