"""Use case on reporters who leave: what was theirs goes to a successor (W3).

Everything locks in one order: reporters, signals, matches. Registering locks its reporter
first too, so a signal either is there when its reporter leaves, or finds him gone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from notify import ledger, moves
from schemas.database import Db
from schemas.dates import local_date
from vin import audit, reporter_store, succession_store
from vin.audit import Entry, Event
from vin.errors import Fault, InvalidBodyError, NotFoundError
from vin.reporters import Actor
from vin.succession_store import Place

UNKNOWN_SUCCESSOR = Fault("successorId", "unknown", "The organisation has no such other reporter.")


@dataclass(frozen=True, slots=True)
class Departure:
    """A reporter who leaves and who succeeds him, as their organisation calls them."""

    reporter_id: str
    successor_id: str | None


async def end_reporter(db: Db, departure: Departure, actor: Actor, now: datetime) -> None:
    """End a designation; what is live or archived goes to the successor, if there is one.

    Without one it stays, and `registry.select_recipients` tells whom to reach. NotFoundError
    for who is not there or left before, InvalidBodyError for a successor who cannot be one.
    """
    named = [each for each in (departure.reporter_id, departure.successor_id) if each is not None]
    there = await reporter_store.lock_reporters(db, actor.organisation, named)
    reporter = there.pop(departure.reporter_id, None)
    if reporter is None:
        raise NotFoundError
    if departure.successor_id is not None and not there:
        raise InvalidBodyError([UNKNOWN_SUCCESSOR])
    successor = there.get(departure.successor_id or "")
    await reporter_store.end_reporter(db, reporter, successor, now)
    moved = 0
    if successor is not None:
        moved = await succeed(db, reporter, Place(actor.organisation, successor), local_date(now))
    await audit.append(db, now, [ending_entry(reporter, successor, moved, actor)])


async def succeed(db: Db, reporter: UUID, successor: Place, today: date) -> int:
    """Give a reporter's signals to a colleague; how many."""
    signals = await succession_store.lock_signals(db, reporter)
    await succession_store.update_signals(db, signals, successor.reporter)
    await follow(db, signals, successor, today)
    return len(signals)


async def follow(db: Db, signals: Sequence[UUID], to: Place, today: date) -> None:
    """Let matches, notices and what is known of the children follow signals that moved.

    What matched the successor's own signals closes: nobody is told to contact himself (M7).
    """
    sides = await succession_store.update_sides(db, signals, to)
    await succession_store.close_own_matches(db, {match for match, _ in sides})
    await ledger.readdress(db, sides, to.reporter)
    await moves.readdress(db, signals, to.reporter)
    await succession_store.update_children(db, signals, to.reporter, today)


def ending_entry(reporter: UUID, successor: UUID | None, moved: int, actor: Actor) -> Entry:
    """The log of who left, who took over, and how many signals."""
    return Entry(
        event=Event.REPORTER_ENDED,
        actor_kind="client",
        actor=actor.client,
        object_kind="reporter",
        object_id=reporter,
        request_id=actor.request_id,
        detail={"signals": moved} | ({"successor": str(successor)} if successor else {}),
    )
