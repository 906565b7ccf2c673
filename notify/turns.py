"""Work in turns: those who come while one is under way share the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class _Wish(Generic[_T]):
    thing: _T
    done: bool = False


class Turns(Generic[_T]):
    """Does `work` on all that waits: under load many share a commit, else nobody waits.

    Whoever is next leads; where the work fails or the leader is cancelled, the others wait on.
    """

    def __init__(self, work: Callable[[Sequence[_T]], Awaitable[None]]) -> None:
        self._work = work
        self._waiting: list[_Wish[_T]] = []
        self._turn = asyncio.Lock()

    async def share(self, thing: _T) -> None:
        """Return when a turn that had this in it is over."""
        wish = _Wish(thing)
        self._waiting.append(wish)
        async with self._turn:
            if not wish.done:
                await self._lead(wish)

    async def _lead(self, wish: _Wish[_T]) -> None:
        batch, self._waiting = self._waiting, []
        try:
            await self._work([each.thing for each in batch])
            for each in batch:
                each.done = True
        finally:
            self._waiting[:0] = [each for each in batch if not each.done and each is not wish]
