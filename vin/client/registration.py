"""What a vendor hands in; the identifiers in it are checked, and shown by no repr."""

from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from datetime import date
from typing import Annotated
from uuid import UUID, uuid4

from pydantic import ConfigDict, Discriminator, PlainValidator, Tag

from vin.client.identifiers import normalise_address, normalise_bsn, normalise_demographic
from vin.fields import refuse

STRICT = ConfigDict(extra="forbid")  # for those that are read from files


@dataclass(frozen=True, slots=True)
class Bsn:
    """A citizen service number; IdentifierError if it cannot be one."""

    number: InitVar[str]
    value: str = field(init=False, repr=False)

    def __post_init__(self, number: str) -> None:
        object.__setattr__(self, "value", normalise_bsn(number))


@dataclass(frozen=True, slots=True)
class Demographic:
    """A child whose number is not known: surname at birth, birth date, and F, M or X."""

    __pydantic_config__ = STRICT

    surname: InitVar[str]
    birth_date: date = field(repr=False)
    sex: InitVar[str]
    value: str = field(init=False, repr=False)

    def __post_init__(self, surname: str, sex: str) -> None:
        value = normalise_demographic(surname, self.birth_date.isoformat(), sex)
        object.__setattr__(self, "value", value)


@dataclass(frozen=True, slots=True)
class Address:
    """Where the child lives, as the register of addresses writes it."""

    __pydantic_config__ = STRICT

    postcode: InitVar[str]
    number: InitVar[int]
    letter: InitVar[str] = ""
    addition: InitVar[str] = ""
    value: str = field(init=False, repr=False)

    def __post_init__(self, postcode: str, number: int, letter: str, addition: str) -> None:
        value = normalise_address(postcode, str(number), letter, addition)
        object.__setattr__(self, "value", value)


def read_bsn(number: object) -> Bsn:
    """Take a number, or what a file has for one."""
    if isinstance(number, Bsn):
        return number
    if not isinstance(number, str):
        refuse("number", "must be a citizen service number between quotes")
    return Bsn(number)


def _form_of(child: object) -> str:
    return "bsn" if isinstance(child, str) else "demographic"


# In a file a text is a number, and a table is a name.
Number = Annotated[Bsn, PlainValidator(read_bsn)]
Child = Annotated[
    Annotated[Number, Tag("bsn")] | Annotated[Demographic, Tag("demographic")],
    Discriminator(_form_of),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """One signal to register. Handing in the same object again never makes a second one.

    The birth date stays here: from it follows only when all must be destroyed.
    """

    __pydantic_config__ = STRICT

    reporter_id: str
    reference: str = field(repr=False)
    child: Child
    parents: Sequence[Number] = ()
    address: Address | None = None
    birth_date: date | None = field(default=None, repr=False)
    remove_on: date | None = None
    idempotency_key: UUID = field(default_factory=uuid4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """A professional of one's own organisation, and how to reach him."""

    __pydantic_config__ = STRICT

    id: str
    name: str
    function: str
    email: str
    phone: str
    unit: str
    reachable: str | None = None
    registration_number: str | None = None
