"""The tick: batches, answers on time, and no request that fails another's."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest

from tests.strategies import uuid_of
from tests.world import Somebody, registration
from vin.errors import PermitSpentError, UnavailableError
from vin.registrar import BATCH, TICK_SECONDS, Answer, Registrar
from vin.signals import Registration

REPORTER = Somebody(uuid_of(6, 1), uuid_of(5, 1), uuid_of(8, 1), "r-1", "r@school.test")


class SpoiltError(Exception):
    """What one registration does to the batch that it is in."""


@dataclass
class Desk:
    """Commits in memory; a child of 13 spoils its batch, and `fails` come first."""

    fails: list[Exception] = field(default_factory=list)
    batches: list[int] = field(default_factory=list)

    async def commit(self, batch: Sequence[Registration]) -> list[Answer]:
        self.batches.append(len(batch))
        if self.fails:
            raise self.fails.pop(0)
        if any(each.child_key == uuid_of(1, 13) for each in batch):
            raise SpoiltError
        return [PermitSpentError() for _ in batch]


@asynccontextmanager
async def open_registrar(desk: Desk) -> AsyncIterator[Registrar]:
    async def ring() -> None:
        return

    registrar = Registrar(desk.commit, ring)
    running = asyncio.create_task(registrar.run())
    yield registrar
    assert not running.done()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def outcome(registrar: Registrar, child: int) -> type[object]:
    try:
        answer: object = await registrar.register(registration(REPORTER, child))
    except Exception as error:  # noqa: BLE001 (the kind is what is asked)
        answer = error
    return type(answer)


async def all_of(registrar: Registrar, children: Sequence[int]) -> list[type[object]]:
    return list(await asyncio.gather(*(outcome(registrar, child) for child in children)))


async def test_what_comes_within_a_tick_is_one_batch_and_no_batch_is_larger_than_64() -> None:
    desk = Desk()
    async with open_registrar(desk) as registrar:
        await all_of(registrar, [0] * (BATCH + 6))

    assert desk.batches == [BATCH, 6]


async def test_one_bad_registration_fails_alone() -> None:
    async with open_registrar(Desk()) as registrar:
        outcomes = await all_of(registrar, [1, 13, 2])

    assert outcomes == [PermitSpentError, SpoiltError, PermitSpentError]


@pytest.mark.parametrize(
    ("fails", "expected"),
    [
        ([ConnectionError()], PermitSpentError),
        ([ConnectionError(), ConnectionError()], UnavailableError),
        ([SpoiltError(), ConnectionError()], UnavailableError),
    ],
)
async def test_an_outage_is_asked_again_once_and_then_told(
    fails: list[Exception], expected: type[object]
) -> None:
    async with open_registrar(Desk(fails)) as registrar:
        assert await outcome(registrar, 1) is expected
        assert await outcome(registrar, 1) is PermitSpentError


async def test_answers_leave_on_the_tick_however_long_the_commit_took() -> None:
    loop = asyncio.get_running_loop()
    phases = []
    async with open_registrar(Desk()) as registrar:
        for _ in range(20):
            await asyncio.sleep(TICK_SECONDS / 3)
            await outcome(registrar, 1)
            phases.append(loop.time() % TICK_SECONDS)

    assert sorted(phases)[len(phases) // 2] < TICK_SECONDS / 2
