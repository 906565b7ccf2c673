"""S1, S8, D2, D4: nobody tells apart two worlds that differ in what he has no right to know."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.onlooker import Call, Onlooker
from tests.plots import CHILDREN, COUPLE, HOME, LAST, Come, Detail, End, Script, Step, Wait, scripts
from tests.worlds import World, world

STEPS = 15
SOAK_STEPS = int(os.environ.get("SOAK_STEPS", "0"))
# To make a failure smaller may take minutes, so only `scripts/soak worlds` does that.
PHASES = [Phase.explicit, Phase.generate, *([Phase.shrink] if "SOAK_SHRINK" in os.environ else [])]


async def seen_in(world: World, place: int, script: Script) -> list[object]:
    """All that the onlooker is answered and sent in one of the worlds."""
    onlooker = Onlooker(world, await world.begin(address_rule=script.address_rule))
    for step in script.steps:
        world.wait(0)
        if isinstance(step, Call):
            await onlooker.do(step)
        else:
            await step.happen(world, place)
        await world.settle()
        if not script.mail_late:
            await onlooker.mails()
    await onlooker.mails()
    return onlooker.saw


@pytest.fixture
async def worlds(
    make_database: Callable[[str], Awaitable[str]],
) -> AsyncIterator[tuple[World, World]]:
    north, south = [await make_database("vin") for _ in range(2)]
    async with world("north", north) as one, world("south", south) as other:
        yield one, other


every = settings(
    deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=PHASES
)
short = settings(every, max_examples=40, derandomize=True)
long = settings(every, max_examples=max(1, SOAK_STEPS // STEPS))


@(long if SOAK_STEPS else short)
@given(script=scripts())
async def test_s01_s08_an_onlooker_sees_the_same_in_worlds_that_differ_in_what_is_not_his(
    worlds: tuple[World, World], script: Script
) -> None:
    one, other = await asyncio.gather(
        *(seen_in(world, place, script) for place, world in enumerate(worlds))
    )

    assert one == other


@pytest.mark.parametrize(
    "how", [("erased", "rehoused"), ("unjustified", "erased"), ("unjustified", "rehoused")]
)
async def test_m12_also_after_a_month_nothing_tells_why_a_match_is_void(
    worlds: tuple[World, World], how: tuple[str, str]
) -> None:
    family = (*COUPLE, HOME)
    own = Call("register", by=0, whose="own", place=0, child=CHILDREN[0], family=family, twist="")
    detail = Detail(COUPLE, stranger=False, address=None, seconds_ago=0)
    come = Come(
        100,
        child=("bsn", 100),
        couple=True,
        alone=False,
        shielded=False,
        details=(detail, detail),
    )
    steps: list[Step] = [own, come, End(come, 0, how), Wait(40), *LAST]
    script = Script(address_rule=False, mail_late=False, steps=steps)

    assert await seen_in(worlds[0], 0, script) == await seen_in(worlds[1], 1, script)
