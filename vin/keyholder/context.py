"""What the key holder's handlers work with; opened and closed by wiring."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from aiohttp import web

from vin.crypto.signkey import AccessKey, PermitKey
from vin.keyholder.evaluator import Evaluator

if TYPE_CHECKING:
    from asyncpg import Pool, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """One for the process; the URLs are base URLs, `access_key` is the index's public key."""

    pool: "Pool[Record]"
    evaluator: Evaluator
    access_key: AccessKey
    permit_key: PermitKey = field(repr=False)
    keyholder_url: str
    api_url: str
    utcnow: Callable[[], datetime]
    store_seconds: float = 5


CONTEXT = web.AppKey("context", Context)
