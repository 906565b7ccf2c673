"""The vendors: each organisation's own client registers what its reporters know, all at once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from uuid import UUID

from vin.client import Address, Bsn, Client, Config, Demographic, Registration
from vin.client import Reporter as Designation
from vin.client.answers import Match
from vin.demo.oracle import Key, signal_key
from vin.demo.server import Ready
from vin.demo.truth import Involvement, Region, Reporter
from vin.errors import StartError

AT_ONCE_PER_CLIENT = 2
POSTCODE = "1811AB"

Advance = Callable[[], object]


@asynccontextmanager
async def connected(ready: Ready) -> AsyncIterator[Sequence[Client]]:
    """Open a client for each organisation; StartError if the index is not empty."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                Client.connect(
                    Config(
                        api=ready.api,
                        keyholder=ready.keyholder,
                        client_id=entry.client_id,
                        private_key_file=entry.private_key_file,
                    )
                )
            )
            for entry in ready.clients
        ]
        for client in clients:
            async for _ in client.signals():
                message = "The demo needs an index without signals; give a new folder."
                raise StartError(message)
        yield clients


async def register_reporters(clients: Sequence[Client], reporters: Sequence[Reporter]) -> None:
    async with asyncio.TaskGroup() as group:
        for reporter in reporters:
            client = clients[reporter.unit.number]
            group.create_task(client.register_reporter(designation_of(reporter)))


async def register_all(
    clients: Sequence[Client], region: Region, advance: Advance
) -> dict[UUID, Key]:
    """Register everything; return whose signal each is."""
    signals: dict[UUID, Key] = {}

    async def work(client: Client, waiting: list[Involvement]) -> None:
        while waiting:
            involvement = waiting.pop()
            signal = await client.register(registration_of(involvement))
            signals[signal.id] = signal_key(involvement)
            advance()

    async with asyncio.TaskGroup() as group:
        for number, client in enumerate(clients):
            own = [each for each in region.involvements if each.reporter.unit.number == number]
            for _ in range(AT_ONCE_PER_CLIENT):
                group.create_task(work(client, own))
    return signals


async def read_matches(clients: Sequence[Client]) -> list[Match]:
    """Read every side of every match, each from its own organisation."""
    return [match for client in clients async for match in client.matches()]


def designation_of(reporter: Reporter) -> Designation:
    return Designation(
        id=reporter.id,
        name=reporter.name,
        function=f"medewerker {reporter.unit.name}",
        email=reporter.email,
        phone=f"000 000 {reporter.id.rpartition('-')[2]:0>4}",
        unit=reporter.unit.name,
        registration_number=reporter.registration_number,
    )


def registration_of(involvement: Involvement) -> Registration:
    child = involvement.child
    return Registration(
        reporter_id=involvement.reporter.id,
        reference=involvement.reference,
        child=Demographic(child.surname, child.birth_date, child.sex)
        if involvement.by_name
        else Bsn(child.number),
        parents=[Bsn(number) for number in involvement.parents],
        address=None if involvement.house is None else Address(POSTCODE, involvement.house),
        birth_date=child.birth_date,
    )
