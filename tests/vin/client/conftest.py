"""Services of our own, and a client of them that knows what day it is."""

from collections.abc import AsyncIterator
from datetime import date
from pathlib import Path

import pytest_asyncio

from tests.vin.client.services import QUICK, Services, config_for, serving
from vin.client import Client

TODAY = date(2026, 11, 22)


@pytest_asyncio.fixture
async def services() -> AsyncIterator[Services]:
    async with serving() as running:
        yield running


@pytest_asyncio.fixture
async def client(services: Services, tmp_path: Path) -> AsyncIterator[Client]:
    config = config_for(services, tmp_path)
    async with Client.connect(config, retry=QUICK, today=lambda: TODAY) as opened:
        yield opened
