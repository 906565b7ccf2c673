"""How fast mails go: one worker's rate to a local sink, and the time from a registration.

`scripts/soak mails` fires the ledger's backlog at a sink that accepts everything, with fsync,
ledger and audit, then registers at a steady pace, without a digest window and with the usual
one. Fails under 300 mails a second, when the worker's memory grows by more than 20 MiB, or when
from registration to accepted mail takes more than 0.3 s in the middle and 1.5 s at the 99th
percentile. The machine should be quiet.
"""

import asyncio
import os
import sys
import tempfile
import time
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import asyncpg

from notify.queue import Bell, connect
from schemas.database import Db
from tests.running import ENDS_WITH_US
from tests.soak.stage import SENDER, Nursery, nursery, seal_with
from tests.steps import match_all, register
from tests.world import Somebody, make_region, make_reporter, registration
from vin import embedded
from vin.clock import Clock
from vin.databases import ensure, migrations
from vin.migrate import migrate

if TYPE_CHECKING:
    from asyncpg import Pool, Record

ORGANISATIONS = 200
BACKLOG = 12_000
WORKER = "worker-1"
PER_SECOND = 20
STEADY_SECONDS = 30
LEASE_SECONDS = 20
DIGESTS = (0, 20)


@dataclass
class Sink:
    """When each mail was accepted, by recipient."""

    port: int
    accepted: dict[str, list[float]] = field(default_factory=dict)
    count: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Servers that write through to disk, and what is in them."""

    pool: "Pool[Record]"
    bell: Bell
    sink: Sink
    nursery: Nursery


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(embedded.postgres(folder))
        redis_url = await stack.enter_async_context(embedded.valkey(folder))
        url = await ensure(server, "vin")
        await migrate(url, migrations("vin"))
        sink = await stack.enter_async_context(sinking())
        environment = {
            "DATABASE_URL": url,
            "REDIS_URL": redis_url,
            "VIN_KEYS": str(folder / "keys"),
            "VIN_SMTP": f"127.0.0.1:{sink.port}",
            "VIN_MAIL_FROM": SENDER,
            "VIN_BOUNCE_DOMAIN": "bounce.index.test",
            "VIN_API_URL": "https://index.test",
        }
        pool = await stack.enter_async_context(asyncpg.create_pool(url, min_size=0, max_size=4))
        redis = await stack.enter_async_context(connect(redis_url))
        yield Place(
            pool,
            Bell(redis),
            sink,
            await stack.enter_async_context(nursery(environment, folder, LEASE_SECONDS, None)),
        )


@asynccontextmanager
async def sinking() -> AsyncIterator[Sink]:
    process = await asyncio.create_subprocess_exec(
        *ENDS_WITH_US, sys.executable, "-m", "tests.soak.sink", stdout=PIPE
    )
    lines = process.stdout
    if lines is None:
        raise RuntimeError
    sink = Sink(int(await lines.readline()))

    async def note() -> None:
        async for line in lines:
            at, recipient = line.decode().split()
            sink.accepted.setdefault(recipient, []).append(float(at))
            sink.count += 1

    noting = asyncio.ensure_future(note())
    try:
        yield sink
    finally:
        noting.cancel()
        process.kill()
        await process.wait()


async def people(db: Db, keys: Path, count: int) -> list[Somebody]:
    """Reporters, so many to each organisation."""
    async with db.transaction():
        await seal_with(db, keys)
        await make_region(db)
        first = [await make_reporter(db, number) for number in range(ORGANISATIONS)]
        more = [
            await make_reporter(db, number, first[number % ORGANISATIONS].organisation, uuid4())
            for number in range(ORGANISATIONS, count)
        ]
    return [*first, *more]


async def backlog(place: Place, reporters: list[Somebody]) -> None:
    """One match for every two reporters, and so one mail for each."""
    async with place.pool.acquire() as db:
        await db.execute("UPDATE notify.channel SET paused_at = now() WHERE name = 'mail'")
        for start in range(0, len(reporters), 64):
            batch = reporters[start : start + 64]
            requests = [registration(each, (start + n) // 2) for n, each in enumerate(batch)]
            await register(db, *requests, now=await Clock().now(db))
        await match_all(db, 128, await Clock().now(db))
        await db.execute("VACUUM ANALYZE")


@dataclass(frozen=True, slots=True)
class Rate:
    """Mails a second, the worker's CPU milliseconds each, and its memory in MiB over time."""

    per_second: float
    cpu: float
    early: float
    late: float


