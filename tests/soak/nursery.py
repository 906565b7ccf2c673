"""Forks worker processes that can be killed and started again within milliseconds.

Run as a program with the settings of the workers as JSON. Reads a command a line, and answers
each with a line: `start NAME ROLE SKEW LOG` with the process's number, `kill NAME` with how it
ended, `freeze NAME`, `thaw NAME`. `ROLE` is `worker`, all that `vin worker` does, or `relay`;
`SKEW` moves its clock by so many seconds.
"""

import asyncio
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from datetime import timedelta

from notify import attempts, ledger, mail, queue, webhook, worker
from notify.errors import OUTAGE
from notify.office import Office
from notify.queue import Bell, Queue
from notify.relay import run_relay
from tests.soak import sabotage
from vin import wiring
from vin.clock import Clock
from vin.errors import StartError
from vin.notices import journal_with
from vin.settings import WorkerSettings, read_settings

PR_SET_PDEATHSIG = 1
AGAIN_SECONDS = 0.1
BUG = 70


def hasten(seconds: float) -> None:
    """Let leases last so long, and the rest in proportion."""
    lease = timedelta(seconds=seconds)
    attempts.LEASE = worker.LEASE = lease  # type: ignore[attr-defined]
    worker.BEAT_SECONDS = seconds / 4
    ledger.VISIBILITY = timedelta(seconds=seconds / 2)
    queue.STALE_SECONDS = max(1, int(seconds / 2))
    mail.COMMAND_SECONDS = int(1.5 * seconds)
    mail.DATA_SECONDS = webhook.TOTAL_SECONDS = max(1, int(seconds / 2))


async def run(role: str, environment: Mapping[str, str]) -> None:
    """As a supervisor does it: what cannot start, because a server is away, tries again."""
    settings = read_settings(WorkerSettings, environment)
    while True:
        try:
            await (run_relay_process if role == "relay" else wiring.run_worker_process)(settings)
        except (StartError, *OUTAGE):
            await asyncio.sleep(AGAIN_SECONDS)
        else:
            return


async def run_relay_process(settings: WorkerSettings) -> None:
    """A relay and nothing else."""
    wiring.start_logs()
    stop = wiring.stop_on_signal()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(wiring.open_pool(settings.database_url, "vin"))
        redis = await stack.enter_async_context(queue.connect(settings.redis_url))
        journal = journal_with(Clock())
        office = Office(pool=pool, queue=Queue(redis), desks={}, journal=journal, name="relay")
        await run_relay(office, Bell(redis), stop)


def born(role: str, skew: float, log: str, environment: Mapping[str, str]) -> None:
    """The life of one process; it ends with us, and never comes back from here."""
    code = BUG
    try:
        live(role, skew, log, environment)
        code = 0
    except BaseException:  # noqa: BLE001 - nothing of the parent's may run in this process
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(code)


def live(role: str, skew: float, log: str, environment: Mapping[str, str]) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for stream in (1, 2):
        os.dup2(file, stream)
    told = time.time
    time.time = lambda: told() + skew
    asyncio.run(run(role, environment))


def main() -> None:
    options = json.loads(sys.argv[1])
    hasten(options["lease"])
    sabotage.take_out(options["without"])
    living: dict[str, int] = {}
    for line in sys.stdin:
        verb, name, *rest = line.split()
        if verb == "start":
            role, skew, log = rest
            living[name] = os.fork()
            if living[name] == 0:
                born(role, float(skew), log, options["environment"])
            answer = str(living[name])
        else:
            answer = signalled(verb, living[name])
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def signalled(verb: str, process: int) -> str:
    """Send one process a signal; a killed one is waited for."""
    numbers = {"kill": signal.SIGKILL, "freeze": signal.SIGSTOP, "thaw": signal.SIGCONT}
    os.kill(process, numbers[verb])
    if verb != "kill":
        return "done"
    _, status = os.waitpid(process, 0)
    code = os.waitstatus_to_exitcode(status)
    return "killed" if code == -signal.SIGKILL else f"ended {code}"


if __name__ == "__main__":
    main()
