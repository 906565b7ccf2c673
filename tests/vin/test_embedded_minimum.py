"""Servers that VIN refuses to work with: too old, or not there."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from vin.embedded import EmbeddedError, check_postgres, check_redis, postgres, valkey
