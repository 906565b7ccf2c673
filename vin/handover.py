"""Use case on agreements that end: the region's holder takes over the live signals (W2)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from schemas.database import Db
from schemas.dates import local_date
from vin import audit, link_store, store, succession_store
from vin.audit import Entry, Event
from vin.crypto.seal import DataKeys, Sealed
from vin.signals import reference_binding
from vin.succession import follow
from vin.succession_store import Left, Place

BATCH = 200


async def hand_over(db: Db, keys: DataKeys, now: datetime) -> int:
    """Move one batch to the holder; how many, and 0 once nothing is left, or without a holder.

    Any number may do so at once. Answers to retries and links in mails are forgotten: they were
    the former organisation's, which has no part in these signals any more.
    """
    holder = await succession_store.select_holder(db)
    if holder is None:
        return 0
    left = await succession_store.lock_left(db, holder.organisation, local_date(now), BATCH)
    if not left:
        return 0
    signals = [each.signal for each in left]
    await succession_store.update_owners(db, signals, seal_anew(left, holder, keys), holder)
    await follow(db, signals, holder, local_date(now))
    await store.release_keys(db, signals)
    await link_store.delete_of(db, signals)
    moved = Counter(each.organisation for each in left)
    await audit.append(db, now, handover_entries(moved, holder))
    return len(left)


def seal_anew(left: Sequence[Left], holder: Place, keys: DataKeys) -> list[Sealed]:
    """References as the holder can open them: a box is bound to its organisation."""
    plain = [
        keys.open(each.reference, reference_binding(each.signal, each.organisation))
        for each in left
    ]
    return [
        keys.seal(reference, reference_binding(each.signal, holder.organisation))
        for each, reference in zip(left, plain, strict=True)
    ]


def handover_entries(moved: Mapping[UUID, int], holder: Place) -> list[Entry]:
    """The log of one batch: how many of which organisation, to whom."""
    return [
        Entry(
            event=Event.SIGNALS_HANDED_OVER,
            actor_kind="system",
            actor="sweeper",
            object_kind="organisation",
            object_id=organisation,
            detail={"signals": signals, "holder": str(holder.reporter)},
        )
        for organisation, signals in sorted(moved.items())
    ]
