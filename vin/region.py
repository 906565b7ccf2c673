"""A region: who takes part, and under which rules (docs/region.md)."""

import re
from datetime import date
from itertools import pairwise
from typing import Annotated, Literal, Self
from uuid import UUID, uuid5

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from vin.contacts import Contact
from vin.fields import Email, Line, Phone, refuse
from vin.jwk import Jwk

Code = Annotated[str, Field(pattern=r"^[a-z0-9](-?[a-z0-9]){0,63}$")]
RegionCode = Annotated[str, Field(pattern=r"^[a-z0-9](-?[a-z0-9]){0,15}$")]
MunicipalityCode = Annotated[str, Field(pattern=r"^GM[0-9]{4}$")]
ClientId = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
Days = Annotated[int, Field(ge=1, le=366)]
Certificate = Annotated[str, Field(min_length=1, max_length=20_000)]
Elements = Annotated[int, Field(ge=1, le=2**31 - 1)]
CaseRole = Literal["local_team", "veilig_thuis", "certified_institution", "mda", "csg", "zvh"]
Ambiguous = Literal["resend", "hold"]
Scope = Literal["reporters", "signals", "matches", "evaluations", "relations", "webhooks"]

_NAMESPACE = UUID("4f1c1a52-9a5e-4f0e-8b5d-6d1f3c7e2a90")


def stable_id(*codes: str) -> UUID:
    """Derive an id from codes: the same file gives the same ids in every database."""
    return uuid5(_NAMESPACE, "/".join(codes))


class Table(BaseModel):
    """A table of the file: no unknown names, no converted types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, hide_input_in_errors=True)


class Name(Table):
    """What the region is called; `code` begins the names of the key domains."""

    code: RegionCode
    name: Line


class ContactClock(Table):
    """A2: working days from match to reminder, overdue, and the officer's list."""

    remind_after_days: Days = 3
    overdue_after_days: Days = 5
    escalate_after_days: Days = 10

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.remind_after_days < self.overdue_after_days < self.escalate_after_days:
            refuse("order", "Must go up: reminder, overdue, escalation.")
        return self


class Holder(Table):
    """W2: the unit that takes over live signals when an organisation's agreement ends."""

    organisation: Code
    unit: Code


class Policies(Table):
    """What the region decides itself (M2, M4, M5, M9, A2, W2).

    `mail_ambiguous` and `webhook_ambiguous`: what becomes of a message that may have arrived.
    """

    parent_rule: bool = True
    address_rule: bool = False
    hub_limit: Annotated[int, Field(ge=2, le=1000)] = 12
    excluded_addresses: Line | None = None
    digest_seconds: Annotated[int, Field(ge=0, le=86_400)] = 20
    mail_ambiguous: Ambiguous = "resend"
    webhook_ambiguous: Ambiguous = "resend"
    contact_clock: ContactClock = ContactClock()
    holder: Holder | None = None


class Validity(Table):
    """Both days are included; without `valid_to` there is no end."""

    valid_from: date
    valid_to: date | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.valid_to is not None and self.valid_to < self.valid_from:
            refuse("order", "The last day lies before the first.")
        return self


class Person(Table):
    """How to reach somebody."""

    name: Line
    function: Line
    email: Email
    phone: Phone
    reachable: Line | None = None

    def contact(self) -> Contact:
        return Contact(**self.model_dump(exclude={"code"}))


class Officer(Person):
    """A coordinator, follow-up officer or auditor, told from colleagues by the code."""

    code: Code


class Broker(Table):
    """Whom others see instead of a shielded organisation, under which name (A5)."""

    name: Line
    contact: Person


class Municipality(Table):
    """A municipality under its CBS code."""

    code: MunicipalityCode
    name: Line
    follow_up_officers: list[Officer] = []


class Category(Validity):
    """A category of organisations that is designated to take part (W1).

    `role` is what these are to a case (A3), if anything.
    """

    code: Code
    name: Line
    role: CaseRole | None = None


class Unit(Table):
    """A team: its own match unit, unless it names one to share with other units."""

    code: Code
    name: Line
    match_unit: Code | None = None


