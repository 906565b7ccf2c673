"""The main job over HTTP, with several processes at once."""

import asyncio
import email
import email.policy
import os
import re
import sys
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import asyncpg
from aiohttp import ClientError, ClientSession

from notify.queue import connect
from notify.smtpd import mail_folder_server
from tests.bsns import fresh_bsn
from tests.contract.contract_client import ContractClient
from tests.oracle import Fact, expected
from tests.running import Up, running
from vin.up import choose_ports

if TYPE_CHECKING:
    from asyncpg import Record

Json = dict[str, Any]
PATIENCE_SECONDS = 30


@asynccontextmanager
async def process(name: str, environment: dict[str, str]) -> AsyncIterator[None]:
    """One more VIN process beside those of `vin up`."""
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vin", name), env={**os.environ, **environment}
    )
    try:
        yield
    finally:
        started.terminate()
        await started.wait()


def environment_of(up: Up, smtp: int) -> dict[str, str]:
    return {
        "DATABASE_URL": up.ready["databaseUrl"],
        "REDIS_URL": up.ready["redisUrl"],
        "VIN_KEYS": str(up.data / "keys"),
        "VIN_API_URL": up.ready["api"],
        "VIN_KEYHOLDER_URL": up.ready["keyholder"],
        "VIN_SMTP": f"127.0.0.1:{smtp}",
        "VIN_MAIL_FROM": "vin@vin.example",
    }


async def until_ready(url: str) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS), ClientSession() as session:
        while True:
            try:
                async with session.get(f"{url}/health/ready") as answer:
                    if answer.status == 200:
                        return
            except ClientError:
                pass
            await asyncio.sleep(0.1)


@asynccontextmanager
async def two_of_each(folder: Path) -> AsyncIterator[tuple[Up, list[str], Path]]:
    """Two api processes and two workers on one index; the mails go into a folder of ours."""
    mails = folder / "mail"
    mails.mkdir()
    async with AsyncExitStack() as stack:
        smtp = await stack.enter_async_context(mail_folder_server(mails))
        up = stack.enter_context(running(folder / "up", "--smtp", f"127.0.0.1:{smtp}"))
        port = str(choose_ports(0)["api"])
        environment = environment_of(up, smtp)
        worker = {k: v for k, v in environment.items() if not k.endswith("URL") or "VIN" not in k}
        api = {k: v for k, v in environment.items() if "SMTP" not in k and "MAIL" not in k}
        await stack.enter_async_context(process("api", {**api, "VIN_PORT": port}))
        await stack.enter_async_context(process("worker", worker))
        second = f"http://127.0.0.1:{port}"
        await until_ready(second)
        yield up, [up.ready["api"], second], mails


