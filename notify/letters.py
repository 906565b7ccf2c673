"""What the mails of notices tell, before it is put into words (D2)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["child", "household", "possible"]
Language: TypeAlias = Literal["nl", "en"]
# With contact data, with a link to the reader's own system instead, or sealed (S/MIME).
Mode: TypeAlias = Literal["full", "link_only", "smime"]
Step: TypeAlias = Literal["reminder", "overdue", "worklist", "monitoring_3", "monitoring_12"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Colleague:
    """How to reach another professional."""

    name: str = field(repr=False)
    function: str = field(repr=False)
    organisation: str = field(repr=False)
    phone: str = field(repr=False)
    email: str = field(repr=False)
    reachable: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Addressed:
    """What every letter has: to whom, in which language, and how the mail is to look.

    `match_url` has `{number}` where a match's number goes. What is sealed is sealed for
    `certificate`, as DER.
    """

    recipient: str = field(repr=False)
    language: Language
    mode: Mode = "full"
    match_url: str | None = None
    certificate: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchItem(Colleague):
    """One match as a letter tells it: the reader's own reference, and the other's contact data.

    `answer_url` is where the reader tells what came of it.
    """

    reference: str = field(repr=False)
    number: str
    kind: Kind
    answer_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchLetter(Addressed):
    """That there are matches."""

    items: Sequence[MatchItem]


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedLetter(Addressed):
    """G6: that a child moved; to a reporter his files, to an officer the reporters and no file.

    `municipality` is the new one's name, None outside the region.
    """

    municipality: str | None = field(repr=False)
    references: Sequence[str] = field(default=(), repr=False)
    reporters: Sequence[Colleague] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderItem:
    """A match that nobody said enough about yet, or that is to be looked at again.

    `reporter` is the name of the reader's colleague whose match it is, None for his own.
    """

    number: str
    matched_on: date
    reference: str | None = field(default=None, repr=False)
    reporter: str | None = field(default=None, repr=False)
    answer_url: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReminderLetter(Addressed):
    """A step of the contact clock or of safety monitoring (A2, A4); no contact data."""

    step: Step
    items: Sequence[ReminderItem]


Letter: TypeAlias = MatchLetter | MovedLetter | ReminderLetter
