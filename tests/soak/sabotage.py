"""Takes out what keeps deliveries right, to show that the checks see it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from matching.model import Status
from notify import attempts
from notify.attempts import Claim, DeliveryFinished, End
from schemas.database import Db
from vin import match_store
from vin.match_store import Side, SideKey


def take_out(what: str | None) -> None:
    """Break this process: the DATA `mark`, the `fence`, or the `check` of the match."""
    if what is not None:
        BUGS[what]()


def _without_mark() -> None:
    """The worker sends without a note that it is about to."""

    async def mark_batch(db: Db, claims: Sequence[Claim]) -> list[Claim]:
        rows = await db.fetch(
            "SELECT id, attempt FROM notify.delivery WHERE id = ANY($1) AND state = 'sending'",
            [held.delivery_id for held in claims],
        )
        still = {tuple(row) for row in rows}
        return [held for held in claims if (held.delivery_id, held.attempt) in still]

    attempts.mark_batch = mark_batch


def _without_fence() -> None:
    """Whoever holds an older attempt writes as if it were the latest."""
    mark, finish = attempts.mark_batch, attempts.finish_batch

    async def mark_batch(db: Db, claims: Sequence[Claim]) -> list[Claim]:
        latest = [await _latest(db, held) for held in claims]
        marked = await mark(db, latest)
        return [held for held, other in zip(claims, latest, strict=True) if other in marked]

    async def finish_batch(db: Db, ends: Sequence[End]) -> list[DeliveryFinished]:
        return await finish(db, [replace(end, held=await _latest(db, end.held)) for end in ends])

    attempts.mark_batch, attempts.finish_batch = mark_batch, finish_batch


async def _latest(db: Db, held: Claim) -> Claim:
    """The claim as if it had not been lost."""
    query = "SELECT attempt FROM notify.delivery WHERE id = $1"
    return replace(held, attempt=await db.fetchval(query, held.delivery_id))


def _without_check() -> None:
    """Whatever was true when the match was made is told."""
    select = match_store.select_sides

    async def select_sides(db: Db, keys: Sequence[SideKey], now: datetime) -> list[Side]:
        return [replace(side, status=Status.OPEN) for side in await select(db, keys, now)]

    match_store.select_sides = select_sides


BUGS: Mapping[str, Callable[[], None]] = {
    "mark": _without_mark,
    "fence": _without_fence,
    "check": _without_check,
}
