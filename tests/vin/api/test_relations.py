"""The population register's feed over HTTP, against a whole running VIN."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterable
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from schemas.database import Db
from tests.bsns import fresh_bsn
from tests.contract.contract_client import Value
from tests.people import Crowd, Person, people
from tests.running import Up

Body = dict[str, Any]
LINE_BYTES = 64 * 1024


@pytest.fixture
async def crowd(up: Up) -> AsyncIterator[Crowd]:
    async with people(up) as hired:
        yield hired


@pytest.fixture
async def feed(crowd: Crowd) -> Person:
    """The population register: a client of its own, whose reporter is a counter only."""
    return await crowd.person(5)


@pytest.fixture
async def index(up: Up) -> AsyncIterator[Db]:
    db = await asyncpg.connect(up.ready["databaseUrl"])
    yield db
    await db.close()


async def told(feed: Person, child: Value, *family: Value, **members: object) -> Body:
    """A line on a child; its family is left out where none is given."""
    (key, *household), permit = await feed.client.evaluate(feed.reporter_id, [child, *family])
    key["kind"] = key.pop("role")
    line = {"child": key, "reporterId": feed.reporter_id, "permit": permit}
    return line | ({"household": household} if family else {}) | members


async def deliver(feed: Person, *lines: Body | bytes) -> list[Body]:
    """The answers to lines."""
    body = b"".join(
        (line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines
    )
    return [answer async for answer in stream(feed, [body])]


async def stream(feed: Person, chunks: Iterable[bytes]) -> AsyncIterator[Body]:
    client = feed.client

    async def sending() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    headers = {
        "Authorization": f"Bearer {await client.token()}",
        "Content-Type": "application/x-ndjson",
    }
    url = f"{client.api}/v1/relations/_import"
    async with client.session.post(url, data=sending(), headers=headers) as answer:
        assert answer.status == 200
        assert answer.content_type == "application/x-ndjson"
        assert answer.headers["Cache-Control"] == "no-store"
        async for line in answer.content:
            yield json.loads(line)


async def until(person: Person, expected: dict[str, str]) -> None:
    async with asyncio.timeout(20):
        while await person.knows() != expected:
            await asyncio.sleep(0.05)


async def test_m12_the_feed_overrides_what_reporters_supplied(crowd: Crowd, feed: Person) -> None:
    one, mother, other_mother = (
        ("bsn", fresh_bsn()),
        ("parent", fresh_bsn()),
        ("parent", fresh_bsn()),
    )
    a, b, c = [await crowd.person(place) for place in range(3)]
    await a.registers(one, mother)
    await b.registers(("bsn", fresh_bsn()), mother)
    await c.registers(("bsn", fresh_bsn()), other_mother)
    assert await a.knows() == {b.email: "household"}

    assert await deliver(feed, await told(feed, one, other_mother)) == [{"line": 1, "status": 200}]

    await until(a, {c.email: "household"})
    (lost,) = await b.matches()
    assert (lost["status"], lost["contact"]) == ("void", None)
    later = await crowd.person(3)
    await later.registers(one, mother)
    await until(later, {a.email: "child", c.email: "household"})


async def test_the_answer_does_not_tell_whether_a_child_is_known(
    crowd: Crowd, feed: Person, index: Db
) -> None:
    known, unknown = ("bsn", fresh_bsn()), ("bsn", fresh_bsn())
    await (await crowd.person(0)).registers(known)
    signals = await index.fetchval("SELECT count(*) FROM matching.signal")

    lines = [await told(feed, child, ("parent", fresh_bsn())) for child in (known, unknown)]
    first, second = await deliver(feed, *lines)

    assert (first.pop("line"), second.pop("line")) == (1, 2)
    assert first == second
    assert await index.fetchval("SELECT count(*) FROM matching.signal") == signals


async def test_one_bad_line_leaves_its_neighbours_alone(crowd: Crowd, feed: Person) -> None:
    good = [await told(feed, ("bsn", fresh_bsn())) for _ in range(3)]
    spent = await told(feed, ("bsn", fresh_bsn()))
    foreign = await told(await crowd.person(0), ("bsn", fresh_bsn()))
    unpaid = good[2] | {
        "household": (await told(feed, ("bsn", fresh_bsn()), ("parent", fresh_bsn())))["household"]
    }

    answers = await deliver(
        feed,
        good[0],
        b"{",
        b"",
        good[1] | {"movedTo": "Alkmaar", "extra": 1},
        b'{"x": "' + b"x" * LINE_BYTES + b'"}',
        spent,
        spent,
        foreign,
        unpaid,
        good[1],
        b"[" * 1000,
    )

    statuses = {answer["line"]: answer["status"] for answer in answers}
    assert statuses == {
        1: 200,
        2: 400,
        4: 400,
        5: 413,
        6: 200,
        7: 403,
        8: 403,
        9: 403,
        10: 200,
        11: 400,
    }
    problems = {answer["line"]: answer["problem"] for answer in answers if "problem" in answer}
    assert {fault["name"] for fault in problems[4]["invalidParams"]} == {"movedTo", "extra"}
    assert problems[7]["type"] == "urn:problem-type:vin:permit-spent"


async def test_lines_are_answered_while_the_body_still_comes(feed: Person) -> None:
    lines = [json.dumps(await told(feed, ("bsn", fresh_bsn()))).encode() + b"\n" for _ in range(2)]
    answered = asyncio.Event()

    async def sending() -> AsyncIterator[bytes]:
        yield lines[0][:10]
        yield lines[0][10:]
        await answered.wait()
        yield lines[1].rstrip()

    client = feed.client
    headers = {
        "Authorization": f"Bearer {await client.token()}",
        "Content-Type": "application/x-ndjson",
    }
    url = f"{client.api}/v1/relations/_import"
    async with client.session.post(url, data=sending(), headers=headers) as answer:
        first = json.loads(await answer.content.readline())
        answered.set()
        second = json.loads(await answer.content.readline())

    assert (first, second) == ({"line": 1, "status": 200}, {"line": 2, "status": 200})


async def test_a_feed_that_breaks_off_keeps_what_was_answered(feed: Person, index: Db) -> None:
    line = json.dumps(await told(feed, ("bsn", fresh_bsn()))).encode() + b"\n"
    before = await index.fetchval("SELECT count(*) FROM matching.permit")

    async def sending() -> AsyncIterator[bytes]:
        yield line + line[:20]
        await asyncio.sleep(60)

    client = feed.client
    headers = {
        "Authorization": f"Bearer {await client.token()}",
        "Content-Type": "application/x-ndjson",
    }
    url = f"{client.api}/v1/relations/_import"
    async with client.session.post(url, data=sending(), headers=headers) as answer:
        assert json.loads(await answer.content.readline()) == {"line": 1, "status": 200}
        answer.close()

    assert await index.fetchval("SELECT count(*) FROM matching.permit") == before + 1
    assert await deliver(feed, await told(feed, ("bsn", fresh_bsn()))) == [
        {"line": 1, "status": 200}
    ]


def memory_of(pid: int) -> int:
    """Kilobytes that a process has in memory."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise LookupError(pid)


