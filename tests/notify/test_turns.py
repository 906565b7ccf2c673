import asyncio
from collections.abc import Sequence

from notify.turns import Turns


class Desk:
    """Notes each turn; whatever is in `broken` spoils the turn that it is in."""

    def __init__(self, broken: Exception | None = None) -> None:
        self.turns: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.broken = broken

    async def work(self, things: Sequence[int]) -> None:
        self.turns.append(list(things))
        await self.open.wait()
        if self.broken is not None and 13 in things:
            raise self.broken


async def test_who_comes_alone_does_not_wait() -> None:
    desk = Desk()

    await Turns(desk.work).share(1)

    assert desk.turns == [[1]]


async def together(desk: Desk, turns: Turns[int], *things: int) -> list[BaseException | None]:
    """What each is told of those who come while one more is under way."""
    desk.open.clear()
    tasks = [asyncio.create_task(turns.share(thing)) for thing in (0, *things)]
    await asyncio.sleep(0.01)
    desk.open.set()
    _, *answers = await asyncio.gather(*tasks, return_exceptions=True)
    return answers


async def test_those_who_come_meanwhile_share_the_next_turn() -> None:
    desk = Desk()

    await together(desk, Turns(desk.work), 1, 2, 3)

    assert desk.turns == [[0], [1, 2, 3]]


async def test_an_outage_is_everyones() -> None:
    outage = ConnectionResetError()
    desk = Desk(outage)

    assert await together(desk, Turns(desk.work), 1, 13, 2) == [outage] * 3


async def test_any_other_failure_is_told_only_to_whom_it_concerns() -> None:
    failure = LookupError()
    desk = Desk(failure)

    assert await together(desk, Turns(desk.work), 1, 13, 2) == [None, failure, None]
    assert desk.turns == [[0], [1, 13, 2], [1], [13], [2]]


async def test_where_the_leader_is_cancelled_the_others_go_on() -> None:
    desk = Desk()
    turns = Turns(desk.work)
    desk.open.clear()
    first, leader, other = (asyncio.create_task(turns.share(thing)) for thing in range(3))
    await asyncio.sleep(0.01)
    desk.open.set()
    desk.open.clear()
    await first
    await asyncio.sleep(0.01)
    leader.cancel()
    await asyncio.sleep(0.01)
    desk.open.set()
    await other

    assert leader.cancelled()
    assert desk.turns == [[0], [1, 2], [2]]
