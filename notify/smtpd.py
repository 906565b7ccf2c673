"""A small mail server (RFC 5321): hands each whole message to a function, then says 250.

With SIZE (RFC 1870), PIPELINING (RFC 2920), 8BITMIME (RFC 6152), SMTPUTF8 (RFC 6531) and
enhanced codes (RFC 2034); without TLS or log-in, so for this machine or a network of its own.
"""

import asyncio
import os
import re
import secrets
from asyncio import IncompleteReadError, LimitOverrunError, StreamReader, StreamWriter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TypeAlias

from notify.errors import NotifyError

MAX_LINE_BYTES = 2048  # RFC 5321 wants 1000 for text; commands with parameters may be longer
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_RECIPIENTS = 100
MAX_SESSIONS = 50
COMMAND_SECONDS = 300
MESSAGE_SECONDS = 600
EXTENSIONS = "250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n"
PATH = re.compile(r"(?P<word>FROM|TO): ?<(?P<address>[^<>\s]*)>(?P<parameters>.*)", re.IGNORECASE)
MAIL_PARAMETER = re.compile(r"SIZE=\d{1,20}|BODY=(?:7BIT|8BITMIME)|SMTPUTF8")


@dataclass(frozen=True, slots=True)
class Envelope:
    """A message as it came, its lines ended by CRLF; a bounce's `sender` is empty."""

    sender: str = field(repr=False)
    recipients: tuple[str, ...] = field(repr=False)
    data: bytes = field(repr=False)


class Refusal(StrEnum):
    """What this server says no with; 4xx invites to try again."""

    NOT_KEPT = "451 4.3.0 Cannot be kept now"
    MANY_RECIPIENTS = "452 4.5.3 Too many recipients"
    NOT_UTF8 = "500 5.5.2 Not UTF-8"
    UNKNOWN_COMMAND = "500 5.5.2 Unknown command"
    LONG_LINE = "500 5.5.6 Line too long"
    NO_ADDRESS = "501 5.1.3 Address missing"
    NO_NAME = "501 5.5.4 Name missing"
    SYNTAX = "501 5.5.4 Syntax error"
    NO_SENDER = "503 5.5.1 MAIL first"
    NOT_NOW = "503 5.5.1 Not now"
    NO_RECIPIENT = "503 5.5.1 RCPT first"
    NOBODY = "550 5.1.1 No such mailbox"
    BIG_MESSAGE = "552 5.3.4 Message too big"
    NOT_ASCII = "553 5.6.7 Address needs SMTPUTF8"
    BARE_NEWLINE = "554 5.6.0 Bare CR or LF"
    LONG_TEXT = "554 5.6.0 Line too long"
    UNKNOWN_PARAMETER = "555 5.5.4 Unknown parameter"


class RefusedError(NotifyError):
    """The message is the answer to the client: a code of 4xx or 5xx and a text."""


# Takes the responsibility for a message, or raises RefusedError; after OSError the client is
# told to try again.
Accept: TypeAlias = Callable[[Envelope], Awaitable[None]]
Admits: TypeAlias = Callable[[str], bool]


def everybody(_address: str) -> bool:
    return True


@asynccontextmanager
async def mail_folder_server(
    folder: Path, host: str = "127.0.0.1", port: int = 0
) -> AsyncIterator[int]:
    """Keep each message as a file in `folder` before it is accepted; yields the port."""
    await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)

    async def keep(envelope: Envelope) -> None:
        await asyncio.to_thread(write_mail, folder, envelope.data)

    async with smtp_server(keep, host, port) as bound:
        yield bound


@asynccontextmanager
async def smtp_server(
    accept: Accept, host: str, port: int, admits: Admits = everybody
) -> AsyncIterator[int]:
    """Hand each message to `accept` until the end of the context; yields the port.

    Only recipients that `admits` knows are let in. A given port can be shared by processes.
    """
    sessions: set[asyncio.Task[None]] = set()

    def connected(reader: StreamReader, writer: StreamWriter) -> None:
        if len(sessions) == MAX_SESSIONS:
            writer.write(b"421 4.3.2 Too many connections\r\n")
            writer.close()
        else:
            session = asyncio.create_task(_serve(_Session(reader, writer, accept, admits)))
            sessions.add(session)
            session.add_done_callback(sessions.discard)

    server = await asyncio.start_server(
        connected, host, port, limit=MAX_LINE_BYTES, reuse_port=port != 0
    )
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for session in sessions:
            session.cancel()
        await asyncio.gather(*sessions, return_exceptions=True)


def write_mail(folder: Path, data: bytes) -> None:
    """Put a message on the disk under a new random name; there is never half a file."""
    name = secrets.token_hex(16)
    fresh = folder / f".{name}"
    try:
        with open(fresh, "xb", opener=_open_private) as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(folder / f"{name}.eml")
        _sync(folder)
    finally:
        fresh.unlink(missing_ok=True)


def _open_private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@dataclass(slots=True)
class _Session:
    reader: StreamReader
    writer: StreamWriter
    accept: Accept
    admits: Admits
    greeted: bool = False
    utf8: bool = False
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)

    async def reply(self, answer: str) -> None:
        self.writer.write(f"{answer}\r\n".encode())
        async with asyncio.timeout(COMMAND_SECONDS):
            await self.writer.drain()

    def reset(self) -> None:
        self.sender = None
        self.recipients = []


async def _serve(session: _Session) -> None:
    try:
        await _converse(session)
    except TimeoutError:
        session.writer.write(b"421 4.4.2 Waited too long\r\n")
    except (ConnectionError, IncompleteReadError):
        pass  # the client left
    finally:
        session.writer.close()


