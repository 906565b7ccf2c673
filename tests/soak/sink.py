"""A mail server that accepts everything, and tells when: for measuring, as a program of its own.

Writes its port, then a line a mail: the monotonic clock, and the recipient.
"""

import asyncio
import sys
import time

YES = b"250 ok\r\n"
ANSWERS = {
    b"EHLO": b"250-sink\r\n250 PIPELINING\r\n",
    b"DATA": b"354 go\r\n",
    b"QUIT": b"221 bye\r\n",
}
DOT = b"\r\n.\r\n"


class Sink(asyncio.Protocol):
    """One session; knows no more of SMTP than VIN's side of it needs."""

    def __init__(self) -> None:
        self._held = b""
        self._recipient = b""
        self._in_mail = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        self._held += data
        while self._take():
            pass

    def _take(self) -> bool:
        end = DOT if self._in_mail else b"\r\n"
        taken, found, rest = self._held.partition(end)
        if not found:
            return False
        self._held = rest
        if self._in_mail:
            self._in_mail = False
            sys.stdout.write(f"{time.monotonic()} {self._recipient.decode()}\n")
            self._transport.write(YES)
        else:
            self._obey(taken)
        return True

    def _obey(self, line: bytes) -> None:
        verb = line[:4].upper()
        if verb == b"RCPT":
            self._recipient = line.partition(b"<")[2].partition(b">")[0]
        self._in_mail = verb == b"DATA"
        self._transport.write(ANSWERS.get(verb, YES))
        if verb == b"QUIT":
            self._transport.close()


async def main() -> None:
    server = await asyncio.get_running_loop().create_server(Sink, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1])
    while True:
        sys.stdout.flush()
        await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(main())
