"""The secret keys, and processes of their own for the arithmetic with them.

So answering others never waits for it.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import asynccontextmanager
from functools import cache
from multiprocessing import get_context

from vin.crypto.pseudonym import domain_key
from vin.errors import StartError, UnavailableError
from vin.keyholder import arithmetic
from vin.keyholder.arithmetic import Batch, Evaluation


class Evaluator:
    """Evaluates with the keys of the newest epoch; opened by `open_evaluator`."""

    def __init__(self, seeds: Mapping[int, bytes], processes: int) -> None:
        self.epoch = max(seeds)
        self._seeds = dict(seeds)
        self._processes = processes
        self._pool = self._new_pool()
        self.public_key = cache(self._public_key)

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(
            self._processes,
            # A forked child would share locks and sockets with this process.
            mp_context=get_context("spawn"),
            initializer=arithmetic.begin,
            initargs=(self._seeds, os.getpid()),
        )

    def _public_key(self, domain: str) -> bytes:
        return domain_key(self._seeds[self.epoch], domain, self.epoch).public_key

    async def evaluate(self, batches: Sequence[Batch]) -> list[Evaluation]:
        """Evaluate and prove, batch by batch; UnavailableError when a process was killed."""
        pool = self._pool
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(pool, arithmetic.evaluate, batches)
        except BrokenExecutor as error:
            # The first to notice replaces the pool for all.
            if pool is self._pool:
                self._pool = self._new_pool()
                pool.shutdown(wait=False)
            raise UnavailableError from error

    async def start(self) -> None:
        """Start all processes now: each computes RFC 9497's vectors before it takes work."""
        loop = asyncio.get_running_loop()
        begun = [loop.run_in_executor(self._pool, os.getpid) for _ in range(self._processes)]
        try:
            await asyncio.gather(*begun)
        except BrokenExecutor as error:
            message = "The key holder's processes do not compute as RFC 9497 says."
            raise StartError(message) from error

    async def close(self) -> None:
        """Let the work in hand be finished, and no other."""
        await asyncio.to_thread(self._pool.shutdown, cancel_futures=True)


@asynccontextmanager
async def open_evaluator(seeds: Mapping[int, bytes], processes: int) -> AsyncIterator[Evaluator]:
    """Keep this many processes ready, with the seeds by epoch."""
    evaluator = Evaluator(seeds, processes)
    try:
        await evaluator.start()
        yield evaluator
    finally:
        await evaluator.close()
