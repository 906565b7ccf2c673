import asyncio
import gzip
import socket
import ssl
import tracemalloc
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from aiohttp import ClientError
from aiohttp.abc import AbstractResolver, ResolveResult
from multidict import CIMultiDict

from notify import webhook
from notify.attempts import Claim
from notify.carrier import UndeliveredError
from notify.ledger import Channel
from notify.retry import Outcome, Result
from notify.targets import PUBLIC_ONLY, Targets
from notify.webhook import (
    Call,
    Resolver,
    Sender,
    WebhookCarrier,
    WebhookDesk,
    guard,
    make_session,
    open_sender,
    retry_after,
)
from schemas.database import Db
from tests.notify.receiver import Answer, receiving, says
from tests.notify.tls import make_authority

if TYPE_CHECKING:
    from asyncpg import Pool, Record

LOOPBACK = Targets.parse("127.0.0.1")


def call(url: str) -> Call:
    headers = {"content-type": "application/json", "webhook-id": "msg-1"}
    return Call(url=url, headers=headers, body=b'{"matchNumber":"M-1"}')


async def post(url: str, targets: Targets = LOOPBACK) -> Outcome:
    """How one call ends, well or not."""
    async with open_sender(targets) as sender:
        return await end_of(sender, url)


async def end_of(sender: Sender, url: str) -> Outcome:
    try:
        return await sender.post(call(url))
    except UndeliveredError as error:
        return error.outcome


async def answered(answer: Answer) -> Outcome:
    async with receiving(answer) as receiver:
        return await post(receiver.url)


@dataclass
class Names(AbstractResolver):
    """Looks up what a test says, in turn; a receiver's port goes with it."""

    port: int
    addresses: list[str]
    asked: list[str] = field(default_factory=list)

    async def resolve(
        self,
        host: str,
        port: int = 0,  # noqa: ARG002 - the interface
        family: socket.AddressFamily = socket.AF_UNSPEC,  # noqa: ARG002 - the interface
    ) -> list[ResolveResult]:
        self.asked.append(host)
        address = self.addresses[min(len(self.asked), len(self.addresses)) - 1]
        kind = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [
            ResolveResult(
                hostname=host, host=address, port=self.port, family=kind, proto=0, flags=0
            )
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "202 Accepted", "204 No Content"])
async def test_any_2xx_is_an_answer(status: str) -> None:
    assert await answered(says(status)) == Outcome(Result.SENT, int(status[:3]))


async def test_the_receiver_gets_what_was_signed_and_nothing_of_ours() -> None:
    async with receiving() as receiver:
        await post(receiver.url)

    (request,) = receiver.requests
    assert request.path == "/hook?key=1"
    assert request.body == b'{"matchNumber":"M-1"}'
    assert request.headers["webhook-id"] == "msg-1"
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"] == "VIN"


@pytest.mark.parametrize("status", ["400 Bad", "401 No", "404 Absent", "418 Tea", "500 Broken"])
async def test_a_refusal_is_tried_again_later(status: str) -> None:
    assert await answered(says(status)) == Outcome(Result.DEFERRED, int(status[:3]))


async def test_who_is_gone_is_refused_for_good() -> None:
    assert await answered(says("410 Gone")) == Outcome(Result.REFUSED, 410)


@pytest.mark.parametrize(
    "status", ["301 There", "302 There", "303 There", "307 There", "308 There"]
)
async def test_a_redirect_is_a_failure_and_is_not_followed(status: str) -> None:
    async with receiving() as elsewhere:
        outcome = await answered(says(status, f"Location: {elsewhere.url}"))

    assert outcome == Outcome(Result.DEFERRED, int(status[:3]))
    assert elsewhere.connections == 0


@pytest.mark.parametrize("status", ["429 Too Many Requests", "503 Unavailable"])
async def test_who_asks_to_wait_is_left_alone_that_long(status: str) -> None:
    outcome = await answered(says(status, "Retry-After: 120"))

    assert outcome == Outcome(Result.DEFERRED, int(status[:3]), timedelta(minutes=2))