async def test_m10_32_at_once_over_two_apis_and_two_matchers_give_the_oracles_matches_and_mails(
    tmp_path: Path,
) -> None:
    facts = [
        Fact(
            reporter=reporter,
            person=reporter,
            match_unit=reporter // 2,
            child=child,
            parents=frozenset({child // 2}),
        )
        for child in range(4)
        for reporter in range(8)
    ]
    async with two_of_each(tmp_path) as (up, apis, mails), ClientSession() as session:
        clients = await four_clients(session, up)
        bodies = await prepare(clients, facts)
        answers = await asyncio.gather(
            *(
                client_of(clients, fact).call(
                    "POST", f"{apis[place % 2]}/v1/signals", bodies[place], str(uuid4())
                )
                for place, fact in enumerate(facts)
            )
        )
        places = {UUID(answer.body["id"]): place for place, answer in enumerate(answers)}

        assert {answer.status for answer in answers} == {201}
        wanted = expected(facts)
        assert len(wanted) > 150
        assert await found(up, places, len(wanted)) == wanted
        numbers = await both_sides(clients, places, len(wanted))
        assert await told(mails, sum(map(len, numbers.values()))) == numbers


async def four_clients(session: ClientSession, up: Up) -> list[ContractClient]:
    """Clients of four organisations, with two reporters each."""
    clients = []
    for place, entry in enumerate(up.ready["clients"][:4]):
        client = await ContractClient.connect(
            session, entry, up.ready["api"], up.ready["keyholder"]
        )
        for reporter in (2 * place, 2 * place + 1):
            await client.put_reporter(
                f"r-{reporter}",
                {
                    "name": f"Reporter {reporter}",
                    "function": "Teacher",
                    "email": address(reporter),
                    "phone": "0612345678",
                    "unit": entry["unit"],
                },
            )
        clients.append(client)
    return clients


def client_of(clients: Sequence[ContractClient], fact: Fact) -> ContractClient:
    return clients[int(str(fact.reporter)) // 2]


def address(reporter: int) -> str:
    return f"r{reporter}@school.test"


async def prepare(clients: Sequence[ContractClient], facts: Sequence[Fact]) -> list[Json]:
    """Bodies with elements and permits, ready to be sent at once."""
    numbers = {key: fresh_bsn() for key in ("c0", "c1", "c2", "c3", "p0", "p1")}
    return [
        await client_of(clients, fact).signal_body(
            f"r-{fact.reporter}",
            f"D-{place}",
            [
                ("bsn", numbers[f"c{fact.child}"]),
                *(("parent", numbers[f"p{parent}"]) for parent in fact.parents),
            ],
        )
        for place, fact in enumerate(facts)
    ]


async def found(up: Up, places: dict[UUID, int], count: int) -> dict[tuple[int, ...], str]:
    """The matches in the database, by the places of their signals, once the queue is empty."""
    rows = await processed(up, len(places))
    assert len(rows) == count
    return {
        tuple(sorted((places[row["signal_a"]], places[row["signal_b"]]))): row["kind"]
        for row in rows
    }


async def processed(up: Up, signals: int) -> "list[Record]":
    """All matches, once the matcher was done with so many signals."""
    db = await asyncpg.connect(up.ready["databaseUrl"])
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while await db.fetchval("SELECT count(*) FROM matching.processed") < signals:
                await asyncio.sleep(0.1)
        return list(await db.fetch("SELECT signal_a, signal_b, kind FROM matching.match"))
    finally:
        await db.close()


async def both_sides(
    clients: Sequence[ContractClient], places: dict[UUID, int], count: int
) -> dict[str, Counter[tuple[str, str]]]:
    """Of each address, which match numbers name which other address; none is one-sided."""
    sides: dict[str, Counter[tuple[str, str]]] = {}
    numbers: Counter[str] = Counter()
    for place, client in enumerate(clients):
        for reporter in (2 * place, 2 * place + 1):
            items = await client.listed("matches", f"r-{reporter}", limit=200)
            numbers.update(item["number"] for item in items)
            sides[address(reporter)] = Counter(
                (item["number"], item["contact"]["email"]) for item in items
            )
            assert {UUID(item["signalId"]) for item in items} <= places.keys()
    assert len(numbers) == count
    assert set(numbers.values()) == {2}
    return sides


async def told(mails: Path, count: int) -> dict[str, Counter[tuple[str, str]]]:
    """Of each address, which match numbers its mails tell, with the one address beside each."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            sides: dict[str, Counter[tuple[str, str]]] = {}
            for path in mails.glob("*.eml"):
                mail = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
                sides.setdefault(str(mail["To"]), Counter()).update(pairs_in(mail))
            if sum(map(len, sides.values())) >= count:
                return sides
            await asyncio.sleep(0.2)


def pairs_in(mail: EmailMessage) -> list[tuple[str, str]]:
    """The match numbers of a mail's text, each with the address that follows it."""
    plain = mail.get_body(("plain",))
    assert plain is not None
    text = str(plain.get_content())
    numbers = [str(number) for number in mail.get_all("X-VIN-Match", [])]
    parts = re.split("|".join(map(re.escape, numbers)), text)[1:]
    addresses = [re.findall(r"[a-z0-9]+@school\.test", part) for part in parts]
    assert all(len(set(each)) == 1 for each in addresses)
    order = re.findall("|".join(map(re.escape, numbers)), text)
    return [(number, each[0]) for number, each in zip(order, addresses, strict=True)]


async def test_while_mail_is_paused_nothing_goes_out_and_then_all_of_it_once(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as up:
        async with ClientSession() as session, connect(up.ready["redisUrl"]) as redis:
            clients = await four_clients(session, up)
            await operate(up, "deliveries", "pause", "mail")
            facts = [Fact(reporter=r, person=r, match_unit=r, child=0) for r in (0, 2, 4, 6)]
            for place, body in enumerate(await prepare(clients, facts)):
                await client_of(clients, facts[place]).register(body, str(uuid4()))
            await processed(up, len(facts))
            await redis.flushall()
            await asyncio.sleep(1.5)
            mails = Path(up.ready["mailDir"])
            assert list(mails.glob("*.eml")) == []

            await operate(up, "deliveries", "resume", "mail")
            sides = await told(mails, 12)
            await asyncio.sleep(1)
            assert {len(numbers) for numbers in sides.values()} == {3}
            assert await told(mails, 12) == sides


async def operate(up: Up, *command: str) -> str:
    """Run an operator's command on a running index."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vin", *command),
        env={**os.environ, "DATABASE_URL": up.ready["databaseUrl"]},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()
