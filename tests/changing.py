"""What tests do to the keys of signals; numbers stand for children, parents and addresses."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID, uuid4

from matching.model import Role
from schemas.database import Db
from tests.steps import NOW
from tests.world import Somebody, permit, token
from vin.changes import Actor, ChildFound, HouseholdReplaced, find_child, replace_household
from vin.crypto.pseudonym import Token
from vin.crypto.sign import Permit
from vin.errors import PermitRefusedError
from vin.relations import Relation, apply_relation

REGISTER = Actor(kind="client", name="register", request_id=uuid4())


def own_permit(by: Somebody) -> Permit:
    return replace(permit(), reporter_id=by.reporter_id)


def household(parents: Sequence[int] = (), address: int | None = None) -> list[tuple[Role, Token]]:
    return [
        *((Role.PARENT, token(3, parent)) for parent in parents),
        *((Role.ADDRESS, token(4, each)) for each in (address,) if each is not None),
    ]


def child_found(
    signal: UUID, by: Somebody, child: int, shown: Permit | PermitRefusedError | None = None
) -> ChildFound:
    return ChildFound(
        organisation=by.organisation,
        actor=Actor(kind="client", name="client", request_id=uuid4()),
        signal=signal,
        child=token(1, child),
        permit=shown or own_permit(by),
    )


async def find(
    db: Db,
    signal: UUID,
    by: Somebody,
    child: int,
    *,
    shown: Permit | PermitRefusedError | None = None,
    now: datetime = NOW,
) -> None:
    """Add a number to a signal."""
    async with db.transaction():
        await find_child(db, child_found(signal, by, child, shown), now)


def household_replaced(
    signal: UUID, by: Somebody, parents: Sequence[int] = (), address: int | None = None
) -> HouseholdReplaced:
    keys = household(parents, address)
    return HouseholdReplaced(
        organisation=by.organisation,
        actor=Actor(kind="client", name="client", request_id=uuid4()),
        signal=signal,
        household=keys,
        permit=own_permit(by) if keys else None,
    )


async def rehouse(
    db: Db,
    signal: UUID,
    by: Somebody,
    parents: Sequence[int] = (),
    address: int | None = None,
    *,
    now: datetime = NOW,
) -> None:
    """Replace the household of a signal."""
    async with db.transaction():
        await replace_household(db, household_replaced(signal, by, parents, address), now)


def relation(
    child: int,
    parents: Sequence[int] | None = None,
    address: int | None = None,
    *,
    moved_to: str | None = None,
    deceased: bool = False,
) -> Relation:
    """A line of the population register's feed; no parents: it does not tell of the family."""
    return Relation(
        actor=REGISTER,
        child=token(1, child),
        household=None if parents is None else household(parents, address),
        moved_to=moved_to,
        deceased=deceased,
        reporter_id="reporter",
        permit=permit(),
    )


async def relate(db: Db, told: Relation, now: datetime = NOW) -> None:
    """Apply a line of the feed, as its handler does."""
    async with db.transaction():
        await apply_relation(db, told, now)
