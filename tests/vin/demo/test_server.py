"""What a demo does with the processes and the index that it finds."""

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from uuid import uuid4

import pytest

from tests.running import Up
from vin.client import Bsn, Client, Config, Registration, Reporter
from vin.demo.server import READY, end
from vin.demo.vendors import connected
from vin.errors import StartError

STUBBORN = """
import signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(flush=True)
signal.pause()
"""


async def test_a_process_that_does_not_end_is_made_to() -> None:
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", STUBBORN, stdout=PIPE)
    assert process.stdout is not None
    await process.stdout.readline()

    await end(process, seconds=0.1)

    assert process.returncode == -signal.SIGKILL


async def test_an_index_that_holds_signals_is_left_alone(up: Up) -> None:
    ready = READY.validate_json(json.dumps(up.ready))
    entry = ready.clients[0]
    config = Config(
        api=ready.api,
        keyholder=ready.keyholder,
        client_id=entry.client_id,
        private_key_file=Path(entry.private_key_file),
    )
    reporter = Reporter(
        id=f"demo-{uuid4().hex}",
        name="Reporter 1",
        function="teacher",
        email=f"{uuid4().hex}@school.example",
        phone="000 000 0001",
        unit=entry.unit,
    )
    async with Client.connect(config) as client:
        await client.register_reporter(reporter)
        await client.register(
            Registration(reporter_id=reporter.id, reference="D-1", child=Bsn("999990160"))
        )

    with pytest.raises(StartError, match="without signals"):
        async with connected(ready):
            pass
