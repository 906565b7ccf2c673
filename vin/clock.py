"""Domain time: the database's clock, moved by the demo's offset."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from schemas.database import Db


@dataclass(frozen=True, slots=True)
class Clock:
    """Tells the instant by which rules decide; leases and tokens go by the real clock."""

    offset: timedelta = timedelta()

    async def now(self, db: Db) -> datetime:
        """The database's clock now, also within a transaction, plus the offset."""
        now: datetime = await db.fetchval(
            """
            -- clock.now
            SELECT clock_timestamp()
            """
        )
        return now + self.offset
