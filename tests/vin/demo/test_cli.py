"""`vin demo` as a user starts it, from the first process to the last."""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from vin.client import UnreachableError
from vin.demo import cli
from vin.errors import StartError

SECONDS = 60


@pytest.fixture(autouse=True)
def embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo needs an index of its own."""
    for name in ("DATABASE_URL", "REDIS_URL"):
        monkeypatch.delenv(name, raising=False)


def options(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    cli.add_command(parser.add_subparsers())
    return parser.parse_args(["demo", *arguments])


def test_a_region_is_played_once_and_all_of_it_fits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(options("--once", "--families", "4", "--data", str(tmp_path / "data"))) == 0

    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["matches"] == told["expected"]
    assert all(told["matches"].values())
    assert told["mails"] == len(list((tmp_path / "data" / "mail").glob("*.eml")))
    assert (told["missed"], told["unexpected"]) == (0, 0)


async def test_a_demo_shows_mails_and_goes_on_until_ctrl_c(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task = asyncio.create_task(cli.perform(options("--families", "1"), tmp_path))
    told = ""
    async with asyncio.timeout(SECONDS):
        while "Ctrl-C" not in told and not task.done():
            await asyncio.sleep(0.1)
            told += capsys.readouterr().out
    os.kill(os.getpid(), signal.SIGINT)

    assert await task == 0
    assert "matches: child" in told
    assert "Nieuwe match in VIN" in told
    assert str(tmp_path / "mail") in told


async def test_a_demo_that_is_ended_early_has_no_result(tmp_path: Path) -> None:
    task = asyncio.create_task(cli.perform(options("--once"), tmp_path))
    await asyncio.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)

    assert await task == cli.INTERRUPTED


def test_no_process_outlives_a_demo_that_is_killed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    command = [sys.executable, "-m", "vin", "demo", "--once", "--data", str(data)]
    demo = subprocess.Popen(command)
    wait_until((data / "log" / "worker.log").exists)

    demo.kill()
    demo.wait(SECONDS)

    wait_until(lambda: not any(processes_of(data)))


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def processes_of(data: Path) -> Iterator[str]:
    """Find processes that have the folder's name in their command or environment."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if os.fsencode(data) in told:
            yield process.name


def test_a_start_that_fails_is_told_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StartError, match="did not start"):
        cli.run(options("--once", "--data", str(tmp_path / "file")))


@pytest.mark.parametrize("families", ["0", "2001", "some"])
def test_more_families_than_there_are_numbers_for_are_refused(families: str) -> None:
    with pytest.raises(SystemExit):
        options("--families", families)


def test_what_many_clients_say_at_once_becomes_one_sentence() -> None:
    failures = [UnreachableError("no answer"), UnreachableError("none here")]

    with pytest.raises(StartError, match="no answer"), cli.one_error():
        raise ExceptionGroup("clients", failures)  # noqa: EM101


def test_a_folder_of_its_own_is_gone_afterwards() -> None:
    with cli.folder(None) as made:
        assert made.is_dir()

    assert not made.exists()
