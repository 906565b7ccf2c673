"""Five thousand signals on one address (M5), the last five hundred registered one by one.

Prints the 99th percentile of a registration in milliseconds without and with such an address,
the seconds that matching took, and the most notices to one reporter. Fails when a registration
takes 10 ms or longer, or somebody gets more notices than a hub may have members.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import count
from pathlib import Path

from schemas.database import Db
from tests.soak.index import index, percentile
from tests.steps import NOW, match_all, register
from tests.world import Somebody, make_region, make_reporters, registration

SIGNALS = 5000
LAST = 500
HUB_LIMIT = 12
BATCH = 10
LIMIT_MS = 10.0
CHILDREN = count()
MOMENTS = (NOW + timedelta(seconds=second) for second in count())


async def fill(db: Db, reporters: Sequence[Somebody], signals: int) -> None:
    """Register that many on the address, and let the matcher keep up."""
    for start in range(0, signals, BATCH):
        at = next(MOMENTS)
        size = min(BATCH, signals - start)
        requests = [registration(reporters[n], next(CHILDREN), address=1) for n in range(size)]
        await register(db, *requests, now=at)
        await match_all(db, BATCH, at)


async def one_by_one(db: Db, reporters: Sequence[Somebody], *, address: int | None) -> list[float]:
    """Seconds of each of the last registrations."""
    took = []
    for _ in range(LAST):
        request = registration(reporters[0], next(CHILDREN), address=address)
        began = time.perf_counter()
        await register(db, request, now=next(MOMENTS))
        took.append(time.perf_counter() - began)
    return took


async def match_rest(db: Db, at: datetime) -> float:
    began = time.perf_counter()
    await match_all(db, BATCH, at)
    return round(time.perf_counter() - began, 2)


async def most_notices(db: Db) -> int:
    """How many notices that reporter has who has most."""
    most: int = await db.fetchval(
        """
        SELECT max(count)
          FROM (SELECT count(*) FROM notify.notice GROUP BY reporter_id) AS told
        """
    )
    return most


async def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        async with index(Path(folder)) as pool, pool.acquire() as db:
            await make_region(db, hub_limit=HUB_LIMIT, address_rule=True)
            reporters = await make_reporters(db, BATCH)
            p99_without = percentile(await one_by_one(db, reporters, address=None))
            await match_all(db, BATCH, next(MOMENTS))
            await fill(db, reporters, SIGNALS - LAST)
            p99 = percentile(await one_by_one(db, reporters, address=1))
            matching = await match_rest(db, next(MOMENTS))
            notices = await most_notices(db)
    print(f"{SIGNALS} signals on one address: p99 of a registration {p99} ms")
    print(f"without an address {p99_without} ms; the last {LAST} were matched in {matching} s")
    print(f"most notices to one reporter: {notices}")
    return 0 if p99 < LIMIT_MS and notices <= HUB_LIMIT else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