async def test_other_refusals_have_no_say_in_the_wait() -> None:
    assert (await answered(says("500 Broken", "Retry-After: 120"))).retry_after is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "99999999999999999999"}, 999999999),
        (
            {
                "Date": "Sun, 22 Nov 2026 09:00:00 GMT",
                "Retry-After": "Sun, 22 Nov 2026 09:01:30 GMT",
            },
            90,
        ),
        (
            {
                "Date": "Sun, 22 Nov 2026 09:00:00 GMT",
                "Retry-After": "Sat, 21 Nov 2026 09:00:00 GMT",
            },
            0,
        ),
        ({"Retry-After": "Sun, 22 Nov 2026 09:01:30 GMT"}, None),
        ({"Date": "Sun, 22 Nov 2026 09:00:00 -0000", "Retry-After": "soon"}, None),
        (
            {
                "Date": "Sun, 22 Nov 2026 09:00:00 -0000",
                "Retry-After": "Sun, 22 Nov 2026 09:01:30 GMT",
            },
            None,
        ),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "١٢"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: Mapping[str, str], seconds: int | None) -> None:
    wait = None if seconds is None else timedelta(seconds=seconds)

    assert retry_after(CIMultiDict(headers)) == wait


async def never(_: asyncio.StreamWriter) -> None:
    await asyncio.sleep(60)


async def nothing(_: asyncio.StreamWriter) -> None:
    """Close the connection."""


async def half_a_line(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 20")
    await writer.drain()


UNCLEAR = {
    "nothing": nothing,
    "half a line": half_a_line,
    "no status": says("nonsense"),
    "too long a header": says("200 OK", "X: " + "a" * 9999),
}


@pytest.mark.parametrize("answer", UNCLEAR.values(), ids=UNCLEAR)
async def test_without_a_clear_answer_it_may_have_arrived(answer: Answer) -> None:
    assert await answered(answer) == Outcome(Result.UNANSWERED)


async def test_who_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webhook, "TOTAL_SECONDS", 0.2)

    async with receiving(never) as receiver, asyncio.timeout(5):
        assert await post(receiver.url) == Outcome(Result.UNANSWERED)


async def test_nobody_who_listens_is_out_of_reach() -> None:
    async with receiving() as receiver:
        pass

    assert await post(receiver.url) == Outcome(Result.UNREACHABLE)


@pytest.mark.parametrize("host", ["a" * 64 + ".example", "nobody.invalid"])
async def test_a_name_that_is_not_found_is_out_of_reach(host: str) -> None:
    assert await post(f"https://{host}/") == Outcome(Result.UNREACHABLE)


async def test_slow_names_are_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Names):
        async def resolve(self, *_: object, **__: object) -> list[ResolveResult]:
            await asyncio.sleep(60)
            return []

    monkeypatch.setattr(webhook, "CONNECT_SECONDS", 0.2)
    async with open_sender(PUBLIC_ONLY, resolver=Slow(0, [])) as sender, asyncio.timeout(5):
        assert await end_of(sender, "https://slow.example/") == Outcome(Result.UNREACHABLE)


