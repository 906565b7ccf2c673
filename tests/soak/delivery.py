"""Deliveries while processes are killed, servers crash and the mail server misbehaves.

`scripts/soak delivery [--seed S] [--policy resend|hold|both] [--without mark|fence|check]` runs
some minutes with the leases of production. The seed tells which faults strike when; whom they
hit depends on the machine too. Fails when a mail is lost, came twice unflagged, more than 2 %
came twice (with `hold`: any), or an invariant does not hold.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from uuid import UUID

from notify.errors import OUTAGE
from notify.held import Answer
from notify.queue import STREAM
from notify.retry import State
from schemas.database import Db
from tests.invariants import Copy, Evidence, broken
from tests.soak.mailhost import draws
from tests.soak.sabotage import BUGS
from tests.soak.stage import CALLED, ROLES, Stage, stage
from tests.soak.trouble import Plan, Policy, trouble
from vin import delivery_desk
from vin.clock import Clock
from vin.delivery_desk import Act, Wanted

OPERATOR = Act(operator="soak", purpose="what arrived is known")
SETTLE_SECONDS = 90
DUPLICATES = 0.02

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
        "overtake": 8,
        "jump": 4,
        "cut": 6,
    },
)
# For the suite: seconds instead of minutes.
SHORT = replace(
    LONG,
    deliveries=120,
    seconds=4,
    lease=2,
    faults={"kill": 3, "ambush": 5, "flush": 2, "redis": 1, "postgres": 1, "freeze": 1, "cut": 1},
    durable=False,
)


@dataclass(slots=True)
class Result:
    """What a run showed; `held` were unknown at its end, of which `held_accepted` had arrived."""

    plan: Plan
    deliveries: int = 0
    copies: int = 0
    calls: int = 0
    lost: int = 0
    duplicates: int = 0
    unflagged: int = 0
    held: int = 0
    held_accepted: int = 0
    dead: int = 0
    killed: int = 0
    longest_stream: int = 0
    seconds_to_settle: float = 0.0
    done: Counter[str] = field(default_factory=Counter)
    met: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Whether all that was promised holds."""
        share = 0 if self.plan.policy == "hold" else DUPLICATES
        return not (
            self.broken
            or self.lost
            or self.unflagged
            or self.duplicates > share * self.deliveries
            or self.deliveries < self.plan.deliveries
        )


async def run(plan: Plan, folder: Path) -> Result:
    """Play one plan in an empty folder."""
    print(f"soak delivery: policy {plan.policy}, seed {plan.seed}", flush=True)
    result = Result(plan)
    async with stage(folder, plan.seed, plan.lease, plan.without, durable=plan.durable) as scene:
        await scene.execute(f"UPDATE notify.channel SET ambiguous = '{plan.policy}'")  # noqa: S608
        for name in ROLES:
            await scene.nursery.start(name)
        async with watched(scene, result), time_passing(scene):
            async with asyncio.TaskGroup() as group:
                group.create_task(load(scene, plan))
                group.create_task(trouble(scene, plan, result.done))
            scene.host.faulty = scene.hooks.faulty = False
            began = asyncio.get_running_loop().time()
            await settle(scene, result)
            result.seconds_to_settle = asyncio.get_running_loop().time() - began
        await tell(scene, result)
    return result


async def load(scene: Stage, plan: Plan) -> None:
    """Register pairs of strangers at an even pace until there are deliveries enough."""
    wanted = plan.deliveries // 2
    chances = (draws(plan.seed, f"pair {number}") for number in count())
    async with asyncio.TaskGroup() as group:
        for chance in islice(chances, wanted):
            group.create_task(scene.pair(chance))
            await asyncio.sleep(plan.seconds / wanted)
    while await scene.count("true") < plan.deliveries:
        await scene.pair(next(chances))
        await asyncio.sleep(plan.lease / 20)


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


