"""What relay and workers of one process have in common."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from notify.attempts import Journal
from notify.breaker import Breaker
from notify.carrier import Desks
from notify.metrics import Meter
from notify.queue import Queue

if TYPE_CHECKING:
    from asyncpg import Pool, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Office:
    """What they work with; `name` tells a worker apart in the ledger.

    `clock` is the breaker's, in seconds since any instant; `slots` are for mails.
    """

    pool: "Pool[Record]"
    queue: Queue
    desks: Desks
    journal: Journal
    name: str
    breaker: Breaker = field(default_factory=Breaker)
    clock: Callable[[], float] = time.monotonic
    meter: Meter = field(default_factory=Meter)
    slots: int = 16
