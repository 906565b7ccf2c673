"""Deliveries while processes are killed, servers crash and the mail server misbehaves.

`scripts/soak delivery [--seed S] [--policy resend|hold|both] [--without mark|fence|check]` runs
some minutes with the leases of production. Faults and load follow from the seed. Fails, and
tells the seed, when a mail is lost, came twice unflagged, more than 2 % came twice (with
`hold`: any), or an invariant does not hold.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Literal, TypeAlias

from notify.errors import OUTAGE
from notify.queue import STREAM
from tests.invariants import Copy, Evidence, broken
from tests.soak.mailhost import draws
from tests.soak.sabotage import BUGS
from tests.soak.stage import ROLES, Stage, stage

Policy: TypeAlias = Literal["resend", "hold"]
MOMENTS = ("CONNECT", "MAIL", "RCPT", "DATA", "CONTENT", "DOT", "ANSWER")
DAY = 86400
SETTLE_SECONDS = 90


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of what, in how many seconds; `faults` counts each kind."""

    seed: int
    policy: Policy
    deliveries: int
    seconds: float
    lease: float
    faults: Mapping[str, int]
    without: str | None = None
    durable: bool = True


LONG = Plan(
    seed=0,
    policy="resend",
    deliveries=5000,
    seconds=240,
    lease=20,
    faults={
        "kill": 80,
        "ambush": 60,
        "flush": 24,
        "redis": 3,
        "postgres": 3,
        "freeze": 4,
        "jump": 4,
        "cut": 6,
    },
)


@dataclass(slots=True)
class Result:
    """What a run showed; `held` were unknown at its end, of which `held_accepted` had arrived."""

    plan: Plan
    deliveries: int = 0
    copies: int = 0
    lost: int = 0
    duplicates: int = 0
    unflagged: int = 0
    held: int = 0
    held_accepted: int = 0
    dead: int = 0
    longest_stream: int = 0
    seconds_to_settle: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether all that was promised holds."""
        share = 0 if self.plan.policy == "hold" else 0.02
        return not (
            self.broken
            or self.lost
            or self.unflagged
            or self.duplicates > share * self.deliveries
            or self.deliveries < self.plan.deliveries
        )


async def run(plan: Plan, folder: Path) -> Result:
    """Play one plan in an empty folder."""
    result = Result(plan)
    async with stage(folder, plan.seed, plan.lease, plan.without, durable=plan.durable) as scene:
        await scene.execute(f"UPDATE notify.channel SET ambiguous = '{plan.policy}'")  # noqa: S608
        for name in ROLES:
            await scene.nursery.start(name)
        async with watched(scene, result), time_passing(scene):
            async with asyncio.TaskGroup() as group:
                group.create_task(load(scene, plan))
                group.create_task(trouble(scene, plan, result))
            scene.host.faulty = False
            began = asyncio.get_running_loop().time()
            await settle(scene, plan, result)
            result.seconds_to_settle = asyncio.get_running_loop().time() - began
        await tell(scene, result)
    return result


async def load(scene: Stage, plan: Plan) -> None:
    """Register pairs of strangers at an even pace until there are deliveries enough."""
    chance = draws(plan.seed, "load")
    wanted = plan.deliveries // 2
    async with asyncio.TaskGroup() as group:
        for _ in range(wanted):
            group.create_task(scene.pair(chance))
            await asyncio.sleep(plan.seconds / wanted)
    while await scene.count("true") < plan.deliveries:
        await scene.pair(chance)
        await asyncio.sleep(plan.lease / 20)


async def trouble(scene: Stage, plan: Plan, result: Result) -> None:
    """Let the faults happen, at instants and to victims that the seed draws."""
    chance = draws(plan.seed, "trouble")
    kinds = [kind for kind, count in plan.faults.items() for _ in range(count)]
    due = sorted((chance.random() * plan.seconds, kind) for kind in kinds)
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for at, kind in due:
            await asyncio.sleep(began + at - loop.time())
            group.create_task(FAULTS[kind](scene, plan, chance))
            result.done[kind] += 1


async def kill(scene: Stage, _: Plan, chance: Random) -> None:
    """A process dies and another takes its place, whose clock is up to a day off."""
    await scene.nursery.replace(chance.choice(list(ROLES)), chance.uniform(-DAY, DAY))


async def ambush(scene: Stage, plan: Plan, chance: Random) -> None:
    """The next worker that comes to a moment of its talk dies there."""
    struck = asyncio.Event()
    skew = chance.uniform(-DAY, DAY)

    async def strike(port: int) -> None:
        name = scene.nursery.holder(port)
        if name is not None:
            await scene.nursery.replace(name, skew)
        struck.set()

    scene.host.ambush = chance.choice(list(MOMENTS)), strike
    with suppress(TimeoutError):
        await asyncio.wait_for(struck.wait(), plan.lease)


async def flush(scene: Stage, _plan: Plan, _chance: Random) -> None:
    with suppress(*OUTAGE):
        await scene.redis.flushall()


async def crash_redis(scene: Stage, _plan: Plan, _chance: Random) -> None:
    await scene.valkey.crash()


async def crash_postgres(scene: Stage, _plan: Plan, _chance: Random) -> None:
    await scene.postgres.crash()


async def jump(scene: Stage, _: Plan, chance: Random) -> None:
    """The database's clock jumps: what it had noted is as much nearer, or further away."""
    seconds = chance.choice([3600, -2])
    await scene.execute(
        f"""
        UPDATE notify.delivery
           SET next_at = next_at - interval '{seconds} seconds',
               lease_until = lease_until - interval '{seconds} seconds'
        """  # noqa: S608 - a number of our own
    )


