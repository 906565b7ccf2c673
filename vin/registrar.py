"""Registrations leave in batches on a tick (decision 5).

One commit for up to 64 signals makes registering cheap; and since every answer leaves on
the tick, its timing does not tell whether the index knew the child.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from notify.errors import OUTAGE
from vin.errors import UnavailableError, VinError
from vin.signals import Registered, Registration

TICK_SECONDS = 0.005
BATCH = 64

Answer = Registered | VinError
Settled = Answer | Exception
Commit = Callable[[Sequence[Registration]], Awaitable[list[Answer]]]


class Registrar:
    """Collects registrations and answers each; opened by `run`, which the process keeps alive."""

    def __init__(self, commit: Commit, ring: Callable[[], Awaitable[None]]) -> None:
        self._commit = commit
        self._ring = ring
        self._waiting: deque[tuple[Registration, asyncio.Future[Settled]]] = deque()
        self._arrived = asyncio.Event()

    async def register(self, registration: Registration) -> Registered:
        """Hand in one registration; returns once it is committed, raises when it was refused."""
        answer: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self._waiting.append((registration, answer))
        self._arrived.set()
        outcome = await answer
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def run(self) -> None:
        """Commit what arrived at each tick, and answer at the next, until cancelled."""
        while True:
            await self._arrived.wait()
            await until_tick()
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            if not self._waiting:
                self._arrived.clear()
            outcomes = await self._settle([registration for registration, _ in batch])
            await until_tick()
            for (_, answer), outcome in zip(batch, outcomes, strict=True):
                if not answer.done():
                    answer.set_result(outcome)

    async def _settle(self, batch: Sequence[Registration]) -> Sequence[Settled]:
        """Commit a batch; when one spoils it, each alone, so that none fails its neighbours.

        A connection lost at commit leaves the outcome unknown: asking again under the same
        idempotency keys tells (decision 5).
        """
        for _ in range(2):
            try:
                return await self._commit_and_ring(batch)
            except OUTAGE:
                continue
            except Exception:  # noqa: BLE001 - whatever it is, it must stay with its own request
                return [await self._settle_alone(each) for each in batch]
        return [UnavailableError()] * len(batch)

    async def _settle_alone(self, registration: Registration) -> Settled:
        try:
            return (await self._commit_and_ring([registration]))[0]
        except OUTAGE:
            return UnavailableError()
        except Exception as error:  # noqa: BLE001 - its own request answers 500 and logs it
            return error

    async def _commit_and_ring(self, batch: Sequence[Registration]) -> list[Answer]:
        answers = await self._commit(batch)
        await self._ring()
        return answers


async def until_tick() -> None:
    """Sleep to the next multiple of the tick."""
    now = asyncio.get_running_loop().time()
    await asyncio.sleep(TICK_SECONDS - now % TICK_SECONDS)
