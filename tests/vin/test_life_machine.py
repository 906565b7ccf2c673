"""The life of signals, step by step at random: after every step the service agrees with the law."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.machine import Bench, machine_on

STEPS = 50
SOAK_STEPS = int(os.environ.get("SOAK_STEPS", "0"))
# To make a failure smaller may take minutes, so only `scripts/soak life` does that.
PHASES = [Phase.explicit, Phase.generate, *([Phase.shrink] if "SOAK_SHRINK" in os.environ else [])]

every = settings(
    deadline=None, suppress_health_check=list(HealthCheck), database=None, phases=PHASES
)
short = settings(every, max_examples=25, stateful_step_count=20, derandomize=True)
long = settings(every, max_examples=max(1, SOAK_STEPS // STEPS), stateful_step_count=STEPS)


@pytest.fixture
def bench(db_url: str) -> Iterator[Bench]:
    opened = Bench(db_url)
    yield opened
    opened.close()


def test_after_every_step_the_service_agrees_with_the_law(bench: Bench) -> None:
    run_state_machine_as_test(machine_on(bench), settings=long if SOAK_STEPS else short)
