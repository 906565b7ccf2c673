"""Contact data: what a colleague is told, and the sealed form that is stored."""

import json
from dataclasses import asdict, dataclass, field
from uuid import UUID

from pydantic import TypeAdapter

from vin.crypto.seal import Binding, DataKeys, Sealed


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How to reach one professional; its repr shows nothing."""

    name: str = field(repr=False)
    function: str = field(repr=False)
    email: str = field(repr=False)
    phone: str = field(repr=False)
    reachable: str | None = field(default=None, repr=False)
    registration_number: str | None = field(default=None, repr=False)


_CONTACT = TypeAdapter(Contact)


def seal_contact(keys: DataKeys, contact: Contact, binding: Binding) -> Sealed:
    """Seal contact data for one row, so that the box opens nowhere else."""
    return keys.seal(json.dumps(asdict(contact)).encode(), binding)


def open_contact(keys: DataKeys, sealed: Sealed, binding: Binding) -> Contact:
    """Open what `seal_contact` made; SealError where it was changed or moved."""
    return _CONTACT.validate_json(keys.open(sealed, binding))


def reporter_binding(row: UUID, organisation: UUID) -> Binding:
    """Name the place of a reporter's contact data."""
    return Binding("registry.reporter", "contact", row, organisation)


def officer_binding(row: UUID, organisation: UUID | None) -> Binding:
    """Name the place of an officer's contact data."""
    return Binding("registry.officer", "contact", row, organisation)