async def _converse(session: _Session) -> None:
    await session.reply("220 vin ESMTP")
    answer = ""
    while not answer.startswith("221"):
        try:
            async with asyncio.timeout(COMMAND_SECONDS):
                line = await _read_line(session.reader)
            answer = await _answer(session, line)
        except RefusedError as error:
            answer = str(error)
        await session.reply(answer)


async def _read_line(reader: StreamReader) -> bytes | None:
    """Read up to the next CRLF; None stands for a line that was too long, read past its end."""
    fits = True
    while True:
        try:
            line = await reader.readuntil(b"\r\n")
        except LimitOverrunError as error:
            await reader.readexactly(error.consumed)
            fits = False
        else:
            return line if fits else None


async def _answer(session: _Session, line: bytes | None) -> str:
    if line is None:
        raise RefusedError(Refusal.LONG_LINE)
    try:
        text = line.removesuffix(b"\r\n").decode()
    except UnicodeDecodeError:
        raise RefusedError(Refusal.NOT_UTF8) from None
    verb, _, rest = text.partition(" ")
    if verb.upper() not in COMMANDS or not text.isprintable():
        raise RefusedError(Refusal.UNKNOWN_COMMAND)
    return await COMMANDS[verb.upper()](session, rest.strip())


async def _ehlo(session: _Session, rest: str) -> str:
    await _helo(session, rest)
    return f"250-vin\r\n{EXTENSIONS}250 SIZE {MAX_MESSAGE_BYTES}"


async def _helo(session: _Session, rest: str) -> str:
    if not rest:
        raise RefusedError(Refusal.NO_NAME)
    session.reset()
    session.greeted = True
    return "250 vin"


async def _mail(session: _Session, rest: str) -> str:
    if not session.greeted or session.sender is not None:
        raise RefusedError(Refusal.NOT_NOW)
    address, parameters = _path("FROM", rest)
    for parameter in parameters:
        if not MAIL_PARAMETER.fullmatch(parameter):
            raise RefusedError(Refusal.UNKNOWN_PARAMETER)
        if parameter.startswith("SIZE=") and int(parameter[5:]) > MAX_MESSAGE_BYTES:
            raise RefusedError(Refusal.BIG_MESSAGE)
    session.utf8 = "SMTPUTF8" in parameters
    session.sender = _ascii_unless(address, utf8=session.utf8)
    return "250 2.1.0 OK"


async def _rcpt(session: _Session, rest: str) -> str:
    if session.sender is None:
        raise RefusedError(Refusal.NO_SENDER)
    address, parameters = _path("TO", rest)
    if parameters:
        raise RefusedError(Refusal.UNKNOWN_PARAMETER)
    if not address:
        raise RefusedError(Refusal.NO_ADDRESS)
    if len(session.recipients) == MAX_RECIPIENTS:
        raise RefusedError(Refusal.MANY_RECIPIENTS)
    if not session.admits(_ascii_unless(address, utf8=session.utf8)):
        raise RefusedError(Refusal.NOBODY)
    session.recipients.append(address)
    return "250 2.1.5 OK"


def _path(word: str, rest: str) -> tuple[str, list[str]]:
    found = PATH.fullmatch(rest)
    if not found or found["word"].upper() != word:
        raise RefusedError(Refusal.SYNTAX)
    return found["address"], found["parameters"].upper().split()


def _ascii_unless(address: str, *, utf8: bool) -> str:
    if not (utf8 or address.isascii()):
        raise RefusedError(Refusal.NOT_ASCII)
    return address


async def _data(session: _Session, rest: str) -> str:
    if rest:
        raise RefusedError(Refusal.UNKNOWN_PARAMETER)
    if session.sender is None or not session.recipients:
        raise RefusedError(Refusal.NO_RECIPIENT)
    sender, recipients = session.sender, tuple(session.recipients)
    session.reset()
    await session.reply("354 Go ahead")
    async with asyncio.timeout(MESSAGE_SECONDS):
        data = await _read_message(session.reader)
    try:
        await session.accept(Envelope(sender, recipients, data))
    except OSError:
        raise RefusedError(Refusal.NOT_KEPT) from None
    return "250 2.0.0 OK"


async def _read_message(reader: StreamReader) -> bytes:
    """Read to the line with a dot alone; a fault is told only then, as the protocol wants."""
    body, fault = bytearray(), None
    while (line := await _read_line(reader)) != b".\r\n":
        fault = fault or _fault(line, len(body))
        if line and not fault:
            body += line.removeprefix(b".")
    if fault:
        raise RefusedError(fault)
    return bytes(body)


def _fault(line: bytes | None, before: int) -> Refusal | None:
    if line is None:
        return Refusal.LONG_TEXT
    # Elsewhere a bare CR or LF may end a line, and so smuggle in a second message.
    if b"\r" in line[:-2] or b"\n" in line[:-2]:
        return Refusal.BARE_NEWLINE
    return Refusal.BIG_MESSAGE if before + len(line) > MAX_MESSAGE_BYTES else None


async def _rset(session: _Session, _rest: str) -> str:
    session.reset()
    return "250 2.0.0 OK"


async def _noop(_session: _Session, _rest: str) -> str:
    return "250 2.0.0 OK"


async def _quit(_session: _Session, _rest: str) -> str:
    return "221 2.0.0 Bye"


COMMANDS: Mapping[str, Callable[[_Session, str], Awaitable[str]]] = {
    "EHLO": _ehlo,
    "HELO": _helo,
    "MAIL": _mail,
    "RCPT": _rcpt,
    "DATA": _data,
    "RSET": _rset,
    "NOOP": _noop,
    "QUIT": _quit,
}
