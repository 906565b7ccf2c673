"""A mail server, letters to send, and workers to send them."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, cast
from uuid import UUID, uuid4

import asyncpg
import pytest
import pytest_asyncio
from redis.asyncio import Redis

from notify import ledger, mail, queue, relay, worker
from notify.attempts import DeliveryFinished, DeliveryStarted
from notify.breaker import Breaker
from notify.carrier import Answers
from notify.ledger import Channel, NewNotice
from notify.letters import Letter, MatchItem, MatchLetter
from notify.mail import MailDesk, Route
from notify.office import Office
from notify.queue import Bell, Queue
from notify.relay import run_relay
from notify.retry import State
from notify.worker import run_worker
from schemas.database import Db
from tests.conftest import MakeDatabase
from tests.notify.smtp_peer import Peer, peer_listening

if TYPE_CHECKING:
    from asyncpg import Pool, Record

AT = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
SENDER = "vin@index.test"


def letter_for(number: int) -> Letter:
    return MatchLetter(
        recipient=f"reporter{number}@school.test",
        language="nl",
        items=[
            MatchItem(
                reference=f"D-2026.{number:04}",
                number="M-7KQ4-9XWD-2",
                kind="child",
                name=f"Reporter {number + 1}",
                function="Jeugdarts",
                organisation="GGD",
                phone="072 123 45 67",
                email=f"reporter{number + 1}@ggd.test",
            )
        ],
    )


@dataclass
class Letters:
    """Composes what a test wrote down; a notice without a letter has nothing left to tell."""

    by_notice: dict[UUID, Letter] = field(default_factory=dict)
    written: Callable[[UUID], Awaitable[None]] | None = None

    async def recipients(self, _db: Db, notices: Sequence[UUID]) -> Answers[str]:
        return {each: self.by_notice[each].recipient for each in notices if each in self.by_notice}

    async def letters(self, _db: Db, notices: Sequence[UUID]) -> Answers[Letter]:
        if self.written:
            for each in notices:
                await self.written(each)
        return {each: self.by_notice.get(each) for each in notices}


@dataclass
class Log:
    """Keeps what the audit log would."""

    events: list[DeliveryStarted | DeliveryFinished] = field(default_factory=list)

    async def __call__(self, _db: Db, events: Sequence[DeliveryStarted | DeliveryFinished]) -> None:
        self.events += events

    def results(self) -> list[str]:
        return [event.result for event in self.events if isinstance(event, DeliveryFinished)]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def notify_database(make_database: MakeDatabase) -> str:
    """One database for all of these tests: to make one takes longer than most of them."""
    return await make_database("vin")


@pytest_asyncio.fixture
async def db_url(notify_database: str) -> str:
    """The database, with nothing in it."""
    db = await asyncpg.connect(notify_database)
    try:
        await db.execute("TRUNCATE notify.notice, notify.mailbox, registry.webhook CASCADE")
        await db.execute("UPDATE notify.channel SET paused_at = NULL, ambiguous = DEFAULT")
    finally:
        await db.close()
    return notify_database


async def add_webhook(db: Db) -> UUID:
    """A webhook of an organisation of its own."""
    await db.execute(
        """
        INSERT INTO registry.category (code, name, valid_from)
        VALUES ('school', 'School', '2015-01-01')
            ON CONFLICT DO NOTHING
        """
    )
    webhook = await db.fetchval(
        """
        WITH organisation AS (
             INSERT INTO registry.organisation (id, code, name, category, language, mail_mode)
             VALUES ($1::uuid, $1::uuid::text, 'School', 'school', 'nl', 'full')
             RETURNING id
        )
        INSERT INTO registry.webhook
               (id, organisation_id, name, form, address_epoch, address, secrets_epoch, secrets,
                created_at)
        SELECT gen_random_uuid(), id, 'system', 'standard', 1, '', 1, '', clock_timestamp()
          FROM organisation
        RETURNING id
        """,
        uuid4(),
    )
    assert isinstance(webhook, UUID)
    return webhook


@pytest.fixture
def letters() -> Letters:
    return Letters()


@pytest.fixture
def log() -> Log:
    return Log()


@pytest_asyncio.fixture
async def peer() -> AsyncIterator[Peer]:
    async with peer_listening() as listening:
        yield listening


@dataclass
class Service:
    """Relay and workers on one database, one Redis and one mail server."""

    url: str
    pool: "Pool[Record]"
    redis: Redis
    letters: Letters
    log: Log
    peer: Peer
    breaker: Breaker = field(default_factory=Breaker)
    passed: float = 0

    def office(self, name: str = "worker 1", **changes: object) -> Office:
        route = Route(host="127.0.0.1", port=self.peer.port, sender=SENDER, tls_required=False)
        desk = MailDesk(cast("Pool[Record]", changes.get("pool", self.pool)), self.letters, route)
        settings: dict[str, object] = {
            "pool": self.pool,
            "queue": Queue(self.redis),
            "desks": {Channel.MAIL: desk},
            "journal": self.log,
            "breaker": self.breaker,
            "clock": lambda: time.monotonic() + self.passed,
            "name": name,
        }
        return Office(**(settings | changes))  # type: ignore[arg-type]

    @asynccontextmanager
    async def running(self, *offices: Office) -> AsyncIterator[asyncio.Event]:
        """Let a relay and workers run, one when none is named, and stop them as SIGTERM does."""
        stop = asyncio.Event()
        async with self.relaying(), asyncio.TaskGroup() as group:
            for office in offices or [self.office()]:
                group.create_task(run_worker(office, stop))
            yield stop
            stop.set()

    @asynccontextmanager
    async def relaying(self) -> AsyncIterator[None]:
        """Let a relay run."""
        stop, bell = asyncio.Event(), Bell(self.redis)
        async with asyncio.TaskGroup() as group:
            group.create_task(run_relay(self.office(), bell, stop))
            yield
            stop.set()

    async def append(self, count: int = 1, party: UUID | None = None) -> list[UUID]:
        """Write notices with a letter each."""
        notices = [NewNotice(uuid4(), uuid4(), [(uuid4(), uuid4())], party) for _ in range(count)]
        for number, notice in enumerate(notices):
            self.letters.by_notice[notice.id] = letter_for(number)
        db = await asyncpg.connect(self.url)  # none that a test may have cut
        try:
            async with db.transaction():
                await ledger.append(db, notices, AT)
        finally:
            await db.close()
        return [notice.id for notice in notices]

    async def counts(self) -> dict[State, int]:
        async with self.pool.acquire() as db:
            return await ledger.count_by_state(db)

    async def standing(self) -> list[tuple[str, int, bool]]:
        """Each delivery's state, number of attempts, and whether it may have come twice."""
        async with self.pool.acquire() as db:
            rows = await db.fetch("SELECT state, attempt, maybe_duplicate FROM notify.delivery")
        return [tuple(row) for row in rows]

    def copies(self) -> Counter[str]:
        """How often each mail arrived."""
        lines = [line for mail in self.peer.accepted for line in mail.content.splitlines()]
        return Counter(line.decode() for line in lines if line.startswith(b"Message-ID:"))

    async def settle(self, **expected: int) -> None:
        """Wait until so many deliveries stand in each state."""
        wanted = {State(state): count for state, count in expected.items()}
        for _ in range(2000):
            if await self.counts() == wanted:
                return
            await asyncio.sleep(0.01)
        pytest.fail(f"still {await self.counts()}")

    async def execute(self, statement: str) -> None:
        async with self.pool.acquire() as db:
            await db.execute(statement)

    async def drop_connections(self) -> None:
        """Have the database hang up on everyone, as a restart does."""
        async with self.pool.acquire() as db:
            await db.execute(
                """
                SELECT pg_terminate_backend(pid)
                  FROM pg_stat_activity
                 WHERE datname = current_database() AND pid <> pg_backend_pid()
                """
            )

    async def hurry(self) -> None:
        """Let every wait, visibility and lease be over."""
        await self.execute(
            """
            UPDATE notify.delivery
               SET next_at = clock_timestamp(),
                   lease_until = CASE WHEN state = 'sending' THEN clock_timestamp() END
            """
        )

    async def pass_time(self, seconds: float) -> None:
        """Let time go by at once, for the breaker and for what waits in the ledger."""
        self.passed += seconds
        async with self.pool.acquire() as db:
            await db.execute(
                """
                UPDATE notify.delivery
                   SET next_at = next_at - make_interval(secs => $1)
                 WHERE state <> 'sending'
                """,
                seconds,
            )

    async def value(self, query: str) -> object:
        async with self.pool.acquire() as db:
            return await db.fetchval(query)


@pytest.fixture
def service(
    db_url: str, pool: "Pool[Record]", redis: Redis, letters: Letters, log: Log, peer: Peer
) -> Service:
    return Service(db_url, pool, redis, letters, log, peer)


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Poll often, so that tests end soon, and talk to the mail server anew for each mail."""
    for module, name in [
        (queue, "LISTEN_SECONDS"),
        (relay, "POLL_SECONDS"),
        (relay, "TIDY_SECONDS"),
        (worker, "READ_SECONDS"),
        (worker, "WAIT_SECONDS"),
    ]:
        monkeypatch.setattr(module, name, 0.02)
    monkeypatch.setattr(mail, "IDLE_SECONDS", 0)
