"""What is true of the made-up region: families, reporters, and who is involved with whom."""

from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True, slots=True)
class Unit:
    """A team, which is a match unit of its own here; its number is its place in `ready.json`."""

    number: int
    organisation: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reporter:
    """A professional; reporters of two organisations with the same `person` are one human."""

    id: str
    person: int
    unit: Unit
    name: str
    email: str
    registration_number: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A child and the numbers of its parents."""

    number: str
    surname: str
    birth_date: date
    sex: str
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """The children that live in one house, with one parent or two."""

    children: tuple[Child, ...]
    adults: tuple[str, ...]
    house: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Involvement:
    """That a reporter is involved with a child, and what he knows when he registers that."""

    reporter: Reporter
    reference: str
    child: Child
    by_name: bool
    parents: tuple[str, ...]
    house: int | None


@dataclass(frozen=True, slots=True)
class Region:
    """All of it; the involvements in the order in which they are registered."""

    families: tuple[Family, ...]
    reporters: tuple[Reporter, ...]
    involvements: tuple[Involvement, ...]
