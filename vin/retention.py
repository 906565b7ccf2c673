"""Use cases on the end of a signal: by its date, by destruction, by an operator (L1, L3, L4).

Rules elsewhere go by dates, so nothing depends on how far this is. Whatever is destroyed is
gone from every table; of the log, actor, action, time and result stay (G3).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from notify import ledger, moves, steps
from schemas.database import Db
from schemas.dates import ARCHIVE_YEARS, local_date, local_midnight, years_after
from vin import audit, carried, retention_store, store
from vin.audit import Entry, Event
from vin.errors import NotFoundError, StartError
from vin.match_store import VOID_KEPT
from vin.store import RETRY_KEPT

BATCH = 100
FORGOTTEN = 10_000
SWEEPER = "sweeper"
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
    await store.release_children(db, signals, local_date(now))
    matches = await store.end_matches(db, signals, "closed", now)
    await audit.append(db, now, [sweeper_entry(Event.SIGNALS_EXPIRED, len(due), matches)])
    return len(due)


def archive_end(ended_on: date) -> date:
    """L3: the archive keeps a signal for five years at most."""
    return years_after(ended_on, ARCHIVE_YEARS)


async def destroy_batch(db: Db, now: datetime) -> int:
    """L3, L4: destroy what is due, in any state, and matches that were void for long. How many."""
    due = await retention_store.select_due(db, local_date(now), now - VOID_KEPT, BATCH)
    await retention_store.lock_queued(db, due)
    due = await retention_store.lock_free_signals(db, due)
    matches = await destroy(db, due) if due else 0
    void = await retention_store.delete_void_matches(db, now - VOID_KEPT, BATCH)
    if due or void:
        gone = await ledger.withdraw_matches(db, void) + await steps.withdraw(db, matches=void)
        await audit.forget_objects(db, [*void, *gone])
        entry = sweeper_entry(Event.SIGNALS_DESTROYED, len(due), matches + len(void))
        await audit.append(db, now, [entry])
    return len(due) + len(void)


async def forget_old(db: Db) -> None:
    """Drop what retries, permits and assertions left, once nobody can use it."""
    await retention_store.forget(db, RETRY_KEPT, STATEMENT_KEPT, FORGOTTEN)


async def destroy(db: Db, signals: Sequence[UUID]) -> int:
    """Destroy locked signals and their matches, with what was to be told of them. Matches gone."""
    matches = await retention_store.delete_matches(db, signals)
    await retention_store.delete_sides(db, signals)
    gone = await ledger.withdraw_matches(db, matches)
    gone += await moves.withdraw(db, signals)
    gone += await steps.withdraw(db, matches=matches, signals=signals)
    gone += await retention_store.delete_history(db, signals)
    await audit.forget_objects(db, [*signals, *matches, *gone])
    await carried.forget_uncarried(db, await retention_store.delete_signals(db, signals))
    return len(matches)


async def erase(db: Db, signal: UUID, now: datetime) -> None:
    """Destroy one locked signal; its matches stay void in sight of the other sides (L5)."""
    await retention_store.leave_matches(db, signal, now)
    gone = await ledger.withdraw_sides(db, [signal])
    gone += await moves.withdraw(db, [signal])
    gone += await steps.withdraw(db, signals=[signal])
    gone += await retention_store.delete_history(db, [signal])
    await audit.forget_objects(db, [signal, *gone])
    await audit.forget_outcomes(db, signal)
    await audit.forget_details(db, signal)
    await retention_store.delete_sides(db, [signal])
    tokens = await retention_store.delete_signals(db, [signal])
    lone = await retention_store.delete_lone_matches(db)
    gone = await ledger.withdraw_matches(db, lone) + await steps.withdraw(db, matches=lone)
    await audit.forget_objects(db, [*lone, *gone])
    await carried.forget_uncarried(db, tokens)


async def destroy_child(db: Db, child: UUID, now: datetime) -> int:
    """S11: after a death all signals on the child go, whoever registered them. How many."""
    signals = await lock(db, await retention_store.select_same_child(db, child))
    if signals:
        matches = await destroy(db, signals)
        await audit.append(db, now, [sweeper_entry(Event.SIGNALS_DESTROYED, len(signals), matches)])
    return len(signals)


async def lock(db: Db, signals: Collection[UUID]) -> list[UUID]:
    """Lock signals that are to be destroyed, in the order of everyone's locks; those found."""
    await retention_store.lock_queued(db, signals)
    return await retention_store.lock_signals(db, signals)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """An operator's order to end a signal for which no feed and no reporter does it."""

    signal: UUID
    ground: str
    purpose: str
    operator: str


async def end_by_operator(db: Db, order: Ending, now: datetime) -> int:
    """End a signal as `erased`, `objected` or `deceased` (all signals on the child). How many."""
    if order.ground == "deceased":
        signals = await lock_deceased(db, order.signal)
        await destroy(db, signals)
    else:
        signals = await lock(db, [order.signal])
        if not signals:
            raise NotFoundError
        await erase(db, order.signal, now)
    entry = Entry(
        event=Event.SIGNAL_ENDED,
        actor_kind="operator",
        actor=order.operator,
        object_kind="signal",
        object_id=None,
        purpose=order.purpose,
        detail={"ground": order.ground, "signals": len(signals)},
    )
    await audit.append(db, now, [entry])
    return len(signals)


async def lock_deceased(db: Db, signal: UUID) -> list[UUID]:
    """Lock a signal and all others on its child.

    The number of the child may be found while this waits. The rest could then be locked only
    out of order, so StartError asks the operator to order it again.
    """
    child = await retention_store.select_child(db, signal)
    same = await retention_store.select_same_child(db, child)
    signals = await lock(db, {signal, *same})
    if signal not in signals:
        raise NotFoundError
    if await retention_store.select_child(db, signal) != child:
        message = "This signal was changed a moment ago; nothing was destroyed. Try again."
        raise StartError(message)
    return signals


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
