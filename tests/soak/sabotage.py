"""Takes out what keeps deliveries right, to show that the checks see it."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from matching.model import Status
from notify import attempts
from notify.attempts import Claim
from schemas.database import Db
from vin import match_store
from vin.match_store import Side, SideKey

_P = ParamSpec("_P")
_T = TypeVar("_T")
Held = Callable[Concatenate[Db, Claim, _P], Awaitable[_T]]


def take_out(what: str | None) -> None:
    """Break this process: the DATA `mark`, the `fence`, or the `check` of the match."""
    if what is not None:
        BUGS[what]()


def _without_mark() -> None:
    """The worker sends without a note that it is about to."""

    async def mark_data(db: Db, held: Claim) -> bool:
        still_held = await db.fetchval(
            """
            SELECT true
              FROM notify.delivery
             WHERE id = $1 AND attempt = $2 AND state = 'sending'
            """,
            held.delivery_id,
            held.attempt,
        )
        return still_held is not None

    attempts.mark_data = mark_data


def _without_fence() -> None:
    """Whoever holds an older attempt writes as if it were the latest."""
    attempts.mark_data = _as_latest(attempts.mark_data)
    attempts.finish = _as_latest(attempts.finish)


def _as_latest(write: "Held[_P, _T]") -> "Held[_P, _T]":
    @wraps(write)
    async def written(db: Db, held: Claim, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        latest = await db.fetchval(
            "SELECT attempt FROM notify.delivery WHERE id = $1", held.delivery_id
        )
        return await write(db, replace(held, attempt=latest), *args, **kwargs)

    return written


def _without_check() -> None:
    """Whatever was true when the match was made is told."""
    select = match_store.select_sides

    async def select_sides(db: Db, keys: Sequence[SideKey], today: date) -> list[Side]:
        return [replace(side, status=Status.OPEN) for side in await select(db, keys, today)]

    match_store.select_sides = select_sides


BUGS: Mapping[str, Callable[[], None]] = {
    "mark": _without_mark,
    "fence": _without_fence,
    "check": _without_check,
}