async def cut(scene: Stage, _plan: Plan, _chance: Random) -> None:
    """Both servers hang up on everyone."""
    with suppress(*OUTAGE):
        await scene.redis.client_kill_filter(_type="normal", skipme=True)
    await scene.execute(
        """
        SELECT pg_terminate_backend(pid)
          FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()
        """
    )


async def freeze(scene: Stage, plan: Plan, chance: Random) -> None:
    """A process stands still for twice a lease, and goes on as if nothing had been."""
    name = chance.choice(list(ROLES))
    await scene.nursery.signal("freeze", name)
    await asyncio.sleep(2 * plan.lease)
    await scene.nursery.signal("thaw", name)


FAULTS: Mapping[str, Callable[[Stage, Plan, Random], Awaitable[None]]] = {
    "kill": kill,
    "ambush": ambush,
    "freeze": freeze,
    "flush": flush,
    "redis": crash_redis,
    "postgres": crash_postgres,
    "jump": jump,
    "cut": cut,
}


@asynccontextmanager
async def watched(scene: Stage, result: Result) -> AsyncIterator[None]:
    """Note how long the stream gets."""

    async def watch() -> None:
        while True:
            with suppress(*OUTAGE):
                result.longest_stream = max(result.longest_stream, await scene.redis.xlen(STREAM))
            await asyncio.sleep(0.05)

    async with aside(watch):
        yield


@asynccontextmanager
async def time_passing(scene: Stage) -> AsyncIterator[None]:
    """Let the hours pass for which a delivery rests after it failed."""

    async def hasten() -> None:
        while True:
            await scene.execute(
                """
                UPDATE notify.delivery
                   SET next_at = clock_timestamp()
                 WHERE state = 'retry' AND next_at > clock_timestamp()
                """
            )
            await asyncio.sleep(0.5)

    async with aside(hasten):
        yield


