"""What goes wrong in a chaos run, and how often."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Literal, TypeAlias

from notify.errors import OUTAGE
from tests.soak.mailhost import Race, draws
from tests.soak.stage import ROLES, Stage

Policy: TypeAlias = Literal["resend", "hold"]
DAY = 86400


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


async def trouble(scene: Stage, plan: Plan, done: Counter[str]) -> None:
    """Let the faults happen, at instants and to victims that the seed draws."""
    chance = draws(plan.seed, "trouble")
    kinds = [kind for kind, count in plan.faults.items() for _ in range(count)]
    due = sorted((chance.random() * plan.seconds, kind) for kind in kinds)
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for number, (at, kind) in enumerate(due):
            await asyncio.sleep(began + at - loop.time())
            group.create_task(FAULTS[kind](scene, plan, draws(plan.seed, f"{kind} {number}")))
            done[kind] += 1


async def kill(scene: Stage, _: Plan, chance: Random) -> None:
    """A process dies and another takes its place, whose clock is up to a day off.

    Those that stand still are to wake up again.
    """
    awake = [name for name in ROLES if name not in scene.nursery.frozen]
    await scene.nursery.replace(chance.choice(awake or list(ROLES)), chance.uniform(-DAY, DAY))


async def ambush(scene: Stage, plan: Plan, chance: Random) -> None:
    """The next worker that comes to a moment of its talk dies there."""
    struck = asyncio.Event()
    skew = chance.uniform(-DAY, DAY)

    async def strike(port: int) -> None:
        name = scene.nursery.holder(port)
        if name is not None:
            await scene.nursery.replace(name, skew)
        struck.set()

    scene.host.ambush = next(scene.host.moments), strike
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
    await scene.nursery.freeze(name)
    await asyncio.sleep(2 * plan.lease)
    await scene.nursery.thaw(name)


async def overtake(scene: Stage, plan: Plan, _: Random) -> None:
    """A worker stands still before DATA until another has the same mail there, and goes on."""
    frozen: list[str] = []

    async def stop(port: int) -> None:
        name = scene.nursery.holder(port)
        if name is not None:
            await scene.nursery.freeze(name)
            frozen.append(name)

    race = scene.host.race = Race(stop)
    with suppress(TimeoutError):
        await asyncio.wait_for(race.overtaken.wait(), 2 * plan.lease)
    for name in frozen:
        await scene.nursery.thaw(name)


FAULTS: Mapping[str, Callable[[Stage, Plan, Random], Coroutine[None, None, None]]] = {
    "kill": kill,
    "ambush": ambush,
    "freeze": freeze,
    "overtake": overtake,
    "flush": flush,
    "redis": crash_redis,
    "postgres": crash_postgres,
    "jump": jump,
    "cut": cut,
}
