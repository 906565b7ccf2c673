"""The nouns of matching: frozen, on tokens alone, and impossible to build wrong."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import NewType
from uuid import UUID

from matching.errors import UntokenedSignalError

SignalId = NewType("SignalId", UUID)
MatchId = NewType("MatchId", UUID)
ReporterId = NewType("ReporterId", UUID)
OrganisationId = NewType("OrganisationId", UUID)
Token = NewType("Token", UUID)


class Role(StrEnum):
    """What a token stands for; `weak` is the child by name, birth date and sex (M6)."""

    CHILD = "child"
    WEAK = "weak"
    PARENT = "parent"
    ADDRESS = "address"


class Kind(StrEnum):
    """What a match says: the same child, another child of the family, or perhaps the same child."""

    CHILD = "child"
    HOUSEHOLD = "household"
    POSSIBLE = "possible"


class Status(StrEnum):
    """Where a match stands (L5)."""

    OPEN = "open"
    CLOSED = "closed"
    VOID = "void"


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a region decides about matching; `excluded` are addresses that never match (M4)."""

    parent_rule: bool = True
    address_rule: bool = False
    hub_limit: int = 12
    excluded: frozenset[Token] = field(default=frozenset(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One reporter's statement that he is involved with one child.

    `persons` are keyed hashes that tell one human being with two employers (M7). `added`
    tells of keys that came later when they did (M11, M12).
    """

    id: SignalId
    organisation: OrganisationId
    reporter: ReporterId
    persons: frozenset[UUID] = field(repr=False)
    match_unit: UUID
    live: bool
    registered_at: datetime
    remove_on: date
    destroy_by: date
    archive_until: date | None = None
    child: Token | None = field(repr=False)
    weak: Token | None = field(repr=False)
    parents: frozenset[Token] = field(repr=False)
    address: Token | None = field(repr=False)
    added: Mapping[Token, datetime] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if self.child is None and self.weak is None:
            raise UntokenedSignalError(self.id)

    @property
    def household(self) -> frozenset[Token]:
        """All household keys, whatever their role."""
        return self.parents if self.address is None else self.parents | {self.address}

    def arrived_at(self, token: Token) -> datetime:
        """When the signal got this key."""
        return self.added.get(token, self.registered_at)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """Two signals that overlap, in canonical order."""

    signal_a: Signal
    signal_b: Signal
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeMatch:
    """A match that was really written, under its number (A6)."""

    id: MatchId
    number: str
    match: Match


@dataclass(frozen=True, slots=True)
class Hub:
    """M5: from which instant on a household token needs a second key, and when that was noticed."""

    since: datetime
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class Link:
    """What two signals are to each other by their keys, and since when both have these."""

    kind: Kind
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A live signal that carries a household token since `arrived_at`.

    Its child's best key is `child`; where the number was found later, `name` until then.
    """

    child: Token = field(repr=False)
    name: Token | None = field(default=None, repr=False)
    found_at: datetime | None = None
    arrived_at: datetime
    remove_on: date
    destroy_by: date

    def child_at(self, at: datetime) -> Token:
        """The best key of its child at that instant."""
        early = self.found_at is not None and at < self.found_at
        return self.name if early and self.name is not None else self.child
