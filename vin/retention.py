"""Use cases on the end of a signal: by its date, by destruction, by an operator (L1, L3, L4).

Rules elsewhere go by dates, so nothing depends on how far this is. Whatever is destroyed is
gone from every table; of the log, actor, action, time and result stay (G3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from notify import ledger, moves, steps
from schemas.database import Db
from schemas.dates import ARCHIVE_YEARS, local_date, local_midnight, years_after
from vin import audit, retention_store
from vin.audit import Entry, Event
from vin.errors import NotFoundError
from vin.store import RETRY_KEPT

BATCH = 100
SWEEPER = "sweeper"
# A void match stays in sight of both sides so long; its unjustified leg lost its tokens at once.
VOID_KEPT = timedelta(days=30)
# Longer than any clock here may be wrong.
STATEMENT_KEPT = timedelta(hours=1)


async def expire_batch(db: Db, now: datetime) -> int:
    """L1, L3: end signals whose date has come, archive them and close their matches."""
    due = await retention_store.lock_expired(db, local_date(now), BATCH)
    if not due:
        return 0
    signals = [signal for signal, _ in due]
    await retention_store.expire(
        db,
        signals,
        [local_midnight(day) for _, day in due],
        [archive_end(day) for _, day in due],
    )
    matches = await retention_store.close_matches(db, signals, "closed")
    await audit.append(db, now, [sweeper_entry(Event.SIGNALS_EXPIRED, len(due), matches)])
    return len(due)


def archive_end(ended_on: date) -> date:
    """L3: the archive keeps a signal for five years at most."""
    return years_after(ended_on, ARCHIVE_YEARS)


async def destroy_batch(db: Db, now: datetime) -> int:
    """L3, L4: destroy what is due, in any state."""
    due = await retention_store.lock_due(db, local_date(now), now - VOID_KEPT, BATCH)
    if due:
        matches = await destroy(db, due)
        await audit.append(db, now, [sweeper_entry(Event.SIGNALS_DESTROYED, len(due), matches)])
    return len(due)


async def forget_old(db: Db) -> None:
    """Drop what retries, permits and assertions left, once nobody can use it."""
    await retention_store.forget(db, RETRY_KEPT, STATEMENT_KEPT)


async def destroy(db: Db, signals: Sequence[UUID]) -> int:
    """Destroy locked signals and their matches, with what was to be told of them. Matches gone."""
    matches = await retention_store.delete_matches(db, signals)
    await retention_store.delete_sides(db, signals)
    gone = await ledger.withdraw_matches(db, matches)
    gone += await moves.withdraw(db, signals)
    gone += await steps.withdraw(db, matches=matches, signals=signals)
    await audit.forget_objects(db, [*signals, *matches, *gone])
    await retention_store.delete_signals(db, signals)
    return len(matches)


async def erase(db: Db, signal: UUID) -> None:
    """Destroy one locked signal; its matches stay void in sight of the other sides (L5)."""
    await retention_store.close_matches(db, [signal], "void")
    gone = await ledger.withdraw_sides(db, [signal])
    gone += await moves.withdraw(db, [signal])
    gone += await steps.withdraw(db, signals=[signal])
    await audit.forget_objects(db, [signal, *gone])
    await audit.forget_outcomes(db, signal)
    await audit.forget_details(db, signal)
    await retention_store.delete_sides(db, [signal])
    await retention_store.delete_signals(db, [signal])
    lone = await retention_store.delete_lone_matches(db)
    gone = await ledger.withdraw_matches(db, lone) + await steps.withdraw(db, matches=lone)
    await audit.forget_objects(db, [*lone, *gone])


async def destroy_child(db: Db, child: UUID, now: datetime) -> int:
    """S11: after a death all signals on the child go, whoever registered them. How many."""
    signals = await retention_store.lock_same_child(db, child)
    if signals:
        matches = await destroy(db, signals)
        await audit.append(db, now, [sweeper_entry(Event.SIGNALS_DESTROYED, len(signals), matches)])
    return len(signals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """An operator's order to end a signal for which no feed and no reporter does it."""

    signal: UUID
    ground: str
    purpose: str
    operator: str


async def end_by_operator(db: Db, order: Ending, now: datetime) -> int:
    """End a signal as `erased`, `objected` or `deceased` (all signals on the child). How many."""
    if not await retention_store.lock_signal(db, order.signal):
        raise NotFoundError
    child = await retention_store.select_child(db, order.signal)
    ended = 1
    if order.ground == "deceased" and child is not None:
        ended = await destroy_child(db, child, now)
    elif order.ground == "deceased":
        await destroy(db, [order.signal])
    else:
        await erase(db, order.signal)
    entry = Entry(
        event=Event.SIGNAL_ENDED,
        actor_kind="operator",
        actor=order.operator,
        object_kind="signal",
        object_id=None,
        purpose=order.purpose,
        detail={"ground": order.ground, "signals": ended},
    )
    await audit.append(db, now, [entry])
    return ended


def sweeper_entry(event: Event, signals: int, matches: int) -> Entry:
    """The log of one batch: how many, and of which nothing."""
    return Entry(
        event=event,
        actor_kind="system",
        actor=SWEEPER,
        object_kind="signal",
        object_id=None,
        detail={"signals": signals, "matches": matches},
    )
