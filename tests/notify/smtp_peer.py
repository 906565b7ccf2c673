"""A real SMTP server on the loopback that fails where a test tells it to."""

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final

# A fault strikes at CONNECT or at a verb; at CONTENT, once the server asked for the mail; at DOT,
# when it has all of it; or at ANSWER, when it has taken responsibility for it.
DROP: Final = "drop"
HANG: Final = "hang"

Hook = Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A mail that the server answered for."""

    sender: str
    recipient: str
    content: bytes
    encrypted: bool
    options: str = ""


class Moment:
    """A hook that holds a talk at one point until it is let go."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.passed = asyncio.Event()

    async def __call__(self) -> None:
        self.reached.set()
        await self.passed.wait()


class DroppedError(Exception):
    """The script cuts the line here."""


class Peer:
    """What the server got, and what it shall do: `faults[moment]` is used up one by one."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.port = 0
        self.accepted: list[Accepted] = []
        self.sessions = 0
        self.faults: dict[str, deque[str]] = defaultdict(deque)
        self.hooks: dict[str, Hook] = {}
        self.offers: list[str] = []
        self.tls = tls

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sessions += 1
        try:
            session = Session(self, reader, writer)
            SESSION.set(session)
            with suppress(DroppedError, ConnectionError, asyncio.IncompleteReadError):
                await session.talk()
        finally:
            writer.close()
        with suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()

    async def meet(self, moment: str, reply: str) -> str:
        """The reply that the script wants at this moment."""
        if moment in self.hooks:
            await self.hooks[moment]()
        fault = self.faults[moment].popleft() if self.faults[moment] else None
        if fault == DROP:
            raise DroppedError
        if fault == HANG:
            await asyncio.Event().wait()
        return fault or reply


class Session:
    def __init__(
        self, peer: Peer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.peer = peer
        self.reader = reader
        self.writer = writer
        self.encrypted = False
        self.sender = self.recipient = self.options = ""

    @property
    def port(self) -> int:
        """Where the client talks from."""
        found: int = self.writer.get_extra_info("peername")[1]
        return found

    async def talk(self) -> None:
        verbs = {
            "EHLO": self.ehlo,
            "STARTTLS": self.starttls,
            "MAIL": self.mail,
            "RCPT": self.rcpt,
            "DATA": self.data,
            "RSET": self.rset,
            "QUIT": self.quit,
        }
        await self.say("CONNECT", "220 peer")
        while line := (await self.reader.readline()).decode().strip():
            verb, _, rest = line.partition(" ")
            await verbs[verb](rest)

    async def say(self, moment: str, reply: str) -> bool:
        """Reply, and tell whether it was a yes."""
        reply = await self.peer.meet(moment, reply)
        self.writer.write(reply.encode() + b"\r\n")
        await self.writer.drain()
        return reply[0] in "23"

    async def ehlo(self, _: str) -> None:
        tls = ["STARTTLS"] if self.peer.tls and not self.encrypted else []
        *most, last = ["peer", *self.peer.offers, *tls]
        await self.say("EHLO", "".join(f"250-{each}\r\n" for each in most) + f"250 {last}")

    async def starttls(self, _: str) -> None:
        if await self.say("STARTTLS", "220 go") and self.peer.tls:
            await self.writer.start_tls(self.peer.tls)
            self.encrypted = True

    async def mail(self, rest: str) -> None:
        address, _, self.options = rest.removeprefix("FROM:").partition(" ")
        self.sender = address.strip("<>")
        await self.say("MAIL", "250 ok")

    async def rcpt(self, rest: str) -> None:
        address, _, options = rest.removeprefix("TO:").partition(" ")
        self.recipient = address.strip("<>")
        self.options = f"{self.options} {options}".strip()
        await self.say("RCPT", "250 ok")

    async def data(self, _: str) -> None:
        if not await self.say("DATA", "354 go"):
            return
        await self.peer.meet("CONTENT", "")
        content = await self.reader.readuntil(b"\r\n.\r\n")
        reply = await self.peer.meet("DOT", "250 ok")
        if reply.startswith("250"):
            mail = content.removesuffix(b".\r\n").replace(b"\r\n..", b"\r\n.")
            self.peer.accepted.append(
                Accepted(self.sender, self.recipient, mail, self.encrypted, self.options)
            )
        await self.say("ANSWER", reply)

    async def rset(self, _: str) -> None:
        self.sender = self.recipient = self.options = ""
        await self.say("RSET", "250 ok")

    async def quit(self, _: str) -> None:
        await self.say("QUIT", "221 bye")
        raise DroppedError


# Whose moment it is that the peer meets.
SESSION: ContextVar[Session] = ContextVar("SESSION")


@asynccontextmanager
async def peer_listening(tls: ssl.SSLContext | None = None) -> AsyncIterator[Peer]:
    peer = Peer(tls)
    async with listening(peer):
        yield peer


@asynccontextmanager
async def listening(peer: Peer) -> AsyncIterator[None]:
    """Let the peer serve on a port of its own."""
    talks: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(peer.serve(reader, writer))
        talks.add(task)
        task.add_done_callback(talks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    async with server:
        yield
        for task in talks:
            task.cancel()
        await asyncio.gather(*talks, return_exceptions=True)
