"""Mail through a server that nobody here wrote: Debian's postfix, on the loopback.

It takes our mails, delivers, delays, refuses and bounces them, and tells us so in reports that
settle the attempts. The mail policy is `hold`: of some mails the answer is lost on the way, and
only a report can settle those. Prints figures; fails when a mail is lost, comes twice, or
stands otherwise in the ledger than it should. `--record DIR` keeps a report of each sort.
"""

import argparse
import asyncio
import re
import sys
import tempfile
import time
from asyncio import StreamReader, StreamWriter
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from email import message_from_bytes
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from notify import queue
from notify.attempts import DeliveryFinished, DeliveryStarted
from notify.bounce import ReturnPath, read_report
from notify.ledger import Channel
from notify.mail import MailDesk, Route
from notify.office import Office
from notify.queue import Bell, Queue
from notify.relay import run_relay
from notify.smtpd import Envelope, mail_folder_server, smtp_server
from notify.worker import run_worker
from schemas.database import Db
from tests.officers import make_officer
from tests.soak.postfix import HOST, KEPT, missing, postfix
from tests.steps import match_all, register
from tests.world import SECRETS, make_region, make_reporter, registration
from vin import embedded
from vin.bounces import BounceDesk
from vin.clock import Clock
from vin.contacts import Contact, reporter_binding, seal_contact
from vin.crypto.link import LinkKey
from vin.databases import ensure, migrations
from vin.migrate import migrate
from vin.notices import NoticeComposer

if TYPE_CHECKING:
    from asyncpg import Pool, Record

BOUNCES = "bounces.test"
HELD = "held-"
LOST_ANSWERS = 40
SETTLE_SECONDS = 180


@dataclass(frozen=True, slots=True)
class Wanted:
    """How many reporters a domain has, and how each delivery must stand in the end."""

    reporters: int
    state: str
    heard: str
    attempts: int = 1


DOMAINS: Mapping[str, Wanted] = {
    "here.test": Wanted(120, "sent", "delivered"),
    "far.test": Wanted(20, "sent", "delivered"),
    "slow.test": Wanted(10, "sent", "delayed"),
    "full.test": Wanted(10, "dead", "failed"),
    "gone.test": Wanted(20, "sent", "delivered", attempts=2),
    "refused.test": Wanted(20, "sent", "delivered", attempts=2),
}


@dataclass
class Heard:
    """The reports that came in, by what they say."""

    folder: Path | None
    counts: Counter[str] = field(default_factory=Counter)

    def keep(self, mail: bytes) -> None:
        report, action = read_report(mail), re.search(rb"\nAction: ([a-z]+)", mail)
        sort = f"{action[1].decode()}-{report.status}" if report and action else "other"
        self.counts[sort] += 1
        if self.folder and self.counts[sort] == 1:
            (self.folder / f"postfix-{sort}.eml").write_bytes(mail)


class Thief:
    """Stands before a mail server, and steals its last word on mails to held addresses."""

    def __init__(self, port: int) -> None:
        self.stolen = 0
        self._port = port

    async def pass_on(self, reader: StreamReader, writer: StreamWriter) -> None:
        ours, theirs = await asyncio.open_connection(HOST, self._port)
        held = asyncio.Event()
        tasks = [
            asyncio.create_task(self._there(reader, theirs, held)),
            asyncio.create_task(self._back(ours, writer, held)),
        ]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        for each in (theirs, writer):
            each.close()

    async def _there(self, reader: StreamReader, writer: StreamWriter, held: asyncio.Event) -> None:
        while line := await reader.readline():
            if line.startswith(f"RCPT TO:<{HELD}".encode()):
                held.set()
            writer.write(line)

    async def _back(self, reader: StreamReader, writer: StreamWriter, held: asyncio.Event) -> None:
        while line := await reader.readline():
            if held.is_set() and b"queued as" in line:
                self.stolen += 1
                return
            writer.write(line)


