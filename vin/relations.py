"""Use cases on the population register's feed: what it tells of a child stands above reporters.

It tells nobody whether a child is known, and makes no signal (M12, G6).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from matching.model import Role, SignalId
from schemas.database import Db
from schemas.dates import local_date
from vin import audit, moves, relation_store, retention
from vin import store as signal_store
from vin.audit import Entry, Event
from vin.changes import Actor, PermitShown, settle, spend_permit
from vin.crypto.pseudonym import Token

MATCHER = Actor(kind="system", name="matcher")


@dataclass(frozen=True, slots=True, kw_only=True)
class Relation:
    """What the register tells of one child: members that are None it does not tell.

    `moved_to` is the CBS code of the municipality that the child moved to.
    """

    actor: Actor
    child: Token = field(repr=False)
    household: Sequence[tuple[Role, Token]] | None = field(repr=False)
    moved_to: str | None = field(repr=False)
    deceased: bool = field(repr=False)
    reporter_id: str
    permit: PermitShown = field(repr=False)


async def apply_relation(db: Db, told: Relation, now: datetime) -> None:
    """Take what the register tells of one child."""
    await spend_permit(db, told.permit, told.reporter_id)
    if told.deceased:
        signals = await retention.destroy_child(db, told.child.lookup, now)
    else:
        signals = await apply_to_signals(db, told, now)
    await audit.append(db, now, [relation_entry(told.actor, signals)])


async def apply_to_signals(db: Db, told: Relation, now: datetime) -> int:
    """Give a child's living signals its family, and tell that it moved. How many it has in all."""
    same = await relation_store.lock_same_child(db, told.child.lookup, local_date(now))
    living = [each.signal for each in same if each.live]
    if same and told.household is not None:
        await relation_store.put_relation(db, told.child.lookup, told.household, now)
        await renew(db, living, told.actor, now)
        # The matcher may be done with these before it can know; what comes after them knows.
        late = await relation_store.select_late(db, told.child.lookup, [s.signal for s in same])
        await signal_store.enqueue(db, late)
    if told.moved_to is not None:
        children = [(each.signal, each.reporter) for each in same if each.live]
        await moves.tell(db, children, told.moved_to, now)
    return len(same)


async def renew(db: Db, signals: Sequence[UUID], actor: Actor, now: datetime) -> None:
    """Give locked signals the family that the register has, where theirs is another."""
    outdated = await relation_store.lock_outdated(db, signals)
    if outdated:
        lost = await relation_store.take_relations(db, outdated, now)
        await settle(db, outdated, lost, actor, now)


async def renew_waiting(db: Db, claimed: Collection[SignalId], now: datetime) -> list[UUID]:
    """Give signals that wait for the matcher the family that the register has of their child.

    Nothing else may be done in this transaction: whoever changes keys keeps share locks out,
    and a matcher that went on to take share locks of its own could meet another that did the
    same. Those renewed wait anew.
    """
    outdated = await relation_store.lock_outdated(db, claimed)
    if outdated:
        lost = await relation_store.take_relations(db, outdated, None)
        await settle(db, outdated, lost, MATCHER, now)
    return outdated


def relation_entry(actor: Actor, signals: int) -> Entry:
    """The log of one line of the feed; it tells of no child."""
    return Entry(
        event=Event.RELATION_APPLIED,
        actor_kind=actor.kind,
        actor=actor.name,
        object_kind="relation",
        object_id=None,
        request_id=actor.request_id,
        detail={"signals": signals},
    )
