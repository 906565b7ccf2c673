"""Starts VIN as a user does, as processes of its own."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from vin.embedded.server import CHILD

READY_SECONDS = 60
# A test process that is killed must not leave VIN behind.
ENDS_WITH_US = (
    sys.executable,
    "-IS",
    str(CHILD),
    str(os.getpid()),
    str(int(signal.SIGTERM)),
    "stay",
)
END_SECONDS = 15


@dataclass(frozen=True, slots=True)
class Up:
    """A running `vin up`: its folder, and what it announced."""

    data: Path
    process: "subprocess.Popen[bytes]" = field(repr=False)
    ready: dict[str, Any]


@contextmanager
def running(data: Path, *options: str) -> Iterator[Up]:
    """Run `vin up` in a process group of its own until the end of the block."""
    port = () if "--port" in options else ("--port", "0")
    process = subprocess.Popen(
        [*ENDS_WITH_US, sys.executable, "-m", "vin", "up", "--data", str(data), *port, *options],
        env={**os.environ, "DATABASE_URL": "", "REDIS_URL": ""},
        start_new_session=True,
    )
    try:
        yield Up(data, process, wait_until_ready(data, process))
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(END_SECONDS)


def wait_until_ready(data: Path, process: "subprocess.Popen[bytes]") -> dict[str, Any]:
    """What ready.json says, once it is there."""
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            message = f"vin up ended with {process.returncode}"
            raise RuntimeError(message)
        if (data / "ready.json").exists():
            ready: dict[str, Any] = json.loads((data / "ready.json").read_text())
            return ready
        time.sleep(0.05)
    message = "vin up did not get ready"
    raise RuntimeError(message)
