"""A region as rows of the registry, by table and column."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from vin.contacts import Contact
from vin.crypto.smime import read_certificate
from vin.region import Organisation, Region, stable_id

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfficerRow:
    """A coordinator, broker, follow-up officer or auditor, not sealed yet."""

    id: UUID
    role: str
    contact: Contact
    organisation: UUID | None = None
    municipality: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What a region file says, table by table."""

    municipalities: Sequence[Row]
    categories: Sequence[Row]
    organisations: Sequence[Row]
    agreements: Sequence[Row]
    units: Sequence[Row]
    clients: Sequence[Row]
    officers: Sequence[OfficerRow]


def rows_of(region: Region) -> Rows:
    organisations = region.organisations
    return Rows(
        municipalities=[
            municipality.model_dump(include={"code", "name"})
            for municipality in region.municipalities
        ],
        categories=[category.model_dump() for category in region.categories],
        organisations=[_organisation(region, each) for each in organisations],
        agreements=[row for each in organisations for row in _agreements(region, each)],
        units=[row for each in organisations for row in _units(region, each)],
        clients=[row for each in organisations for row in _clients(region, each)],
        officers=[
            *_coordinators(region),
            *_brokers(region),
            *_follow_up_officers(region),
            *_auditors(region),
        ],
    )


def _organisation(region: Region, organisation: Organisation) -> Row:
    columns = {"code", "name", "category", "municipality", "language", "shielded"}
    pem = organisation.smime_certificate
    return {
        "id": region.organisation_id(organisation),
        "broker_name": organisation.broker and organisation.broker.name,
        "smime_certificate": pem and f"\\x{read_certificate(pem.encode()).hex()}",
        **organisation.model_dump(include=columns | {"mail_mode", "match_url"}),
    }


def _agreements(region: Region, organisation: Organisation) -> Iterator[Row]:
    for agreement in organisation.agreements:
        yield {
            "organisation_id": region.organisation_id(organisation),
            **agreement.model_dump(),
        }


def _units(region: Region, organisation: Organisation) -> Iterator[Row]:
    for unit in organisation.units:
        yield {
            "id": region.unit_id(organisation, unit),
            "organisation_id": region.organisation_id(organisation),
            "code": unit.code,
            "name": unit.name,
            "match_unit_id": region.match_unit_id(organisation, unit),
        }


def _clients(region: Region, organisation: Organisation) -> Iterator[Row]:
    for client in organisation.clients:
        yield {
            "id": client.id,
            "organisation_id": region.organisation_id(organisation),
            "active": client.active,
            "scopes": sorted(set(client.scopes)),
            "jwks": client.jwks.model_dump(exclude_none=True),
        }


def _coordinators(region: Region) -> Iterator[OfficerRow]:
    for organisation in region.organisations:
        for officer in organisation.coordinators:
            yield OfficerRow(
                id=region.officer_id("coordinator", organisation.code, officer),
                role="coordinator",
                contact=officer.contact(),
                organisation=region.organisation_id(organisation),
            )


def _brokers(region: Region) -> Iterator[OfficerRow]:
    for organisation in region.organisations:
        if organisation.broker is not None:
            yield OfficerRow(
                id=stable_id(region.region.code, "broker", organisation.code),
                role="broker",
                contact=organisation.broker.contact.contact(),
                organisation=region.organisation_id(organisation),
            )


def _follow_up_officers(region: Region) -> Iterator[OfficerRow]:
    for municipality in region.municipalities:
        for officer in municipality.follow_up_officers:
            yield OfficerRow(
                id=region.officer_id("follow_up_officer", municipality.code, officer),
                role="follow_up_officer",
                contact=officer.contact(),
                municipality=municipality.code,
            )


def _auditors(region: Region) -> Iterator[OfficerRow]:
    for officer in region.auditors:
        yield OfficerRow(
            id=region.officer_id("auditor", "", officer),
            role="auditor",
            contact=officer.contact(),
        )
