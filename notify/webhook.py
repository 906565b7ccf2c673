"""Webhooks: one signed POST to an organisation's own system on each match.

What it says is thin: who may see more fetches it over the API, which keeps a log of that.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

from aiohttp import (
    AddrInfoType,
    ClientConnectorError,
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    ConnectionTimeoutError,
    DummyCookieJar,
    InvalidURL,
    SocketFactoryType,
    TCPConnector,
    hdrs,
)
from aiohttp.abc import AbstractResolver, ResolveResult

from notify.attempts import Claim
from notify.carrier import UndeliveredError
from notify.retry import Outcome, Result
from notify.targets import TargetError, Targets
from schemas.database import Db

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer
    from asyncpg import Pool, Record

CONNECT_SECONDS = 10
TOTAL_SECONDS = 15
ANSWER_BYTES = 64 * 1024
LOOKUPS = 8
OK, GONE, TOO_MANY, UNAVAILABLE = range(200, 300), 410, 429, 503
HEADERS = {hdrs.USER_AGENT: "VIN", hdrs.ACCEPT_ENCODING: "identity"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """What to post, and where."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


class Composer(Protocol):
    """Knows webhooks and matches; wiring gives one, since it opens addresses and secrets."""

    async def compose(self, db: Db, held: Claim) -> Call | None:
        """Check again that there is something to tell, and write and sign it.

        Runs in the transaction that notes DATA: what it checked must hold until that ends.
        """
        ...

    async def disable(self, db: Db, held: Claim, url: str) -> None:
        """Tell the webhook nothing more, unless it has another URL by now."""
        ...


class Sender:
    """Posts to where the targets allow, with bounds on time and on what comes back."""

    def __init__(self, targets: Targets, guarded: ClientSession, trusted: ClientSession) -> None:
        self._targets = targets
        self._guarded = guarded
        self._trusted = trusted

    async def post(self, call: Call) -> Outcome:
        """Post once, following no redirect; without an answer it may have arrived."""
        try:
            url = self._targets.check(call.url)
            session = self._trusted if self._targets.trusts(url) else self._guarded
            async with session.post(
                url, data=call.body, headers=call.headers, allow_redirects=False
            ) as answer:
                with suppress(ClientError, OSError):
                    await answer.read()
                return _outcome(answer)
        except (TargetError, InvalidURL, ClientConnectorError, ConnectionTimeoutError):
            raise UndeliveredError(Outcome(Result.UNREACHABLE)) from None
        except (ClientError, OSError):
            raise UndeliveredError(Outcome(Result.UNANSWERED)) from None


@asynccontextmanager
async def open_sender(
    targets: Targets,
    tls: ssl.SSLContext | None = None,
    resolver: AbstractResolver | None = None,
) -> AsyncIterator[Sender]:
    """A sender with connections of its own."""
    names = resolver or Resolver()
    try:
        async with (
            make_session(names, tls, guard(targets)) as guarded,
            make_session(names, tls, make_socket) as trusted,
        ):
            yield Sender(targets, guarded, trusted)
    finally:
        await names.close()


def make_session(
    resolver: AbstractResolver, tls: ssl.SSLContext | None, sockets: SocketFactoryType
) -> ClientSession:
    connector = TCPConnector(
        resolver=resolver,
        use_dns_cache=False,
        ssl=tls or True,
        socket_factory=sockets,
        force_close=True,
    )
    return ClientSession(
        connector=connector,
        cookie_jar=DummyCookieJar(),
        headers=HEADERS,
        timeout=ClientTimeout(total=TOTAL_SECONDS, connect=CONNECT_SECONDS),
        trust_env=False,
        auto_decompress=False,
    )


def guard(targets: Targets) -> SocketFactoryType:
    """Makes sockets to permitted addresses only.

    It sees each address just before it is connected to: literals never pass a resolver, and
    a name may resolve to another address each time.
    """

    def make(info: AddrInfoType) -> socket.socket:
        if not targets.permits(ip_address(info[4][0])):
            raise OSError(errno.EACCES, "no target of webhooks")
        return make_socket(info)

    return make


