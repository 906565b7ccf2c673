"""What the index's handlers work with; opened and closed by wiring."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from vin.clock import Clock
from vin.crypto.sign import Permit
from vin.registrar import Registrar
from vin.signals import Secrets

if TYPE_CHECKING:
    from asyncpg import Pool, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One for the process. `verify_permit` raises SignatureRefusedError."""

    region: str
    pool: "Pool[Record]"
    clock: Clock
    secrets: Secrets
    registrar: Registrar
    verify_permit: Callable[[str], Permit]


CONTEXT = web.AppKey("context", Context)