async def hire(db: Db, number: int, email: str) -> UUID:
    """A reporter of an organisation of his own; every two report the same child."""
    somebody = await make_reporter(db, number)
    contact = Contact(name="Reporter 1", function="Teacher", email=email, phone="072 123 45 67")
    sealed = seal_contact(
        SECRETS.contact, contact, reporter_binding(somebody.id, somebody.organisation)
    )
    await db.execute(
        "UPDATE registry.reporter SET contact = $2 WHERE id = $1", somebody.id, sealed.box
    )
    await register(db, registration(somebody, number // 2))
    return somebody.organisation


async def fill(db: Db) -> dict[UUID, str]:
    """Reporters at all domains, each with a match; the organisations with their domains."""
    await make_region(db)
    await db.execute("UPDATE notify.channel SET ambiguous = 'hold' WHERE name = 'mail'")
    places = [
        (f"{HELD if number < LOST_ANSWERS and domain == KEPT[0] else ''}r{number}@{domain}", domain)
        for domain, wanted in DOMAINS.items()
        for number in range(wanted.reporters)
    ]
    domains: dict[UUID, str] = {}
    for number, (email, domain) in enumerate(places):
        organisation = await hire(db, number, email)
        domains[organisation] = domain
        if DOMAINS[domain].attempts > 1:
            await make_officer(db, "coordinator", organisation)
    await match_all(db, limit=100)
    return domains


async def standings(
    pool: "Pool[Record]", domains: Mapping[UUID, str]
) -> Counter[tuple[str, Wanted]]:
    """How many deliveries of each domain stand how."""
    rows = await pool.fetch(
        """
        SELECT delivery.party_id, state, delivery.attempt, reported
          FROM notify.delivery
          LEFT JOIN notify.attempt
            ON delivery_id = delivery.id AND attempt.attempt = delivery.attempt
        """
    )
    return Counter(
        (
            domains[row["party_id"]],
            Wanted(0, row["state"], row["reported"] or "", row["attempt"]),
        )
        for row in rows
    )


def expected() -> Counter[tuple[str, Wanted]]:
    return Counter(
        {
            (domain, replace(wanted, reporters=0)): wanted.reporters
            for domain, wanted in DOMAINS.items()
        }
    )


async def settled(pool: "Pool[Record]", domains: Mapping[UUID, str]) -> Counter[tuple[str, Wanted]]:
    """How all deliveries stand once they stand as they must, or after some minutes."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = await standings(pool, domains)
        if found == expected() or time.monotonic() > deadline:
            return found
        await asyncio.sleep(0.5)


async def unjournalled(_db: Db, _told: Sequence[DeliveryStarted | DeliveryFinished]) -> None:
    """The log of attempts has tests of its own."""


@asynccontextmanager
async def delivering(pool: "Pool[Record]", redis: str, desk: MailDesk) -> AsyncIterator[None]:
    """Let a relay and a worker run."""
    stop = asyncio.Event()
    async with queue.connect(redis) as client, asyncio.TaskGroup() as group:
        office = Office(
            pool=pool,
            queue=Queue(client),
            desks={Channel.MAIL: desk},
            journal=unjournalled,
            name="soak",
        )
        group.create_task(run_relay(office, Bell(client), stop))
        group.create_task(run_worker(office, stop))
        yield
        stop.set()


def free_port() -> int:
    with socket() as place:
        place.bind((HOST, 0))
        port: int = place.getsockname()[1]
        return port


def copies(*folders: Path) -> Counter[str]:
    """How often each mail is in these folders."""
    return Counter(
        message_from_bytes(path.read_bytes())["Message-ID"]
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    )


@dataclass
class Soak:
    """What a run is made of."""

    folder: Path
    heard: Heard
    stack: AsyncExitStack

    async def index(self) -> tuple["Pool[Record]", str]:
        server = await self.stack.enter_async_context(embedded.postgres(self.folder / "index"))
        redis = await self.stack.enter_async_context(embedded.valkey(self.folder / "index"))
        url = await ensure(server, "vin")
        await migrate(url, migrations("vin"))
        pool = asyncpg.create_pool(url, min_size=4, max_size=20)
        return await self.stack.enter_async_context(pool), redis

    async def mail_server(self, bounces: int) -> tuple[int, Path]:
        """Its port, and the folder that its mails are in."""
        far = await self.stack.enter_async_context(mail_folder_server(self.folder / "far", HOST))
        port = free_port()
        transports = {
            BOUNCES: f"smtp:[{HOST}]:{bounces}",
            "far.test": f"smtp:[{HOST}]:{far}",
            "slow.test": "retry:4.3.2 Busy",
            "full.test": "error:5.2.2 Mailbox full",
            "gone.test": "error:5.1.1 No such user",
        }
        refused = {"refused.test": "550 5.1.1 No such user"}
        server = postfix(self.folder / "postfix", port, transports, refused)
        return port, await self.stack.enter_async_context(server)

    async def take_bounces(self, desk: BounceDesk) -> int:
        async def accept(envelope: Envelope) -> None:
            self.heard.keep(envelope.data)
            await desk.accept(envelope)

        server = smtp_server(accept, HOST, 0, desk.admits)
        return await self.stack.enter_async_context(server)

    async def steal(self, port: int) -> tuple[int, Thief]:
        thief = Thief(port)
        server = await asyncio.start_server(thief.pass_on, HOST, 0)
        await self.stack.enter_async_context(server)
        return server.sockets[0].getsockname()[1], thief

    async def run(self) -> bool:
        pool, redis = await self.index()
        async with pool.acquire() as db:
            domains = await fill(db)
        returns = ReturnPath(BOUNCES, LinkKey(bytes(32)).sign)
        bounces = BounceDesk(pool, returns, SECRETS.contact, Clock())
        server, kept = await self.mail_server(await self.take_bounces(bounces))
        port, thief = await self.steal(server)
        desk = MailDesk(
            pool,
            NoticeComposer(SECRETS.contact, Clock()),
            Route(host=HOST, port=port, sender="vin@index.test", tls_required=False),
            returns=returns,
            bury=bounces.bury,
        )
        began = time.monotonic()
        async with delivering(pool, redis, desk):
            found = await settled(pool, domains)
        took = time.monotonic() - began
        return self.judge(found, copies(kept, self.folder / "far"), thief.stolen, took)

    def judge(
        self,
        found: Counter[tuple[str, Wanted]],
        arrived: Counter[str],
        stolen: int,
        took: float,
    ) -> bool:
        for (domain, stood), count in sorted(found.items(), key=str):
            print(f"{count:4} {domain:13} {stood.state}, {stood.heard}, attempt {stood.attempts}")
        print(f"reports: {dict(sorted(self.heard.counts.items()))}")
        print(f"{stolen} answers lost on the way, each settled by a report; in {took:.0f} s")
        more = sum(count - 1 for count in arrived.values())
        due = sum(wanted.reporters for wanted in DOMAINS.values() if wanted.heard == "delivered")
        print(f"{len(arrived)} of {due} mails arrived, {more} of them twice")
        return found == expected() and len(arrived) == due and not more and stolen == LOST_ANSWERS


async def main(record: Path | None) -> int:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)  # postfix works under a user of its own
        async with AsyncExitStack() as stack:
            soak = Soak(Path(folder), Heard(record), stack)
            return 0 if await soak.run() else 1


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="scripts/soak mail", description=__doc__)
    parser.add_argument("--record", type=Path, metavar="DIR")
    options = parser.parse_args()
    reason = missing()
    if reason:
        print(f"soak mail: skipped, {reason}")
    sys.exit(0 if reason else asyncio.run(main(options.record)))