def make_socket(info: AddrInfoType) -> socket.socket:
    family, kind, protocol, _, _ = info
    return BoundedSocket(family, kind, protocol)


class BoundedSocket(socket.socket):
    """Takes in what an answer may hold, with all that is around it; then it breaks.

    Bounds on the body alone would leave headers, interim answers and chunks without end.
    """

    _left = ANSWER_BYTES

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data = super().recv(self._room(size), flags)
        self._left -= len(data)
        return data

    def recv_into(self, buffer: "WriteableBuffer", size: int = 0, flags: int = 0, /) -> int:
        taken = super().recv_into(buffer, self._room(size or memoryview(buffer).nbytes), flags)
        self._left -= taken
        return taken

    def _room(self, size: int) -> int:
        if not self._left:
            raise OSError(errno.EMSGSIZE, "too long an answer")
        return min(size, self._left)


class Resolver(AbstractResolver):
    """Looks names up in threads of its own, so that slow name servers delay no mail."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS, "webhook-names")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        look_up = partial(socket.getaddrinfo, host, port, family, socket.SOCK_STREAM)
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        except UnicodeError:
            raise OSError(errno.EINVAL, "no name of a host") from None
        return [
            ResolveResult(
                hostname=host,
                host=str(address[0]),
                port=port,
                family=kind,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for kind, _, protocol, _, address in found
        ]

    async def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _outcome(answer: ClientResponse) -> Outcome:
    if answer.status in OK:
        return Outcome(Result.SENT, answer.status)
    if answer.status == GONE:
        raise UndeliveredError(Outcome(Result.REFUSED, GONE))
    wait = retry_after(answer.headers) if answer.status in {TOO_MANY, UNAVAILABLE} else None
    raise UndeliveredError(Outcome(Result.DEFERRED, answer.status, wait))


def retry_after(headers: Mapping[str, str]) -> timedelta | None:
    """How long a receiver asks us to wait (RFC 9110, 10.2.3); a date counts from its own."""
    text = headers.get(hdrs.RETRY_AFTER, "")
    if text.isascii() and text.isdigit():
        return timedelta(seconds=int(text[:9]))
    try:
        wait = parsedate_to_datetime(text) - parsedate_to_datetime(headers.get(hdrs.DATE, ""))
    except (TypeError, ValueError):
        return None
    return max(wait, timedelta())


@dataclass(frozen=True, slots=True)
class WebhookDesk:
    """What the webhook calls of a process have in common."""

    pool: "Pool[Record]"
    composer: Composer
    sender: Sender

    def carrier(self, held: Claim) -> "WebhookCarrier":
        return WebhookCarrier(self, held)

    async def prepare(self, db: Db, claims: Sequence[Claim]) -> None:
        """Each call is looked up by itself."""


class WebhookCarrier:
    """Carries one call to one webhook (`notify.carrier`)."""

    def __init__(self, desk: WebhookDesk, held: Claim) -> None:
        self._desk = desk
        self._held = held
        self._call = Call(url="", headers={}, body=b"")

    async def introduce(self) -> None:
        """Nothing is said before the call itself, which connects as well."""

    async def compose(self, db: Db) -> bytes:
        """A withdrawal that was committed before it wins; one after is too late for this call."""
        call = await self._desk.composer.compose(db, self._held)
        if call is None:
            raise UndeliveredError(Outcome(Result.SUPPRESSED))
        self._call = call
        return call.body

    async def hand_over(self, message: bytes) -> Outcome:
        """Call; who answers that he is gone for good is called no more."""
        try:
            return await self._desk.sender.post(replace(self._call, body=message))
        except UndeliveredError as error:
            if error.outcome.code == GONE:
                async with self._desk.pool.acquire() as db, db.transaction():
                    await self._desk.composer.disable(db, self._held, self._call.url)
            raise

    async def leave(self) -> None:
        """Nothing is kept open between calls."""
