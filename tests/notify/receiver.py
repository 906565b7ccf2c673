"""A receiver of webhooks that answers as a test wants it to, also in ways no library would."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Request:
    """What was posted; names of headers are in lower case."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """What a receiver saw, and how it answers."""

    answer: Answer
    host: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    requests: list[Request] = field(default_factory=list)
    open: list["asyncio.Task[None]"] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}/hook?key=1"

    def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.append(asyncio.create_task(self.serve(reader, writer)))

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                self.requests.append(await read_request(reader))
                await self.answer(writer)
        finally:
            writer.transport.abort()

    async def end(self) -> None:
        for task in self.open:
            task.cancel()
        if self.open:
            await asyncio.wait(self.open)


async def read_request(reader: asyncio.StreamReader) -> Request:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = {
        name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(head[0].split()[1], headers, body)


def says(status: str, *headers: str, body: bytes = b"") -> Answer:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "", ""]

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode() + body)
        await writer.drain()
        writer.write_eof()

    return answer


@asynccontextmanager
async def receiving(
    answer: Answer | None = None,
    tls: ssl.SSLContext | None = None,
    like: Receiver | None = None,
) -> AsyncIterator[Receiver]:
    """A receiver; one that is `like` another has its port, at another address of this machine."""
    receiver = Receiver(answer or says("204 No Content"))
    if like:
        receiver.host, receiver.port = "127.0.0.2", like.port
    server = await asyncio.start_server(receiver.take, receiver.host, receiver.port, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        await receiver.end()
        await server.wait_closed()