async def settle(scene: Stage, result: Result) -> None:
    """Wait until nothing is under way, then be an operator who knows what arrived."""
    await until_still(scene)
    arrived = {copy.delivery for copy in scene.host.copies()}
    arrived |= {hook.delivery for hook in scene.hooks.hooks}
    unknown = await scene.surely(partial(standing, state=State.UNKNOWN))
    result.held = len(unknown)
    result.held_accepted = len(arrived.intersection(unknown))
    result.dead = len(await scene.surely(partial(standing, state=State.DEAD)))

    async def operate(db: Db) -> None:
        now = await Clock().now(db)
        for each in unknown:
            answer = Answer.SENT if each in arrived else Answer.RESEND
            await delivery_desk.resolve(db, each, answer, OPERATOR, now)
        await delivery_desk.retry_all(db, Wanted(state=State.DEAD), OPERATOR, now)

    await scene.surely(operate)
    await until_still(scene)


async def standing(db: Db, state: State) -> list[UUID]:
    """The deliveries in one state."""
    rows = await db.fetch("SELECT id FROM notify.delivery WHERE state = $1", state)
    return [row["id"] for row in rows]


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
    times = Counter(copy.delivery for copy in copies)
    result.copies = len(copies)
    result.deliveries = await scene.count("true")
    result.duplicates = sum(each - 1 for each in times.values())
    result.lost = await lost(scene, copies)
    result.met = scene.host.met + scene.hooks.met
    result.calls = len(scene.hooks.hooks)
    result.killed = scene.nursery.killed
    async with scene.pool.acquire() as db:
        flagged = {
            row["id"]
            for row in await db.fetch("SELECT id FROM notify.delivery WHERE maybe_duplicate")
        }
        result.unflagged = len({each for each, n in times.items() if n > 1} - flagged)
        evidence = Evidence(
            copies=copies,
            addresses={each.id: each.email for each in scene.reporters},
            withdrawn=scene.withdrawn,
            hooks=scene.hooks.hooks,
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
        matches: int = await db.fetchval("SELECT count(*) FROM matching.match")
        rows = await db.fetch(
            """
            SELECT side.reporter_id, side.organisation_id, number
              FROM matching.match
              JOIN matching.match_side AS side ON match_id = match.id
             WHERE status = 'open'
            """
        )
    addresses = {each.id: each.email for each in scene.reporters}
    untold = sum((addresses[row["reporter_id"]], row["number"]) not in told for row in rows)
    called = {(hook.where, hook.number) for hook in scene.hooks.hooks}
    wanted = {each.organisation for each in scene.reporters[:CALLED]}
    uncalled = sum(
        (f"/{row['organisation_id']}", row["number"]) not in called
        for row in rows
        if row["organisation_id"] in wanted
    )
    unmatched = len(scene.pairs) - len(scene.withdrawn) - matches
    return untold + uncalled + max(0, unmatched)


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
        with tempfile.TemporaryDirectory() as folder:
            result = asyncio.run(run(plan, Path(folder)))
        show(result)
        good = good and result.good
    return 0 if good else 1


def show(result: Result) -> None:
    """Print the figures."""
    share = result.duplicates / max(1, result.deliveries)
    done, met = (
        ", ".join(f"{count} x {kind}" for kind, count in sorted(each.items()))
        for each in (result.done, result.met)
    )
    print(
        f"  {result.deliveries} deliveries, {result.copies} mails and {result.calls} calls taken:"
        f" {result.lost} lost, {result.duplicates} twice ({share:.2%}),"
        f" {result.unflagged} not flagged\n"
        f"  {result.held} held ({result.held_accepted} had arrived), {result.dead} dead letters,"
        f" all settled {result.seconds_to_settle:.1f} s after the last fault,"
        f" longest stream {result.longest_stream}\n"
        f"  faults: {done}; {result.killed} processes killed\n  other servers: {met}"
    )
    for sentence in result.broken[:20]:
        print(f"  BROKEN {sentence}")


if __name__ == "__main__":
    sys.exit(main())
