"""What a chaos run plays on: servers that crash, a region, workers, and the load."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, TypeVar
from uuid import UUID, uuid4

import asyncpg
from redis.asyncio import Redis

from notify.errors import OUTAGE
from notify.queue import connect
from schemas.database import Db
from tests.running import ENDS_WITH_US
from tests.soak.hookhost import Hookhost, hookhost
from tests.soak.mailhost import Mailhost, mailhost
from tests.steps import end, register
from tests.world import SECRETS, Somebody, make_region, make_reporters, registration
from vin import embedded
from vin.clock import Clock
from vin.crypto import keyfile
from vin.crypto.seal import FileKek
from vin.databases import ensure, migrations
from vin.embedded import EmbeddedError
from vin.migrate import migrate
from vin.webhook_store import Form
from vin.webhooks import Actor, Wanted, put_webhook

if TYPE_CHECKING:
    from asyncpg import Pool, Record

REPORTERS = 100
CALLED = 10
ROLES = {"worker-1": "worker", "worker-2": "worker", "worker-3": "worker", "relay-1": "relay"}
SENDER = "vin@index.test"
_T = TypeVar("_T")


class Fragile:
    """An embedded server that can crash, and then comes back on what it left on the disk."""

    def __init__(
        self,
        serve: Callable[[], AbstractAsyncContextManager[str]],
        process: Callable[[str], Awaitable[int]],
        crash: signal.Signals,
    ) -> None:
        self._serve = serve
        self._process = process
        self._crash = crash
        self._serving = serve()
        self._url = ""
        self._turn = asyncio.Lock()

    async def __aenter__(self) -> str:
        self._url = await self._serving.__aenter__()
        return self._url

    async def __aexit__(self, *error: object) -> None:
        await self._serving.__aexit__(None, None, None)

    async def crash(self) -> None:
        """End it without a chance to tidy up, and start it again."""
        async with self._turn:
            os.kill(await self._process(self._url), self._crash)
            with suppress(EmbeddedError):
                await self._serving.__aexit__(None, None, None)
            self._serving = self._serve()
            await self._serving.__aenter__()


class Nursery:
    """Worker processes by name."""

    def __init__(self, process: Process, logs: Path) -> None:
        self._process = process
        self._logs = logs
        self._turn = asyncio.Lock()
        self.living: dict[str, int] = {}
        self.frozen: set[str] = set()
        self.killed = 0

    async def start(self, name: str, skew: float = 0.0) -> None:
        async with self._turn:
            await self._start(name, skew)

    async def replace(self, name: str, skew: float) -> None:
        """Kill one and start it again; RuntimeError when it had ended by itself."""
        async with self._turn:
            answer = await self._say(f"kill {name}")
            if answer != "killed":
                message = f"{name} {answer}; its log tells why"
                raise RuntimeError(message)
            self.killed += 1
            self.frozen.discard(name)
            await self._start(name, skew)

    async def freeze(self, name: str) -> None:
        """Let one stand still."""
        async with self._turn:
            await self._say(f"freeze {name}")
            self.frozen.add(name)

    async def thaw(self, name: str) -> None:
        async with self._turn:
            await self._say(f"thaw {name}")
            self.frozen.discard(name)

    def holder(self, port: int) -> str | None:
        """Who of them has the connection that comes from this port."""
        for name, process in self.living.items():
            if port in ports_of(process):
                return name
        return None

    async def _start(self, name: str, skew: float) -> None:
        log = self._logs / f"{name}.log"
        self.living[name] = int(await self._say(f"start {name} {ROLES[name]} {skew} {log}"))

    async def _say(self, line: str) -> str:
        inward, outward = self._process.stdin, self._process.stdout
        if inward is None or outward is None:
            raise RuntimeError
        inward.write(f"{line}\n".encode())
        return (await outward.readline()).decode().strip()


def ports_of(process: int) -> set[int]:
    """The local ports of a process's TCP connections, as Linux tells them."""
    held = set()
    with suppress(FileNotFoundError, ProcessLookupError):
        held = {str(link.readlink()) for link in Path(f"/proc/{process}/fd").iterdir()}
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {int(line[1].partition(":")[2], 16) for line in lines if f"socket:[{line[9]}]" in held}


