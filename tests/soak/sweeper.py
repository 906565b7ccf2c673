"""The sweeper over a million signals of which a tenth is due, beside registrations.

Prints seconds, the growth of this process's memory in MiB, and the 99th percentile of a
registration in milliseconds alone and meanwhile. Fails when nothing is swept, memory grows
by more than 50 MiB, or registering takes more than twice as long.
"""

import asyncio
import resource
import sys
import tempfile
import time
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from tests.soak.index import index, percentile
from tests.steps import register
from tests.world import Somebody, make_region, make_reporters, registration
from vin.clock import Clock
from vin.sweeper import run_sweeper

if TYPE_CHECKING:
    from asyncpg import Pool, Record

SIGNALS = 1_000_000
DUE_EVERY = 10
LOAD_PER_SECOND = 50
ALONE_SECONDS = 10
CHILDREN = count(10_000_000)


async def fill(pool: "Pool[Record]", reporters: list[Somebody]) -> None:
    """Write signals with one token each, every tenth past its date."""
    async with pool.acquire() as db:
        await db.execute(
            """
            INSERT INTO matching.signal
                   (id, organisation_id, reporter_id, match_unit_id, status, registered_at,
                    remove_on, destroy_by, reference_epoch, reference)
            SELECT ('00000000-0000-4000-8000-' || lpad(n::text, 12, '0'))::uuid, $1, $2, $3, 'live',
                   now() - interval '1 year',
                   current_date + CASE WHEN n % $5 = 0 THEN -1 ELSE 300 END,
                   current_date + 2000, 1, ''
              FROM generate_series(1, $4::integer) AS n
            """,
            reporters[0].organisation,
            reporters[0].id,
            reporters[0].match_unit,
            SIGNALS,
            DUE_EVERY,
        )
        await db.execute(
            """
            INSERT INTO matching.token
            SELECT id, 'child', gen_random_uuid(), 1, 1, ''
              FROM matching.signal
            """
        )
        await db.execute("VACUUM ANALYZE matching.signal")
        await db.execute("VACUUM ANALYZE matching.token")


async def load(
    pool: "Pool[Record]", reporters: list[Somebody], until: asyncio.Event
) -> list[float]:
    """Register at a steady rate until told to stop; seconds of each registration."""
    took = []
    while not until.is_set():
        began = time.perf_counter()
        async with pool.acquire() as db:
            await register(
                db, registration(reporters[1], next(CHILDREN)), now=await Clock().now(db)
            )
        took.append(time.perf_counter() - began)
        await asyncio.sleep(max(0.0, 1 / LOAD_PER_SECOND - took[-1]))
    return took


async def alone(pool: "Pool[Record]", reporters: list[Somebody]) -> float:
    until = asyncio.Event()
    asyncio.get_running_loop().call_later(ALONE_SECONDS, until.set)
    return percentile(await load(pool, reporters, until))


async def sweep_all(pool: "Pool[Record]") -> int:
    """Let the worker's own loop run until nothing is due; how many it swept."""
    stop = asyncio.Event()
    sweeping = asyncio.create_task(run_sweeper(pool, Clock(), stop))
    left = 1
    while left:
        await asyncio.sleep(0.5)
        left = await pool.fetchval(
            """
            SELECT count(*)
              FROM matching.signal
             WHERE status = 'live' AND remove_on <= current_date
            """
        )
        sys.stderr.write(f"\r{left} left   ")
    stop.set()
    await sweeping
    swept: int = await pool.fetchval("SELECT count(*) FROM matching.signal WHERE status = 'ended'")
    return swept


def memory() -> float:
    """The most memory that this process has held, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


async def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with index(Path(folder)) as pool:
            async with pool.acquire() as db:
                await make_region(db)
                reporters = await make_reporters(db, 2)
            await fill(pool, reporters)
            p99_alone = await alone(pool, reporters)
            held, until = memory(), asyncio.Event()
            loading = asyncio.create_task(load(pool, reporters, until))
            began = time.perf_counter()
            swept = await sweep_all(pool)
            seconds = round(time.perf_counter() - began, 1)
            until.set()
            p99 = percentile(await loading)
            grown = round(memory() - held, 1)
    print(f"\nswept {swept} of {SIGNALS} in {seconds} s, memory +{grown} MiB")
    print(f"p99 of a registration: {p99_alone} ms alone, {p99} ms meanwhile")
    return 0 if swept == SIGNALS // DUE_EVERY and grown < 50 and p99 < 2 * p99_alone else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