@asynccontextmanager
async def aside(work: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    task = asyncio.ensure_future(work())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def settle(scene: Stage, plan: Plan, result: Result) -> None:
    """Wait until nothing is under way; then do as an operator who knows what arrived."""
    await until_still(scene)
    arrived = {copy.delivery for copy in scene.host.copies()}
    result.dead = await scene.count("state = 'dead'")
    result.held = await scene.count("state = 'unknown'")
    del plan, arrived


async def until_still(scene: Stage) -> None:
    """Wait until matcher, relay and workers have nothing left to do."""
    busy = "state IN ('pending', 'queued', 'sending', 'retry')"
    async with asyncio.timeout(SETTLE_SECONDS):
        while await waiting(scene) or await scene.count(busy):
            await asyncio.sleep(0.1)


async def waiting(scene: Stage) -> int:
    """How many signals the matcher has not seen, and wake-ups nobody let go of."""
    async with scene.pool.acquire() as db:
        queued: int = await db.fetchval("SELECT count(*) FROM matching.match_queue")
    return queued + await scene.redis.xlen(STREAM)


async def tell(scene: Stage, result: Result) -> None:
    """Compare what was promised with what came."""
    copies = scene.host.copies()
    count = Counter(copy.delivery for copy in copies)
    result.copies = len(copies)
    result.deliveries = await scene.count("true")
    result.duplicates = sum(each - 1 for each in count.values())
    result.lost = await lost(scene, copies)
    result.met = scene.host.met
    async with scene.pool.acquire() as db:
        flagged = {
            row["id"]
            for row in await db.fetch("SELECT id FROM notify.delivery WHERE maybe_duplicate")
        }
        result.unflagged = len({each for each, n in count.items() if n > 1} - flagged)
        evidence = Evidence(
            copies=copies,
            addresses={each.id: each.email for each in scene.reporters},
            withdrawn=scene.withdrawn,
            logs=[log for folder in scene.logs for log in folder.iterdir()],
            personal=[each.email for each in scene.reporters],
            longest_stream=result.longest_stream,
            relays=len(ROLES),
            hold=result.plan.policy == "hold",
        )
        result.broken = await broken(db, scene.redis, evidence)


async def lost(scene: Stage, copies: list[Copy]) -> int:
    """How many sides of open matches nobody was told of, and nobody was shown why."""
    told = {(copy.recipient, number) for copy in copies for number in copy.numbers}
    async with scene.pool.acquire() as db:
        matches = await db.fetchval("SELECT count(*) FROM matching.match")
        rows = await db.fetch(
            """
            SELECT side.reporter_id, number
              FROM matching.match
              JOIN matching.match_side AS side ON match_id = match.id
             WHERE status = 'open'
            """
        )
    addresses = {each.id: each.email for each in scene.reporters}
    untold = sum((addresses[row["reporter_id"]], row["number"]) not in told for row in rows)
    unmatched = len(scene.pairs) - len(scene.withdrawn) - matches
    return untold + max(0, unmatched)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak delivery")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(2**32))
    parser.add_argument("--policy", choices=["resend", "hold", "both"], default="both")
    parser.add_argument("--without", choices=list(BUGS))
    options = parser.parse_args()
    policies: list[Policy] = ["resend", "hold"] if options.policy == "both" else [options.policy]
    good = True
    for policy in policies:
        plan = replace(LONG, seed=options.seed, policy=policy, without=options.without)
        print(f"soak delivery: policy {policy}, seed {plan.seed}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            result = asyncio.run(run(plan, Path(folder)))
        show(result)
        good = good and result.good
    return 0 if good else 1


def show(result: Result) -> None:
    """Print the figures."""
    print(
        f"  {result.deliveries} deliveries, {result.copies} mails accepted, {result.lost} lost,"
        f" {result.duplicates} twice ({result.duplicates / max(1, result.deliveries):.2%}),"
        f" {result.unflagged} not flagged"
    )
    print(
        f"  {result.held} held ({result.held_accepted} had arrived), {result.dead} dead letters,"
        f" all settled {result.seconds_to_settle:.1f} s after the last fault,"
        f" longest stream {result.longest_stream}"
    )
    print("  faults: " + ", ".join(f"{n} x {kind}" for kind, n in sorted(result.done.items())))
    print("  mail server: " + ", ".join(f"{n} x {kind}" for kind, n in sorted(result.met.items())))
    for sentence in result.broken[:20]:
        print(f"  BROKEN {sentence}")


if __name__ == "__main__":
    sys.exit(main())
