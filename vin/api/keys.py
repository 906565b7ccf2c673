"""Keys in a body: of this region, made into tokens, and paid for by a permit."""

from collections import Counter
from collections.abc import Sequence

from matching.model import Role
from vin.api.context import Context
from vin.api.wire import DOMAIN_OF, ChildKey, HouseholdKey
from vin.crypto.pseudonym import Token
from vin.crypto.sign import Permit, SignatureRefusedError
from vin.errors import Fault, InvalidBodyError, PermitRefusedError
from vin.web.caller import Caller

Key = ChildKey | HouseholdKey
# Each key with its path in the body.
Placed = Sequence[tuple[str, Key]]

ROLES = {
    "bsn": Role.CHILD,
    "demographic": Role.WEAK,
    "parent": Role.PARENT,
    "address": Role.ADDRESS,
}


def placed(household: Sequence[HouseholdKey]) -> list[tuple[str, Key]]:
    """The keys of a household with their places."""
    return [(f"household.{place}", key) for place, key in enumerate(household)]


def kind_of(key: Key) -> str:
    """What a key stands for, as its body says it."""
    return key.kind if isinstance(key, ChildKey) else key.role


def refuse_foreign(keys: Placed, region: str) -> None:
    """Refuse keys whose domain is not one of this region's."""
    faults = [
        Fault(f"{place}.domain", "domain", "This domain is not of this region.")
        for place, key in keys
        if key.domain != f"{region}/{DOMAIN_OF[kind_of(key)]}"
    ]
    if faults:
        raise InvalidBodyError(faults)


def role_and_token(key: Key, context: Context) -> tuple[Role, Token]:
    """What a key stands for, and the index's own key applied to its element."""
    return ROLES[kind_of(key)], context.secrets.index.token(key.domain, key.epoch, key.element)


def permit_of(
    statement: str, keys: Placed, caller: Caller, context: Context, reporter_id: str | None = None
) -> Permit | PermitRefusedError:
    """The permit if it pays for these keys of this client, else why not.

    `reporter_id` is whose it must be; None where that is looked at later.
    """
    try:
        permit = context.verify_permit(statement)
    except SignatureRefusedError as error:
        return PermitRefusedError(f"The permit was refused: {error}.")
    if permit.client_id != caller.client_id or reporter_id not in {None, permit.reporter_id}:
        return PermitRefusedError("The permit is another's.")
    needed = Counter(f"{key.domain}/{key.epoch}" for _, key in keys)
    if any(count > permit.elements.get(domain, 0) for domain, count in needed.items()):
        return PermitRefusedError("The permit does not pay for these keys.")
    return permit
