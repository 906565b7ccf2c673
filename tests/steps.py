"""What tests do to an index, one use case a step, at an instant of their choice."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

from schemas.database import Db
from tests.world import SECRETS, Somebody
from vin.matches import OwnMatch, Reader, Wanted, list_matches, match_batch
from vin.signals import (
    OwnSignal,
    Registered,
    Registration,
    Withdrawal,
    read_signal,
    register_batch,
    withdraw,
)

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
FIRST = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0), UUID(int=0))


@asynccontextmanager
async def undone(db: Db) -> AsyncIterator[None]:
    """Leave the database as it was: many examples on one are quick that way."""
    transaction = db.transaction()
    await transaction.start()
    try:
        yield
    finally:
        await transaction.rollback()


async def register(db: Db, *batch: Registration, now: datetime = NOW) -> list[UUID]:
    """The signals that requests led to; the refused are left out."""
    async with db.transaction():
        answers = await register_batch(db, batch, SECRETS, now)
    return [answer.signal.id for answer in answers if isinstance(answer, Registered)]


async def match_all(db: Db, limit: int = 10, now: datetime = NOW) -> None:
    """Let the matcher work until nothing waits."""
    done = 1
    while done:
        async with db.transaction():
            done = await match_batch(db, limit, now)


async def end(
    db: Db, signal: UUID, by: Somebody, ground: str = "risk_gone", now: datetime = NOW
) -> None:
    """Withdraw a signal."""
    request = Withdrawal(
        organisation=by.organisation,
        client="client",
        request_id=uuid4(),
        signal=signal,
        ground=ground,
    )
    async with db.transaction():
        await withdraw(db, request, now)


def reader(somebody: Somebody) -> Reader:
    return Reader(organisation=somebody.organisation, client="client", request_id=uuid4())


async def sides_of(db: Db, somebody: Somebody, now: datetime = NOW) -> list[OwnMatch]:
    """The matches that somebody's organisation sees."""
    wanted = Wanted(reporter_id=None, after=FIRST, limit=200)
    items, _ = await list_matches(db, wanted, reader(somebody), SECRETS.contact, now)
    return items


async def look(db: Db, signal: UUID, by: Somebody, now: datetime = NOW) -> OwnSignal:
    """A signal as its own side sees it."""
    return await read_signal(db, signal, by.organisation, SECRETS.contact, now)
