"""A small region in a database, and registrations for it that need no cryptography."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from matching.model import Role
from schemas.database import Db
from tests.strategies import uuid_of
from vin.contacts import Contact, reporter_binding, seal_contact
from vin.crypto.pseudonym import IndexKeys, Token
from vin.crypto.seal import DataKeys
from vin.crypto.sign import Permit
from vin.signals import Registration, Secrets

SECRETS = Secrets(index=IndexKeys({1: bytes(32)}, bytes(32)), contact=DataKeys({1: bytes(32)}))


@dataclass(frozen=True, slots=True)
class Somebody:
    """A reporter, by his row and by the names that his organisation knows."""

    id: UUID
    organisation: UUID
    match_unit: UUID
    reporter_id: str
    email: str


async def make_region(
    db: Db, *, hub_limit: int = 12, address_rule: bool = False, digest_seconds: int = 0
) -> None:
    """A region; unless said otherwise each notice is a mail of its own, without waiting."""
    await db.execute(
        """
        INSERT INTO registry.region
               (code, name, parent_rule, address_rule, hub_limit, digest_seconds,
                remind_after_days, overdue_after_days, escalate_after_days)
        VALUES ('nhn', 'Region', true, $2, $1, $3, 3, 5, 10)
        """,
        hub_limit,
        address_rule,
        digest_seconds,
    )
    await db.execute(
        "INSERT INTO registry.category VALUES ('school', 'School', '2015-01-01', NULL)"
    )


async def make_reporters(db: Db, count: int, *, persons: int | None = None) -> list[Somebody]:
    """Reporters of as many organisations, each with an agreement and a match unit of its own."""
    return [await make_reporter(db, number % (persons or count)) for number in range(count)]


async def make_reporter(
    db: Db, person: int, organisation: UUID | None = None, match_unit: UUID | None = None
) -> Somebody:
    """One reporter; `person` tells human beings apart."""
    if organisation is None:
        organisation = uuid4()
        await db.execute(
            "INSERT INTO registry.organisation VALUES ($1, $2, $3, 'school', NULL, 'nl', 'full')",
            organisation,
            f"school-{organisation}",
            f"School {organisation.hex[:6]}",
        )
        await db.execute(
            "INSERT INTO registry.agreement VALUES ($1, '2020-01-01', NULL)", organisation
        )
    unit, match_unit, reporter = uuid4(), match_unit or uuid4(), uuid4()
    await db.execute(
        "INSERT INTO registry.unit VALUES ($1, $2, $3, 'Team', $4)",
        unit,
        organisation,
        f"team-{unit}",
        match_unit,
    )
    somebody = Somebody(
        reporter,
        organisation,
        match_unit,
        f"r-{reporter.hex[:8]}",
        f"{reporter.hex[:8]}@school.test",
    )
    contact = Contact(
        name=f"Reporter {reporter.hex[:6]}",
        function="Teacher",
        email=somebody.email,
        phone="0612345678",
    )
    sealed = seal_contact(SECRETS.contact, contact, reporter_binding(reporter, organisation))
    await db.execute(
        "INSERT INTO registry.reporter VALUES ($1, $2, $3, $4, $5, $6, now())",
        reporter,
        organisation,
        somebody.reporter_id,
        unit,
        sealed.epoch,
        sealed.box,
    )
    await db.execute("INSERT INTO matching.person VALUES ($1, $2)", reporter, [uuid_of(9, person)])
    return somebody


def token(family: int, number: int) -> Token:
    return Token(lookup=uuid_of(family, number), key_epoch=1, index_epoch=1, sealed=b"sealed")


def permit() -> Permit:
    return Permit(
        client_id="client",
        reporter_id="reporter",
        elements={},
        id=str(uuid4()),
        expires_at=datetime(2099, 1, 1, tzinfo=UTC) + timedelta(),
    )


def registration(
    reporter: Somebody,
    child: int | None = None,
    *,
    weak: int | None = None,
    parents: Sequence[int] = (),
    address: int | None = None,
    reference: str = "D-1",
) -> Registration:
    """A request by this reporter; numbers stand for children, names, parents and addresses."""
    tokens = [
        *((Role.CHILD, token(1, number)) for number in (child,) if number is not None),
        *((Role.WEAK, token(2, number)) for number in (weak,) if number is not None),
        *((Role.PARENT, token(3, number)) for number in parents),
        *((Role.ADDRESS, token(4, number)) for number in (address,) if number is not None),
    ]
    first = tokens[0][1].lookup
    return Registration(
        organisation=reporter.organisation,
        client="client",
        request_id=uuid4(),
        idempotency_key=uuid4(),
        fingerprint=bytes(32),
        reporter_id=reporter.reporter_id,
        reference=reference,
        child_key=first if child is not None else SECRETS.index.file_key(first, reference),
        tokens=tokens,
        remove_on=None,
        destroy_by=None,
        permit=permit(),
    )
