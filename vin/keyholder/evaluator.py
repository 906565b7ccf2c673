"""The arithmetic, in processes of its own, so that answering others never waits for it."""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context

from vin.crypto import oprf
from vin.crypto.pseudonym import domain_key
from vin.errors import StartError, UnavailableError

PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Batch:
    """Blinded elements for the key of one domain and epoch."""

    domain: str
    epoch: int
    blinded: Sequence[bytes] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What came of a batch, and the proof that the published key did it."""

    evaluated: Sequence[bytes] = field(repr=False)
    proof: bytes = field(repr=False)


class Evaluator:
    """The secret keys; opened by `open_evaluator`."""

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
            initializer=_begin,
            initargs=(self._seeds, os.getpid()),
        )

    def _public_key(self, domain: str) -> bytes:
        return domain_key(self._seeds[self.epoch], domain, self.epoch).public_key

    async def evaluate(self, batches: Sequence[Batch]) -> list[Evaluation]:
        """Evaluate and prove, batch by batch; UnavailableError when a process was killed."""
        pool = self._pool
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(pool, _evaluate, batches)
        except BrokenExecutor as error:
            # The first to notice replaces it; the others' pool is another by now.
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
            message = "The key holder cannot compute as RFC 9497 says, so it does not start."
            raise StartError(message) from error

    async def close(self) -> None:
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


# From here on: what runs in the processes.
_seeds: dict[int, bytes] = {}


def _begin(seeds: Mapping[int, bytes], parent: int) -> None:
    """Get ready for work, and end when the parent does, however that ends."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    oprf.self_test()
    _seeds.update(seeds)


def _evaluate(batches: Sequence[Batch]) -> list[Evaluation]:
    return [_evaluate_batch(batch) for batch in batches]


def _evaluate_batch(batch: Batch) -> Evaluation:
    key = _key(batch.domain, batch.epoch)
    evaluated = oprf.multiply_all(key, batch.blinded)
    return Evaluation(evaluated, oprf.prove(key, batch.blinded, evaluated))


@cache
def _key(domain: str, epoch: int) -> oprf.Key:
    return domain_key(_seeds[epoch], domain, epoch)
