import asyncio
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.vin.keyholder.house import ELEMENTS, EPOCH, SEEDS
from vin.crypto import oprf
from vin.crypto.pseudonym import domain_key
from vin.errors import StartError, UnavailableError
from vin.keyholder import arithmetic
from vin.keyholder.arithmetic import Batch, begin
from vin.keyholder.evaluator import open_evaluator

BATCH = Batch("nhn/child", EPOCH, ELEMENTS[:2])
PROGRAM = """
import asyncio
from vin.keyholder.evaluator import open_evaluator

async def main():
    async with open_evaluator({1: bytes(32)}, 2):
        print("ready", flush=True)
        await asyncio.Event().wait()

if __name__ == "__main__":
    asyncio.run(main())
"""


class Fatal:
    """Ends whichever process it is sent to."""

    def __reduce__(self) -> tuple[Callable[[int], None], tuple[int]]:
        return os._exit, (1,)


def children(parent: int) -> set[int]:
    tasks = Path(f"/proc/{parent}/task").iterdir()
    return {int(child) for task in tasks for child in (task / "children").read_text().split()}


def workers() -> list[int]:
    """The children of this process that do arithmetic."""
    mine = {child: Path(f"/proc/{child}/cmdline").read_bytes() for child in children(os.getpid())}
    return [child for child, command in mine.items() if b"spawn_main" in command]


async def test_a_key_holder_whose_processes_do_not_start_does_not_start() -> None:
    with pytest.raises(StartError, match="RFC 9497"):
        async with open_evaluator({EPOCH: Fatal()}, 1):  # type: ignore[dict-item]
            pass


async def test_a_process_that_is_killed_costs_one_request() -> None:
    before = set(workers())
    async with open_evaluator(SEEDS, 1) as evaluator:
        for process in set(workers()) - before:
            os.kill(process, signal.SIGKILL)

        asked = [evaluator.evaluate([BATCH]) for _ in range(3)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        # Whoever asks once the loss was seen meets the new process already.
        assert isinstance(answers[0], UnavailableError)
        assert all(isinstance(answer, UnavailableError | list) for answer in answers)

        [evaluation] = await evaluator.evaluate([BATCH])
        key = evaluator.public_key(BATCH.domain)
        oprf.verify(key, BATCH.blinded, evaluation.evaluated, evaluation.proof)


async def test_a_process_that_finds_itself_orphaned_does_not_begin() -> None:
    nobody = 0
    with (
        ProcessPoolExecutor(1, get_context("spawn"), begin, (SEEDS, nobody)) as pool,
        pytest.raises(BrokenExecutor),
    ):
        await asyncio.get_running_loop().run_in_executor(pool, os.getpid)


def test_batches_are_evaluated_in_order_each_with_its_own_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(arithmetic, "_seeds", SEEDS)
    batches = [Batch("nhn/parent", 1, ELEMENTS[:3]), Batch("nhn/parent", 2, ELEMENTS[:1])]

    for batch, evaluation in zip(batches, arithmetic.evaluate(batches), strict=True):
        key = domain_key(SEEDS[batch.epoch], batch.domain, batch.epoch)
        assert evaluation.evaluated == oprf.multiply_all(key, batch.blinded)
        oprf.verify(key.public_key, batch.blinded, evaluation.evaluated, evaluation.proof)


async def test_no_process_outlives_a_key_holder_that_is_killed() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROGRAM, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    started = children(process.pid)
    assert len(started) >= 2

    process.kill()
    await process.wait()

    async with asyncio.timeout(5):
        while any(map(is_running, started)):
            await asyncio.sleep(0.02)


def is_running(process: int) -> bool:
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