async def drain(place: Place, wanted: int) -> Rate:
    """Let the backlog go, and time it from the first mail to the last."""
    await place.nursery.start(WORKER)
    await asyncio.sleep(3)
    async with place.pool.acquire() as db:
        await db.execute("UPDATE notify.channel SET paused_at = NULL")
    worker, early = place.nursery.living[WORKER], 0.0
    began = cpu(worker)
    while place.sink.count < wanted:
        await asyncio.sleep(0.02)
        if not early and place.sink.count > wanted / 5:
            early = memory(worker)
    times = sorted(at for each in place.sink.accepted.values() for at in each)
    while await unfinished(place.pool):
        await asyncio.sleep(0.02)
    seconds = time.monotonic() - times[0]
    return Rate(wanted / seconds, (cpu(worker) - began) / wanted, early, memory(worker))


async def unfinished(pool: "Pool[Record]") -> int:
    count: int = await pool.fetchval("SELECT count(*) FROM notify.delivery WHERE state <> 'sent'")
    return count


def cpu(process: int) -> float:
    """The milliseconds that a process has computed."""
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / os.sysconf("SC_CLK_TCK")


def memory(process: int) -> float:
    """What a process holds, in MiB."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


async def steady(place: Place, reporters: list[Somebody], digest: int) -> list[float]:
    """Register at an even pace, each second time a match; seconds until each mail, sorted."""
    await place.pool.execute("UPDATE registry.region SET digest_seconds = $1", digest)
    place.sink.accepted.clear()
    matched: dict[str, float] = {}
    async with asyncio.TaskGroup() as group:
        for number, reporter in enumerate(reporters):
            child = (digest + 1) * BACKLOG + number // 2
            # The second of two makes the match, and a mail to both.
            for each in reporters[number - number % 2 : number + 1]:
                matched[each.email] = time.monotonic()
            group.create_task(arrive(place, reporter, child))
            await asyncio.sleep(1 / PER_SECOND)
    await asyncio.sleep(5)
    return sorted(at - matched[email] for email, each in place.sink.accepted.items() for at in each)


async def arrive(place: Place, reporter: Somebody, child: int) -> None:
    async with place.pool.acquire() as db:
        await register(db, registration(reporter, child), now=await Clock().now(db))
    await place.bell.ring("match")


async def measure(folder: Path) -> bool:
    print(f"load before: {os.getloadavg()[0]:.1f}", flush=True)
    async with place(folder) as found:
        async with found.pool.acquire() as db:
            reporters = await people(db, folder / "keys", BACKLOG)
        await backlog(found, reporters)
        rate = await drain(found, BACKLOG)
        print(
            f"one worker: {rate.per_second:.0f} mails a second, {rate.cpu:.2f} ms CPU each,"
            f" memory {rate.early:.0f} MiB, then {rate.late:.0f} MiB",
            flush=True,
        )
        soon = [await is_soon(found, reporters, digest) for digest in DIGESTS]
    return rate.per_second >= 300 and rate.late - rate.early < 20 and all(soon)


async def is_soon(place: Place, reporters: list[Somebody], digest: int) -> bool:
    """Whether mails come soon to readers who had none for longer than the window."""
    wanted = PER_SECOND * STEADY_SECONDS
    first = DIGESTS.index(digest) * wanted
    took = await steady(place, reporters[first : first + wanted], digest)
    p50, p99 = took[len(took) // 2], took[len(took) * 99 // 100]
    print(
        f"registration to accepted mail, digest {digest} s: {len(took)} of {wanted},"
        f" p50 {p50:.3f} s, p99 {p99:.3f} s",
        flush=True,
    )
    return len(took) == wanted and p50 <= 0.3 and p99 <= 1.5


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(0 if asyncio.run(measure(Path(scratch))) else 1)