@dataclass(kw_only=True)
class Stage:
    """The run's world; `withdrawn` has the database's time after each withdrawal's commit."""

    url: str
    pool: "Pool[Record]"
    redis: Redis
    postgres: Fragile
    valkey: Fragile
    host: Mailhost
    hooks: Hookhost
    nursery: Nursery
    reporters: list[Somebody]
    logs: list[Path]
    withdrawn: dict[UUID, datetime] = field(default_factory=dict)
    pairs: list[tuple[Somebody, Somebody]] = field(default_factory=list)

    async def surely(self, work: Callable[[Db], Awaitable[_T]]) -> _T:
        """Do it on a connection, again after each outage."""
        while True:
            try:
                async with self.pool.acquire() as db:
                    return await work(db)
            except OUTAGE:
                await asyncio.sleep(0.1)

    async def pair(self, chance: Random) -> None:
        """Two reporters register one child; sometimes one of them withdraws soon after."""
        a, b = chance.sample(self.reporters, 2)
        child = len(self.pairs)
        self.pairs.append((a, b))
        requests = [registration(a, child), registration(b, child)]

        async def work(db: Db) -> list[UUID]:
            return await register(db, *requests, now=await Clock().now(db))

        signals = await self.surely(work)
        if chance.random() < 0.05:
            await asyncio.sleep(chance.random() * 2)
            await self.withdraw(a, signals[0])

    async def withdraw(self, reporter: Somebody, signal_id: UUID) -> None:
        async def work(db: Db) -> datetime:
            await end(db, signal_id, reporter, now=await Clock().now(db))
            return await Clock().now(db)

        self.withdrawn[signal_id] = await self.surely(work)

    async def count(self, condition: str) -> int:
        """How many deliveries are so."""

        async def work(db: Db) -> int:
            query = f"SELECT count(*) FROM notify.delivery WHERE {condition}"  # noqa: S608
            found: int = await db.fetchval(query)
            return found

        return await self.surely(work)

    async def execute(self, statement: str) -> None:
        async def work(db: Db) -> None:
            await db.execute(statement)

        await self.surely(work)


@asynccontextmanager
async def stage(
    folder: Path, seed: int, lease: float, without: str | None, *, durable: bool
) -> AsyncIterator[Stage]:
    """A region with its servers and no worker yet."""
    async with AsyncExitStack() as stack:
        postgres, valkey = fragile_postgres(folder, durable=durable), fragile_valkey(folder)
        server = await stack.enter_async_context(postgres)
        redis_url = await stack.enter_async_context(valkey)
        url = await ensure(server, "vin")
        await migrate(url, migrations("vin"))
        pool = await stack.enter_async_context(asyncpg.create_pool(url, min_size=0, max_size=8))
        host = await stack.enter_async_context(mailhost(seed, lease))
        hooks = await stack.enter_async_context(hookhost(seed, lease))
        environment = {
            "DATABASE_URL": url,
            "REDIS_URL": redis_url,
            "VIN_KEYS": str(folder / "keys"),
            "VIN_SMTP": f"127.0.0.1:{host.port}",
            "VIN_MAIL_FROM": SENDER,
            "VIN_WEBHOOK_TARGETS": "127.0.0.0/8",
            "VIN_BOUNCE_DOMAIN": "bounce.index.test",
        }
        async with pool.acquire() as db:
            reporters = await people(db, folder / "keys")
            for each in reporters[:CALLED]:
                await add_webhook(db, each, hooks.port)
        logs = folder / "logs"
        logs.mkdir()
        yield Stage(
            url=url,
            pool=pool,
            redis=await stack.enter_async_context(connect(redis_url)),
            postgres=postgres,
            valkey=valkey,
            host=host,
            hooks=hooks,
            nursery=await stack.enter_async_context(nursery(environment, logs, lease, without)),
            reporters=reporters,
            logs=[logs, folder / "log"],
        )


def fragile_postgres(folder: Path, *, durable: bool) -> Fragile:
    async def process(_: str) -> int:
        return int((folder / "postgres/data/postmaster.pid").read_text().split()[0])

    return Fragile(lambda: embedded.postgres(folder, durable=durable), process, signal.SIGQUIT)


def fragile_valkey(folder: Path) -> Fragile:
    async def process(url: str) -> int:
        async with connect(url) as redis:
            return int((await redis.info("server"))["process_id"])

    return Fragile(lambda: embedded.valkey(folder), process, signal.SIGKILL)


async def people(db: Db, keys: Path) -> list[Somebody]:
    """A region that sends each mail at once."""
    await seal_with(db, keys)
    await make_region(db)
    await db.execute("UPDATE registry.region SET digest_seconds = 0")
    return await make_reporters(db, REPORTERS)


async def add_webhook(db: Db, reporter: Somebody, port: int) -> None:
    """The reporter's organisation wants to be called."""
    actor = Actor(organisation=reporter.organisation, client="client", request_id=uuid4())
    url = f"http://127.0.0.1:{port}/{reporter.organisation}"
    wanted = Wanted(name="soak", url=url, form=Form.STANDARD)
    async with db.transaction():
        await put_webhook(db, wanted, actor, SECRETS.contact, await Clock().now(db))


async def seal_with(db: Db, keys: Path) -> None:
    """Key files for the workers, which open what `tests.world` seals."""
    keyfile.generate_index(keys)
    kek = FileKek.load(keys / keyfile.CONTACT_KEK)
    await db.execute(
        "INSERT INTO registry.data_key (epoch, wrapped, created_at) VALUES (1, $1, now())",
        kek.wrap(bytes(32)),
    )


@asynccontextmanager
async def nursery(
    environment: Mapping[str, str], logs: Path, lease: float, without: str | None
) -> AsyncIterator[Nursery]:
    """Processes that end with the block."""
    options = {"environment": environment, "lease": lease, "without": without}
    process = await asyncio.create_subprocess_exec(
        *ENDS_WITH_US,
        *(sys.executable, "-m", "tests.soak.nursery", json.dumps(options)),
        stdin=PIPE,
        stdout=PIPE,
    )
    try:
        yield Nursery(process, logs)
    finally:
        process.kill()
        await process.wait()
