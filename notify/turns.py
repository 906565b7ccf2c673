"""Work in turns: those who come while one is under way share the next."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from notify.errors import OUTAGE

_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class _Wish(Generic[_T]):
    thing: _T
    done: bool = False
    error: Exception | None = None


class Turns(Generic[_T]):
    """Does `work` on all that waits: under load many share a commit, else nobody waits.

    Whoever is next leads; where he is cancelled the others wait on. An outage is everyone's;
    any other failure is told to whom the work fails for alone, so it may be done twice.
    """

    def __init__(self, work: Callable[[Sequence[_T]], Awaitable[None]]) -> None:
        self._work = work
        self._waiting: list[_Wish[_T]] = []
        self._turn = asyncio.Lock()

    async def share(self, thing: _T) -> None:
        """Return when the work on this is done, or raise what it failed with."""
        wish = _Wish(thing)
        self._waiting.append(wish)
        async with self._turn:
            if not wish.done:
                await self._lead(wish)
        if wish.error is not None:
            raise wish.error

    async def _lead(self, wish: _Wish[_T]) -> None:
        batch, self._waiting = self._waiting, []
        try:
            await self._do(batch)
        finally:
            self._waiting[:0] = [each for each in batch if not each.done and each is not wish]

    async def _do(self, batch: Sequence[_Wish[_T]]) -> None:
        error: Exception | None = None
        try:
            await self._work([each.thing for each in batch])
        except OUTAGE as outage:
            error = outage
        except Exception as failure:  # noqa: BLE001 - it is raised where it belongs
            if len(batch) > 1:
                for each in batch:
                    await self._do([each])
                return
            error = failure
        for each in batch:
            each.done, each.error = True, error