async def test_an_endless_answer_is_cut_off() -> None:
    cut = asyncio.Event()

    async def endless(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                writer.write(bytes(65536))
                await writer.drain()
        finally:
            cut.set()

    async with asyncio.timeout(5):
        assert await answered(endless) == Outcome(Result.SENT, 200)
        await cut.wait()


def endlessly(start: bytes, more: bytes) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while True:
            writer.write(more * 1000)
            await writer.drain()

    return answer


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
ENDLESS = {
    "interim answers": (endlessly(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"), Result.UNANSWERED),
    "headers": (endlessly(b"HTTP/1.1 200 OK\r\n", b"X: 1\r\n"), Result.UNANSWERED),
    "a chunk's extension": (endlessly(CHUNKED + b"1;", b"a"), Result.SENT),
}


@pytest.mark.parametrize(("answer", "result"), ENDLESS.values(), ids=ENDLESS)
async def test_nothing_in_an_answer_goes_on_without_end(
    authority: tuple[ssl.SSLContext, Path], answer: Answer, result: Result
) -> None:
    serving, certificate = authority
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with receiving(answer) as plain, receiving(answer, tls=serving) as sealed:
        names = Names(sealed.port, ["127.0.0.1"])
        async with open_sender(LOOPBACK, trusting, names) as sender, asyncio.timeout(5):
            ends = [await end_of(sender, plain.url), await end_of(sender, "https://hooks.example/")]

    assert [end.result for end in ends] == [result, result]


async def test_a_dripping_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    async def drip(writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 202 Accepted\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.05)

    monkeypatch.setattr(webhook, "TOTAL_SECONDS", 0.3)
    async with asyncio.timeout(5):
        assert await answered(drip) == Outcome(Result.SENT, 202)


async def test_a_packed_answer_is_not_unpacked() -> None:
    packed = gzip.compress(bytes(60_000_000))
    bomb = says("200 OK", "Content-Encoding: gzip", body=packed[:60_000])
    tracemalloc.start()
    try:
        assert await answered(bomb) == Outcome(Result.SENT, 200)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < 600_000


async def test_a_cookie_is_not_kept() -> None:
    targets = Targets.parse("case.intern.example")
    async with receiving(says("200 OK", "Set-Cookie: a=b; Path=/")) as receiver:
        names = Names(receiver.port, ["127.0.0.1"])
        async with open_sender(targets, resolver=names) as sender:
            for _ in range(2):
                await sender.post(call("http://case.intern.example/"))

    assert [("cookie" in request.headers) for request in receiver.requests] == [False, False]


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as proxy, receiving() as receiver:
        monkeypatch.setenv("http_proxy", proxy.url)
        monkeypatch.delenv("no_proxy", raising=False)
        await post(receiver.url)

    assert (proxy.connections, receiver.connections) == (0, 1)


# Where a call may go


LEADING_INSIDE = ["127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "::1", "10.0.0.1", "fe80::1"]


@pytest.mark.parametrize("address", LEADING_INSIDE)
async def test_a_name_that_leads_inside_is_not_connected_to(address: str) -> None:
    async with receiving() as receiver:
        names = Names(receiver.port, [address])
        async with open_sender(PUBLIC_ONLY, resolver=names) as sender:
            outcome = await end_of(sender, "https://hooks.example/")

    assert outcome == Outcome(Result.UNREACHABLE)
    assert names.asked == ["hooks.example"]
    assert receiver.connections == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "0x7f.1", "2130706433", "localhost"])
async def test_no_spelling_of_our_own_machine_is_connected_to(host: str) -> None:
    session = make_session(Resolver(), None, guard(PUBLIC_ONLY))
    async with receiving() as receiver, session:
        with pytest.raises(ClientError):
            await session.post(f"http://{host}:{receiver.port}/")

    assert receiver.connections == 0


async def test_an_operator_may_list_a_host_by_name() -> None:
    async with receiving() as receiver:
        names = Names(receiver.port, ["127.0.0.1"])
        targets = Targets.parse("case.intern.example")
        async with open_sender(targets, resolver=names) as sender:
            listed = await end_of(sender, "http://case.intern.example:8080/")
            other = await end_of(sender, "https://other.intern.example/")

    assert (listed.result, other.result) == (Result.SENT, Result.UNREACHABLE)
    assert receiver.connections == 1


async def test_a_listed_network_makes_no_name_a_plain_target() -> None:
    async with receiving() as receiver:
        names = Names(receiver.port, ["127.0.0.1"])
        async with open_sender(LOOPBACK, resolver=names) as sender:
            outcome = await end_of(sender, "http://hooks.example/")

    assert outcome == Outcome(Result.UNREACHABLE)
    assert receiver.connections == 0


async def test_what_is_listed_no_more_is_out_of_reach() -> None:
    async with receiving() as receiver:
        assert await post(receiver.url, PUBLIC_ONLY) == Outcome(Result.UNREACHABLE)

    assert receiver.connections == 0


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, Path]:
    return make_authority(tmp_path_factory.mktemp("tls"), "hooks.example")


@pytest.mark.parametrize(
    ("host", "known", "result"),
    [
        ("hooks.example", True, Result.SENT),
        ("hooks.example", False, Result.UNREACHABLE),
        ("other.example", True, Result.UNREACHABLE),
    ],
)
async def test_a_receiver_proves_its_name(
    authority: tuple[ssl.SSLContext, Path], host: str, *, known: bool, result: Result
) -> None:
    serving, certificate = authority
    trusting = ssl.create_default_context(cafile=str(certificate)) if known else None
    async with receiving(tls=serving) as receiver:
        names = Names(receiver.port, ["127.0.0.1"])
        async with open_sender(LOOPBACK, trusting, names) as sender:
            outcome = await end_of(sender, f"https://{host}/")

    assert outcome.result is result
    assert len(receiver.requests) == (result is Result.SENT)


async def test_a_name_that_changes_its_mind_is_judged_each_time(
    authority: tuple[ssl.SSLContext, Path],
) -> None:
    serving, certificate = authority
    trusting = ssl.create_default_context(cafile=str(certificate))
    async with receiving(tls=serving) as listed, receiving(like=listed) as inside:
        names = Names(listed.port, ["127.0.0.1", inside.host])
        async with open_sender(LOOPBACK, trusting, names) as sender:
            first = await end_of(sender, "https://hooks.example/")
            second = await end_of(sender, "https://hooks.example/")

    assert (first.result, second.result) == (Result.SENT, Result.UNREACHABLE)
    assert (listed.connections, inside.connections) == (1, 0)


# The carrier


@dataclass
class Book:
    """What wiring's composer would know."""

    call: Call | None
    disabled: list[str] = field(default_factory=list)

    async def compose(self, _db: Db, _held: Claim) -> Call | None:
        return self.call

    async def disable(self, _db: Db, _held: Claim, url: str) -> None:
        self.disabled.append(url)


HELD = Claim(uuid4(), uuid4(), Channel.WEBHOOK, 1, datetime(2026, 11, 22, tzinfo=UTC))


@asynccontextmanager
async def carrying(pool: "Pool[Record]", book: Book) -> AsyncIterator[WebhookCarrier]:
    async with open_sender(LOOPBACK) as sender:
        carrier = WebhookDesk(pool, book, sender).carrier(HELD)
        await carrier.introduce()
        yield carrier
        await carrier.leave()


async def test_a_call_is_carried_step_by_step(pool: "Pool[Record]") -> None:
    async with receiving() as receiver:
        book = Book(call(receiver.url))
        async with carrying(pool, book) as carrier, pool.acquire() as db:
            assert await carrier.hand_over(await carrier.compose(db)) == Outcome(Result.SENT, 204)

    assert receiver.requests[0].body == call("").body
    assert book.disabled == []


async def test_there_may_be_nothing_to_tell_any_more(pool: "Pool[Record]") -> None:
    async with carrying(pool, Book(None)) as carrier, pool.acquire() as db:
        with pytest.raises(UndeliveredError) as ended:
            await carrier.compose(db)

    assert ended.value.outcome == Outcome(Result.SUPPRESSED)


@pytest.mark.parametrize(("status", "disabled"), [("410 Gone", 1), ("404 Absent", 0)])
async def test_who_is_gone_is_called_no_more(
    pool: "Pool[Record]", status: str, disabled: int
) -> None:
    async with receiving(says(status)) as receiver:
        book = Book(call(receiver.url))
        async with carrying(pool, book) as carrier, pool.acquire() as db:
            with pytest.raises(UndeliveredError):
                await carrier.hand_over(await carrier.compose(db))

    assert book.disabled == [receiver.url] * disabled


def test_neither_url_nor_secret_shows() -> None:
    assert "hook" not in repr(call("https://hooks.example/"))
    assert "msg" not in repr(call("https://hooks.example/"))