class Jwks(Table):
    """RFC 7517; a client with several keys names each."""

    keys: Annotated[list[Jwk], Field(min_length=1, max_length=10)]

    @model_validator(mode="after")
    def _named(self) -> Self:
        if len(self.keys) > 1 and any(key.kid is None for key in self.keys):
            refuse("kid", "Each of several keys needs a kid.")
        return self


class Client(Table):
    """A program that acts for its whole organisation."""

    id: ClientId
    active: bool = True
    scopes: Annotated[list[Scope], Field(min_length=1)]
    jwks: Jwks


class Quota(Table):
    """How many elements the key holder evaluates in a day."""

    reporter_per_day: Elements
    organisation_per_day: Elements


def _numbered(url: str) -> str:
    if not re.fullmatch(r"https://[!-z|~]*[{]number[}][!-z|~]*", url):
        refuse("url", "Expected an https URL with {number} in it, once.")
    return url


def _apart(agreements: list[Validity]) -> list[Validity]:
    ordered = sorted(agreements, key=lambda agreement: agreement.valid_from)
    for earlier, later in pairwise(ordered):
        if earlier.valid_to is None or earlier.valid_to >= later.valid_from:
            refuse("overlap", "Two of the periods overlap.")
    return agreements


class Organisation(Table):
    """An organisation, its agreements, and who and what acts for it."""

    code: Code
    name: Line
    category: Code
    municipality: MunicipalityCode | None = None
    language: Literal["nl", "en"] = "nl"
    mail_mode: Literal["full", "link_only", "smime"] = "full"
    match_url: Annotated[str, Field(max_length=500), AfterValidator(_numbered)] | None = None
    smime_certificate: Certificate | None = None
    quota: Quota
    agreements: Annotated[list[Validity], AfterValidator(_apart)]
    units: Annotated[list[Unit], Field(min_length=1)]
    clients: list[Client] = []
    coordinators: list[Officer] = []
    shielded: bool = False
    broker: Broker | None = None

    @model_validator(mode="after")
    def _hidden(self) -> Self:
        if self.shielded is not (self.broker is not None):
            refuse("broker", "What is shielded has a broker, and only that.")
        if self.broker is not None and self.broker.name == self.name:
            refuse("broker", "The broker bears the name that must not be seen.")
        return self

    @model_validator(mode="after")
    def _mailable(self) -> Self:
        if (self.mail_mode == "smime") is not (self.smime_certificate is not None):
            refuse("certificate", "Mail mode smime has an smime_certificate, and only that.")
        if self.match_url is not None and self.mail_mode != "link_only":
            refuse("url", "Only mail mode link_only has a match_url.")
        return self


class Region(Table):
    """Everything in a region file."""

    region: Name
    policies: Policies = Policies()
    municipalities: list[Municipality]
    categories: list[Category]
    organisations: list[Organisation]
    auditors: list[Officer] = []

    @model_validator(mode="after")
    def _taken_over(self) -> Self:
        ends = (
            max(agreement.valid_to or date.max for agreement in organisation.agreements)
            for organisation in self.organisations
            if organisation.agreements
        )
        if self.policies.holder is None and any(end < date.max for end in ends):
            refuse("holder", "An agreement has a last day: name who takes over (policies.holder).")
        return self

    def organisation_id(self, organisation: Organisation) -> UUID:
        return stable_id(self.region.code, "organisation", organisation.code)

    def unit_id(self, organisation: Organisation, unit: Unit) -> UUID:
        return stable_id(self.region.code, "unit", organisation.code, unit.code)

    def match_unit_id(self, organisation: Organisation, unit: Unit) -> UUID:
        if unit.match_unit is None:
            return self.unit_id(organisation, unit)
        return stable_id(self.region.code, "match-unit", unit.match_unit)

    def holder(self) -> tuple[Organisation, Unit] | None:
        """Find who takes over (W2)."""
        named = self.policies.holder
        found = (
            (organisation, unit)
            for organisation in self.organisations
            for unit in organisation.units
            if named and (organisation.code, unit.code) == (named.organisation, named.unit)
        )
        return next(found, None)

    def officer_id(self, role: str, place: str, officer: Officer) -> UUID:
        """Identify an officer; `place` is the code of whom he serves, or nothing."""
        return stable_id(self.region.code, role, place, officer.code)
