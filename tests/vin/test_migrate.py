"""Migrations: applied once, in order, all or nothing; anything unexpected is refused."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from tests.conftest import Servers, beside, on_server
