"""What the services answer, as frozen dataclasses; members that are new are passed over."""

from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from vin.client.errors import CAMEL, AnswerError

T = TypeVar("T")


class Ground(StrEnum):
    """Why a signal is withdrawn: it should never have been, or the risk is gone."""

    UNJUSTIFIED = "unjustified"
    RISK_GONE = "riskGone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """An own signal; `processed_at` and `history_notice_id` come when it is read back."""

    __pydantic_config__ = CAMEL

    id: UUID
    reporter_id: str
    reference: str = field(repr=False)
    status: str
    registered_at: datetime
    remove_on: date
    processed_at: datetime | None = None
    history_notice_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Contact:
    """How to reach the other reporter of a match."""

    __pydantic_config__ = CAMEL

    name: str
    function: str
    organisation: str
    email: str
    phone: str
    reachable: str | None = None


class Outcome(StrEnum):
    """What a side says happened after a match."""

    SPOKEN = "spoken"
    ALREADY_COOPERATING = "alreadyCooperating"
    NOT_REACHABLE = "notReachable"
    NO_SHARED_NEED = "noSharedNeed"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherOutcome:
    """What the other side said, and when."""

    __pydantic_config__ = CAMEL

    outcome: str
    said_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnOutcome(OtherOutcome):
    """What the own side said, and whether the match was new to it."""

    __pydantic_config__ = CAMEL

    new_to_me: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcomes:
    """What each side said last."""

    __pydantic_config__ = CAMEL

    own: OwnOutcome | None = None
    other: OtherOutcome | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """The own side of a match; both sides share the number. No contact once it has ended."""

    __pydantic_config__ = CAMEL

    number: str
    kind: str
    signal_id: UUID
    reference: str = field(repr=False)
    matched_at: datetime
    status: str
    contact: Contact | None = field(repr=False)
    outcomes: Outcomes


SIGNAL = TypeAdapter(Signal)
MATCH = TypeAdapter(Match)


def read_answer(kind: TypeAdapter[T], document: object) -> T:
    """Read parsed JSON as `kind`, or raise AnswerError with the places that do not fit."""
    try:
        return kind.validate_python(document)
    except ValidationError as error:
        places = {".".join(map(str, fault["loc"])) for fault in error.errors(include_input=False)}
    message = f"The answer does not have the agreed form: see {', '.join(sorted(places))}."
    raise AnswerError(message)
