"""What the index says and takes as JSON (contract §3.3)."""

from datetime import date
from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AfterValidator, Field, StringConstraints, ValidationInfo

from matching.model import Kind, Status
from vin.fields import Line
from vin.web.problems import ProblemDetails
from vin.web.query import CursorOf, Page, Position
from vin.web.wire import (
    Domain,
    Epoch,
    Instant,
    LocalDate,
    Point,
    ReporterCode,
    Wire,
    refusal,
)

MAX_PARENTS = 4
MAX_ADDRESSES = 1
DOMAIN_OF = {"bsn": "child", "demographic": "weak", "parent": "parent", "address": "address"}


def _fitting(domain: str, info: ValidationInfo) -> str:
    what = info.data.get("kind") or info.data.get("role")
    if what is not None and domain.partition("/")[2] != DOMAIN_OF[what]:
        raise refusal(code="domain", reason="This domain does not go with the kind or role.")
    return domain


def _family(household: "list[HouseholdKey]") -> "list[HouseholdKey]":
    roles = [key.role for key in household]
    if roles.count("parent") > MAX_PARENTS or roles.count("address") > MAX_ADDRESSES:
        raise refusal(code="length", reason="At most 4 parents and 1 address.")
    # The sign does not count: an element and its negative make one token.
    if len({(key.role, key.element[1:]) for key in household}) < len(household):
        raise refusal(code="duplicate", reason="The same key occurs twice.")
    return household


def _paid(permit: str | None, info: ValidationInfo) -> str | None:
    if permit is None and info.data.get("household"):
        raise refusal(code="required", reason="A permit is required unless the household is empty.")
    return permit


FittingDomain = Annotated[Domain, AfterValidator(_fitting)]
PermitText = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Reference = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._/-]{1,40}$")]


class ChildKey(Wire):
    """The child's unblinded element, by number or by name, birth date and sex."""

    kind: Literal["bsn", "demographic"]
    domain: FittingDomain
    epoch: Epoch
    element: Point


class HouseholdKey(Wire):
    """A parent's or an address's unblinded element."""

    role: Literal["parent", "address"]
    domain: FittingDomain
    epoch: Epoch
    element: Point


# The length first: of too many keys nobody needs to know what is wrong with each.
Household = Annotated[
    list[HouseholdKey],
    Field(max_length=MAX_PARENTS + MAX_ADDRESSES),
    AfterValidator(_family),
]


class SignalIn(Wire):
    """A registration."""

    reporter_id: ReporterCode
    reference: Reference
    child: ChildKey
    household: Annotated[Household, Field(default=[])]
    remove_on: LocalDate | None = None
    destroy_by: LocalDate | None = None
    permit: PermitText


class BsnKey(ChildKey):
    """A child's unblinded element, by number."""

    kind: Literal["bsn"]


class ChildFoundIn(Wire):
    """The number of a child that was registered by name."""

    child: BsnKey
    permit: PermitText


class HouseholdIn(Wire):
    """The household keys from now on; none at all need no permit."""

    household: Household
    permit: Annotated[PermitText | None, AfterValidator(_paid), Field(validate_default=True)] = None


class RelationIn(Wire):
    """What the population register tells of one child; what is absent it does not tell."""

    child: BsnKey
    household: Household | None = None
    moved_to: Annotated[str, StringConstraints(pattern=r"^GM[0-9]{4}$")] | None = None
    deceased: bool = False
    reporter_id: ReporterCode
    permit: PermitText


class RelationOut(Wire):
    """What became of one line of the feed."""

    line: int
    status: int
    problem: ProblemDetails | None = None


class SignalOut(Wire):
    """What a registration answers; it never tells of a match or of history."""

    id: UUID
    reporter_id: str
    reference: str
    status: Literal["live", "ended"]
    registered_at: Instant
    remove_on: date


class SignalRead(SignalOut):
    """A signal read back, with when the matcher was done with it and what history there is."""

    processed_at: Instant | None
    history_notice_id: Annotated[UUID | None, Field(exclude_if=lambda value: value is None)] = None


class SignalQuery(Page):
    """Which signals to list."""

    reporter_id: ReporterCode | None = None
    cursor: Annotated[Position | None, CursorOf(1)] = None


class SignalList(Wire):
    """One page of signals."""

    items: list[SignalRead]
    next_cursor: str | None


class Ground(StrEnum):
    """Why a signal is withdrawn (L2)."""

    UNJUSTIFIED = "unjustified"
    RISK_GONE = "riskGone"


class WithdrawalIn(Wire):
    """A withdrawal."""

    ground: Annotated[Ground, Field(strict=False)]


class ContactOut(Wire):
    """The other reporter, as far as a match lets one know him (D2)."""

    name: str
    function: str
    organisation: str
    email: str
    phone: str
    reachable: str | None


class OutcomeWord(StrEnum):
    """What a side says happened after the match (A1)."""

    SPOKEN = "spoken"
    ALREADY_COOPERATING = "alreadyCooperating"
    NOT_REACHABLE = "notReachable"
    NO_SHARED_NEED = "noSharedNeed"


class OutcomeIn(Wire):
    """What happened, and whether the match was new to who says so."""

    outcome: Annotated[OutcomeWord, Field(strict=False)]
    new_to_me: bool


class OtherOutcome(Wire):
    """What the other side said."""

    outcome: OutcomeWord
    said_at: Instant


class OwnOutcome(OtherOutcome):
    """What one said oneself."""

    new_to_me: bool


class Outcomes(Wire):
    """What each side said last."""

    own: OwnOutcome | None
    other: OtherOutcome | None


class MatchOut(Wire):
    """One side of a match."""

    number: str
    kind: Kind
    signal_id: UUID
    reference: str
    matched_at: Instant
    status: Status
    contact: ContactOut | None
    outcomes: Outcomes


class MatchQuery(Page):
    """Which matches to list."""

    reporter_id: ReporterCode | None = None
    cursor: Annotated[Position | None, CursorOf(2)] = None


class MatchSideQuery(Wire):
    """Which side of a match, where both are one's own."""

    signal_id: Annotated[UUID | None, Field(strict=False)] = None


class MatchList(Wire):
    """One page of matches."""

    items: list[MatchOut]
    next_cursor: str | None


class OpeningIn(Wire):
    """Why the history of a child is opened (L6)."""

    purpose: Line


class HistoryOut(Wire):
    """The reporters of archived signals, shown once."""

    id: UUID
    opened_at: Instant
    contacts: list[ContactOut]
