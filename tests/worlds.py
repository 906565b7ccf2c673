"""An index with its API, on which others act while one organisation looks on.

All that others bring along and the onlooker may not know holds the world's name.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import asyncpg

from schemas.database import Db
from schemas.dates import LOCAL, local_date
from tests import steps
from tests.api_on import START, Value, api, make_client, role_and_token
from tests.changing import own_permit, relate
from tests.serving import Service, served
from tests.world import SECRETS, Somebody, make_region, make_reporter, permit, registration
from vin import retention, succession, sweeper
from vin.changes import Actor, HouseholdReplaced, replace_household
from vin.clock import Clock
from vin.contacts import Contact, officer_binding, reporter_binding, seal_contact
from vin.registrar import Answer, Registrar
from vin.relations import Relation
from vin.reporters import Actor as Leaving
from vin.retention import Ending
from vin.signals import Registration, register_batch
from vin.succession import Departure

if TYPE_CHECKING:
    from asyncpg import Pool, Record

SHELTER: Value = ("address", 9)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hands(Clock):
    """A clock that is set by hand."""

    at: list[datetime] = field(default_factory=lambda: [START])

    async def now(self, db: Db) -> datetime:
        del db
        return self.at[-1]


@dataclass(slots=True)
class World:
    """One of two that an onlooker must not tell apart."""

    name: str
    pool: "Pool[Record]"
    service: Service
    clock: Hands
    others: dict[int, tuple[Somebody, UUID]] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        return self.clock.at[-1]

    async def begin(self, *, address_rule: bool) -> list[Somebody]:
        """Start anew; gives two reporters of the onlooker, of two match units."""
        self.clock.at[:] = [START]
        self.others.clear()
        async with self.pool.acquire() as db, db.transaction():
            await forget(db)
            await make_region(db, address_rule=address_rule)
            shelter = role_and_token(SHELTER)[1].lookup
            await db.execute("INSERT INTO matching.excluded_address VALUES ($1)", shelter)
            one = await make_reporter(db, 1)
            two = await make_reporter(db, 2, one.organisation)
            await make_client(db, one.organisation)
            own = [await introduce(db, each, f"own-{n}") for n, each in enumerate((one, two))]
            await db.execute(
                """
                UPDATE registry.reporter
                   SET designated_at = $1::timestamptz + right(reporter_id, 1)::interval
                """,
                START,
            )
            return own

    async def come(
        self,
        number: int,
        values: Sequence[Value],
        *,
        remove_on: date | None = None,
        shielded: bool = False,
        seconds_ago: int = 0,
    ) -> None:
        """A new organisation registers a child, the first value, with its household."""
        async with self.pool.acquire() as db:
            somebody = await self.hire(db, number, shielded=shielded)
            tokens = [role_and_token(value) for value in values]
            request = replace(
                registration(somebody, 1, reference=f"{self.name}-{number}"),
                tokens=tokens,
                child_key=tokens[0][1].lookup,
                remove_on=remove_on,
            )
            registered_at = self.now - timedelta(seconds=seconds_ago)
            (signal,) = await steps.register(db, request, now=registered_at)
        self.others[number] = somebody, signal

    async def hire(self, db: Db, number: int, *, shielded: bool) -> Somebody:
        """The reporter of a new organisation."""
        name = f"{number} in {self.name}" if shielded else f"{number}"
        somebody = await make_reporter(db, number)
        if shielded:
            await shield(db, somebody.organisation, number)
        return await introduce(db, somebody, f"{self.name}-{number}", name)

    async def withdraw(self, number: int, ground: str) -> None:
        somebody, signal = self.others[number]
        async with self.pool.acquire() as db:
            await steps.end(db, signal, somebody, ground, self.now)

    async def erase(self, number: int) -> None:
        """By an operator."""
        signal = self.others[number][1]
        order = Ending(signal=signal, ground="erased", purpose=self.name, operator=self.name)
        async with self.pool.acquire() as db, db.transaction():
            await retention.end_by_operator(db, order, self.now)

    async def rehouse(self, number: int, values: Sequence[Value]) -> None:
        somebody, signal = self.others[number]
        replaced = HouseholdReplaced(
            organisation=somebody.organisation,
            actor=Actor(kind="client", name=self.name, request_id=uuid4()),
            signal=signal,
            household=[role_and_token(value) for value in values],
            permit=own_permit(somebody),
        )
        async with self.pool.acquire() as db, db.transaction():
            await replace_household(db, replaced, self.now)

    async def leave(self, number: int) -> None:
        somebody, _ = self.others[number]
        actor = Leaving(organisation=somebody.organisation, client=self.name, request_id=uuid4())
        async with self.pool.acquire() as db, db.transaction():
            departure = Departure(somebody.reporter_id, None)
            await succession.end_reporter(db, departure, actor, self.now)

    async def tell(self, values: Sequence[Value]) -> None:
        """The population register tells of a child, the first value, and its household."""
        told = Relation(
            actor=Actor(kind="client", name="register", request_id=uuid4()),
            child=role_and_token(values[0])[1],
            household=[role_and_token(value) for value in values[1:]],
            moved_to=None,
            deceased=False,
            reporter_id="reporter",
            permit=permit(),
        )
        async with self.pool.acquire() as db:
            await relate(db, told, self.now)

    def wait(self, days: int) -> None:
        """For a minute, or until ten in the morning so many days later."""
        day = local_date(self.now) + timedelta(days=days)
        ten = datetime.combine(day, time(10), LOCAL).astimezone(UTC)
        self.clock.at.append(ten if days else self.now + timedelta(minutes=1))

    async def settle(self) -> None:
        """Let the sweeper and the matcher work until nothing is left to do."""
        while await sweeper.sweep_turn(self.pool, self.clock):
            pass
        async with self.pool.acquire() as db:
            await steps.match_all(db, 64, self.now)


async def forget(db: Db) -> None:
    """Empty the index; a statement each, since truncating costs far more."""
    tables = (
        *("matching.match", "matching.signal", "matching.relation", "matching.person"),
        *("matching.excluded_address", "matching.permit", "notify.notice"),
        *("registry.client", "registry.officer", "registry.reporter", "registry.unit"),
        *("registry.agreement", "registry.organisation", "registry.category", "registry.region"),
    )
    for table in tables:
        await db.execute(f"DELETE FROM {table}")  # noqa: S608


def contact_of(name: str) -> Contact:
    return Contact(
        name=f"Reporter {name}",
        function=f"Function of {name}",
        email=f"{name.replace(' ', '.')}@world.test",
        phone="0612345678",
        registration_number=name,
    )


async def introduce(db: Db, somebody: Somebody, code: str, name: str | None = None) -> Somebody:
    """Name an organisation and its reporter, and give him the code by which it calls him."""
    await db.execute(
        "UPDATE registry.organisation SET name = $2 WHERE id = $1",
        somebody.organisation,
        f"Organisation {name or code}",
    )
    binding = reporter_binding(somebody.id, somebody.organisation)
    await db.execute(
        "UPDATE registry.reporter SET reporter_id = $2, contact = $3 WHERE id = $1",
        somebody.id,
        code,
        seal_contact(SECRETS.contact, contact_of(name or code), binding).box,
    )
    return replace(somebody, reporter_id=code)


async def shield(db: Db, organisation: UUID, number: int) -> None:
    """Let a broker, the same in all worlds, stand before an organisation (A5)."""
    broker = uuid4()
    binding = officer_binding(broker, organisation)
    sealed = seal_contact(SECRETS.contact, contact_of(f"broker {number}"), binding)
    await db.execute(
        """
        INSERT INTO registry.officer (id, role, organisation_id, contact_epoch, contact)
        VALUES ($1, 'broker', $2, $3, $4)
        """,
        broker,
        organisation,
        sealed.epoch,
        sealed.box,
    )
    await db.execute(
        "UPDATE registry.organisation SET shielded = true, broker_name = $2 WHERE id = $1",
        organisation,
        f"Brokers of {number}",
    )


@asynccontextmanager
async def world(name: str, url: str) -> AsyncIterator[World]:
    """Serve an index on this database as `vin api` does, by a clock of its own."""
    clock = Hands()
    async with asyncpg.create_pool(url, min_size=1, max_size=4) as pool:

        async def commit(batch: Sequence[Registration]) -> list[Answer]:
            async with pool.acquire() as db, db.transaction():
                return await register_batch(db, batch, SECRETS, await clock.now(db))

        async def ring() -> None:
            """The matcher works when it is told to."""

        registrar = Registrar(commit, ring)
        committing = asyncio.create_task(registrar.run())
        async with served(api(pool, clock, registrar)) as service:
            yield World(name, pool, service, clock)
        committing.cancel()
