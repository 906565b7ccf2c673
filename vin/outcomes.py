"""Use case on what happened after a match: each side says so, as often as it likes (A1)."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from matching.model import Status
from schemas.database import Db
from vin import audit, match_store, outcome_store
from vin.audit import Entry, Event
from vin.contact_clock import Outcome
from vin.errors import MatchNotOpenError, NotFoundError
from vin.match_store import SideKey
from vin.matches import Reader, own_side
from vin.outcome_store import Said, Via


@dataclass(frozen=True, slots=True, kw_only=True)
class Saying:
    """What one side says, and who says it for the log: a client, or who had the link."""

    outcome: Outcome
    new_to_me: bool
    via: Via
    actor_kind: Literal["client", "system"]
    actor: str
    request_id: UUID


async def say_by_client(
    db: Db, number: str, signal: UUID | None, reader: Reader, saying: Saying, now: datetime
) -> None:
    """Keep what a client says for its own side of a match.

    NotFoundError, AmbiguousSideError as when it reads that; MatchNotOpenError.
    """
    match, _ = await own_side(db, number, signal, reader)
    await match_store.share_legs(db, [match])
    # Asked again: until its legs were held, another organisation could take the side over.
    await say(db, await own_side(db, number, signal, reader), saying, now)


async def say(db: Db, side: SideKey, saying: Saying, now: datetime) -> None:
    """Keep what one side says happened; no leg of the match can end before this commits."""
    match, signal = side
    await match_store.share_legs(db, [match])
    await outcome_store.lock_match(db, match)
    standing = await match_store.select_sides(db, [side], now)
    if not standing:
        raise NotFoundError
    if standing[0].status is not Status.OPEN:
        raise MatchNotOpenError
    said = Said(saying.outcome, saying.new_to_me, now)
    await outcome_store.upsert_outcome(db, side, said, saying.via)
    entry = Entry(
        event=Event.OUTCOME_SAID,
        actor_kind=saying.actor_kind,
        actor=saying.actor,
        object_kind="match",
        object_id=match,
        request_id=saying.request_id,
        detail={
            "signal": str(signal),
            "outcome": saying.outcome,
            "new_to_me": saying.new_to_me,
            "via": saying.via,
        },
    )
    await audit.append(db, now, [entry])
