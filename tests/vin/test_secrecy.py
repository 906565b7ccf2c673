"""What a thief finds: in the tables with one key or the other, in logs, in Redis."""

import asyncio
import secrets
import subprocess
import sys
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from aiohttp import ClientSession

from notify.queue import connect
from tests.bsns import fresh_bsn
from tests.contract.contract_client import ContractClient
from tests.running import Up
from vin.client import identifiers
from vin.crypto import keyfile, oprf
from vin.crypto.pseudonym import IndexKeys, domain_key

DOMAIN = "nhn/child"


async def register(up: Up, place: int, values: list[tuple[str, str]], **details: str) -> str:
    """Register at one of the clients; returns the mail address of the reporter."""
    async with ClientSession() as session:
        entry = up.ready["clients"][place]
        client = await ContractClient.connect(
            session, entry, up.ready["api"], up.ready["keyholder"]
        )
        name = f"p-{secrets.token_hex(4)}"
        reporter: dict[str, Any] = {
            "name": "Reporter",
            "function": "Teacher",
            "email": f"{name}@school.test",
            "phone": "0612345678",
            "unit": entry["unit"],
        } | details
        reference = str(reporter.pop("reference", "D-1"))
        await client.put_reporter(name, reporter)
        body = await client.signal_body(name, reference, values)
        await client.register(body, str(uuid4()))
        return str(reporter["email"])


@pytest.fixture(scope="module")
def hashed() -> dict[str, bytes]:
    """H(x) of all never-issued numbers: what anyone can compute."""
    return {
        number: oprf.hash_to_group(identifiers.frame("nl.bsn", number))
        for number in identifiers.test_bsns()
    }


def guesses(
    numbers: dict[str, bytes], keyholder: dict[int, bytes] | None, index: IndexKeys
) -> dict[UUID, str]:
    """The look-up tokens that a thief with these keys works out; None is a key he lacks."""
    key = domain_key(keyholder[1], DOMAIN, 1) if keyholder else None
    elements = oprf.multiply_all(key, list(numbers.values())) if key else list(numbers.values())
    return {
        index.token(DOMAIN, 1, element).lookup: number
        for number, element in zip(numbers, elements, strict=True)
    }


async def test_neither_key_alone_opens_a_copy_of_the_database_and_both_do(
    up: Up, hashed: dict[str, bytes]
) -> None:
    mine = [fresh_bsn() for _ in range(3)]
    for number in mine:
        await register(up, 0, [("bsn", number)])
    db = await asyncpg.connect(up.ready["databaseUrl"])
    stolen = {row["token"] for row in await db.fetch("SELECT token FROM matching.token")}
    await db.close()
    keyholder = keyfile.read_epochs(up.data / "keys" / keyfile.KEYHOLDER)
    index = IndexKeys.load(up.data / "keys" / keyfile.INDEX)
    invented = IndexKeys({1: secrets.token_bytes(32)}, secrets.token_bytes(32))

    with_the_key_holders = guesses(hashed, keyholder, invented)
    with_the_indexs = guesses(hashed, None, index)
    with_both = guesses(hashed, keyholder, index)

    assert len(hashed) == 9091
    assert not stolen & with_the_key_holders.keys()
    assert not stolen & with_the_indexs.keys()
    assert set(mine) <= {with_both[token] for token in stolen & with_both.keys()}


async def test_nothing_secret_stands_in_a_table_in_redis_or_in_a_log(up: Up) -> None:
    child, mother = fresh_bsn(), fresh_bsn()
    mark = secrets.token_hex(4)
    surname = mark.translate(str.maketrans("0123456789", "GHIJKLMNOP")).upper()
    marks = [child, mother, surname, f"name-{mark}", f"+31 {int(mark, 16)}", f"D-{mark}"]
    values = [("bsn", child), ("parent", mother), ("address", f"1811AB|12||{surname}")]
    details = {"name": marks[3], "phone": marks[4], "reference": marks[5]}
    marks += [await register(up, place, values, **details) for place in (0, 1)]
    await register(up, 2, [("demographic", f"{surname}|2019-03-01|X"), ("parent", mother)])
    await mailed(Path(up.ready["mailDir"]), marks[-1])

    places = {
        "tables": await tables(up.ready["databaseUrl"]),
        "redis": await redis_values(up.ready["redisUrl"]),
        "logs": logs(up.data / "log"),
        "arguments": arguments(),
    }
    for place, content in places.items():
        assert content, place
        for secret in marks:
            assert secret.encode() not in content, place


async def mailed(folder: Path, recipient: str) -> None:
    async with asyncio.timeout(30):
        while not any(recipient.encode() in path.read_bytes() for path in folder.glob("*.eml")):
            await asyncio.sleep(0.1)


async def tables(url: str) -> bytes:
    """Every row of every table as text, with sealed bytes as they are."""
    db = await asyncpg.connect(url)
    names = await db.fetch(
        """
        SELECT format('%I.%I', schemaname, tablename) AS name
          FROM pg_tables
         WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
        """
    )
    content = b""
    for name in names:
        rows = await db.fetch(f"SELECT * FROM {name['name']}")  # noqa: S608
        content += b"".join(
            value if isinstance(value, bytes) else str(value).encode()
            for row in rows
            for value in row.values()
        )
    await db.close()
    return content


async def redis_values(url: str) -> bytes:
    async with connect(url) as redis:
        content = str(await redis.info()).encode()
        async for key in redis.scan_iter():
            content += key + (await redis.dump(key) or b"")
        return content


def logs(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.iterdir())


def arguments() -> bytes:
    """The command lines of all processes."""
    done = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True)
    return done.stdout


async def test_the_story_of_a_match_is_told_to_an_administrator_and_that_is_logged(
    up: Up,
) -> None:
    child = fresh_bsn()
    recipient = [await register(up, place, [("bsn", child)]) for place in (0, 1)][1]
    await mailed(Path(up.ready["mailDir"]), recipient)
    db = await asyncpg.connect(up.ready["databaseUrl"])
    number = await db.fetchval("SELECT number FROM matching.match ORDER BY matched_at DESC LIMIT 1")

    story = await audit(up, number)
    listing = await audit(up)

    assert number in story
    assert number in listing
    for event in ("signal.registered", "match.made", "delivery.started", "delivery.finished"):
        assert event in story
    assert recipient not in story
    looked = await db.fetchval(
        """
        SELECT count(*)
          FROM audit.entry
         WHERE event = 'matches.audited' AND detail ->> 'number' = $1
        """,
        number,
    )
    await db.close()
    assert looked == 1


async def audit(up: Up, number: str | None = None) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "vin", "audit", "matches"),
        *(("--number", number.lower()) if number else ()),
        env={"DATABASE_URL": up.ready["databaseUrl"], "PATH": "/usr/bin:/bin"},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()
