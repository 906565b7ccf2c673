"""What an operator's commands take, and what they do when the database undoes them."""

import argparse
from datetime import datetime

import pytest
from asyncpg import DeadlockDetectedError

from schemas.database import Db
from vin.clock import Clock
from vin.terminal import TRIES, in_turn, one_line


@pytest.mark.parametrize("failures", [0, TRIES - 1, TRIES])
async def test_a_command_that_met_a_deadlock_is_tried_again(db: Db, failures: int) -> None:
    tried = []

    async def work(now: datetime) -> None:
        tried.append(now)
        await db.execute("INSERT INTO matching.given_number VALUES ('M-1')")
        if len(tried) <= failures:
            raise DeadlockDetectedError

    if failures == TRIES:
        with pytest.raises(DeadlockDetectedError):
            await in_turn(db, work, Clock())
    else:
        await in_turn(db, work, Clock())

    assert len(tried) == min(failures + 1, TRIES)
    assert await db.fetchval("SELECT count(*) FROM matching.given_number") == (failures < TRIES)


def test_g3_a_purpose_is_one_line_of_visible_text() -> None:
    assert one_line("request 7") == "request 7"
    for purpose in ("", " ", "a\nb", "x" * 101):
        with pytest.raises(argparse.ArgumentTypeError):
            one_line(purpose)