def api_of(up: Up) -> int:
    """The process of the index's HTTP service."""
    children = Path(f"/proc/{up.process.pid}/task/{up.process.pid}/children").read_text().split()
    for child in children:
        if Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")[-2:-1] == [b"api"]:
            return int(child)
    raise LookupError(up.process.pid)


async def test_a_long_feed_does_not_grow_the_service(up: Up, feed: Person) -> None:
    """Forty megabytes of lines of which none is good."""
    api = api_of(up)
    await deliver(feed, b"{}")
    before = memory_of(api)
    chunk = (b'{"x":"' + b"x" * 60_000 + b'"}\n') * 16
    started = time.perf_counter()

    answers = [answer async for answer in stream(feed, (chunk for _ in range(40)))]

    assert [answer["line"] for answer in answers] == list(range(1, 641))
    assert {answer["status"] for answer in answers} == {400}
    assert memory_of(api) - before < 20_000
    assert time.perf_counter() - started < 60


async def test_g6_a_move_is_told_to_the_reporter_and_the_new_municipalitys_officer(
    up: Up, crowd: Crowd, feed: Person
) -> None:
    one, reporter = ("bsn", fresh_bsn()), await crowd.person(0)
    await reporter.registers(one, reference="D-4711")

    await deliver(feed, await told(feed, one, movedTo="GM0373"))

    officer = "regievoerder@gemeente-bergen.example"
    mails: dict[str, str] = {}
    async with asyncio.timeout(20):
        while mails.keys() != {reporter.email, officer}:
            await asyncio.sleep(0.1)
            for file in Path(up.ready["mailDir"]).glob("*.eml"):
                mail = message_from_bytes(file.read_bytes(), policy=default)
                text = mail.get_body(("plain",))
                assert text
                if mail["To"] == reporter.email or reporter.email in text.get_content():
                    mails[mail["To"]] = text.get_content()
    assert "D-4711" in mails[reporter.email]
    assert "D-4711" not in mails[officer]
    assert all("Bergen (NH.)" in " ".join(text.split()) for text in mails.values())


async def test_s11_a_death_in_the_feed_leaves_nothing(
    crowd: Crowd, feed: Person, index: Db
) -> None:
    one, reporter = ("bsn", fresh_bsn()), await crowd.person(0)
    await reporter.registers(one, ("parent", fresh_bsn()))

    assert await deliver(feed, await told(feed, one, deceased=True)) == [{"line": 1, "status": 200}]

    assert await reporter.client.listed("signals", reporter.reporter_id) == []
    signal = "SELECT count(*) FROM matching.token WHERE signal_id = $1::text::uuid"
    assert await index.fetchval(signal, reporter.signals[0]) == 0


@pytest.mark.parametrize("municipality", ["GM0361", "GM0363"])
async def test_s07_a_move_inside_or_outside_the_region_leaves_the_signal_with_its_reporter(
    crowd: Crowd, feed: Person, municipality: str
) -> None:
    one, reporter = ("bsn", fresh_bsn()), await crowd.person(0)
    await reporter.registers(one)
    before = await reporter.client.read("signals", reporter.signals[0])

    await deliver(feed, await told(feed, one, movedTo=municipality))

    assert await reporter.client.read("signals", reporter.signals[0]) == before
