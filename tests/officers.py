"""Coordinators, brokers and follow-up officers in a database."""

from uuid import UUID, uuid4

from schemas.database import Db
from tests.world import SECRETS
from vin.contacts import Contact, officer_binding, seal_contact


async def make_officer(
    db: Db, role: str, organisation: UUID | None = None, municipality: str | None = None
) -> str:
    """Somebody with a role at an organisation or a municipality; his mail address."""
    officer = uuid4()
    contact = Contact(
        name=f"Officer {officer.hex[:6]}",
        function=role,
        email=f"{role}-{officer.hex[:8]}@office.test",
        phone="0612345678",
    )
    sealed = seal_contact(SECRETS.contact, contact, officer_binding(officer, organisation))
    await db.execute(
        """
        INSERT INTO registry.officer
               (id, role, organisation_id, municipality, contact_epoch, contact)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        officer,
        role,
        organisation,
        municipality,
        sealed.epoch,
        sealed.box,
    )
    return contact.email


async def make_municipality(db: Db, organisation: UUID, code: str = "GM0361") -> str:
    """Put an organisation into a municipality; the code."""
    await db.execute(
        "INSERT INTO registry.municipality (code, name) VALUES ($1, 'M') ON CONFLICT DO NOTHING",
        code,
    )
    await db.execute(
        "UPDATE registry.organisation SET municipality = $2 WHERE id = $1", organisation, code
    )
    return code


async def shield(db: Db, organisation: UUID, name: str = "Broker") -> str:
    """Shield an organisation behind a broker of this name; his mail address."""
    await db.execute(
        "UPDATE registry.organisation SET shielded = true, broker_name = $2 WHERE id = $1",
        organisation,
        name,
    )
    return await make_officer(db, "broker", organisation)
