"""The small mail server, talked to as clients do and as they should not."""

import asyncio
import os
import stat
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import aiosmtplib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notify import smtpd
from notify.smtpd import Envelope, RefusedError, mail_folder_server, smtp_server, write_mail

HOST = "127.0.0.1"
LETTER = b"Subject: hello\r\n\r\nA line.\r\n"


@dataclass
class Inbox:
    """Accepts every message, or raises what a test put there."""

    envelopes: list[Envelope] = field(default_factory=list)
    error: Exception | None = None

    async def accept(self, envelope: Envelope) -> None:
        if self.error:
            raise self.error
        self.envelopes.append(envelope)


@dataclass(frozen=True)
class Talk:
    """A client that writes lines and reads one answer for each."""

    reader: StreamReader
    writer: StreamWriter

    async def say(self, *lines: str | bytes) -> list[str]:
        """Send all lines at once, then read as many answers; of a long answer the last line."""
        for line in lines:
            self.writer.write((line if isinstance(line, bytes) else line.encode()) + b"\r\n")
        return [await self.answer() for _ in lines]

    async def answer(self) -> str:
        line = (await self.reader.readline()).decode()
        while line[3:4] == "-":
            line = (await self.reader.readline()).decode()
        return line.rstrip()

    async def send(self, data: bytes) -> str:
        """Send a whole message; the answer to its last dot."""
        answers = await self.say("MAIL FROM:<a@x.test>", "RCPT TO:<b@x.test>", "DATA")
        assert answers[-1] == "354 Go ahead"
        self.writer.write(data + b".\r\n")
        return await self.answer()


@asynccontextmanager
async def talking(port: int, *, greet: bool = True) -> AsyncIterator[Talk]:
    reader, writer = await asyncio.open_connection(HOST, port)
    talk = Talk(reader, writer)
    try:
        assert (await talk.answer()).startswith("220 ")
        if greet:
            await talk.say("EHLO client")
        yield talk
    finally:
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def inbox_and_talk(*, greet: bool = True) -> AsyncIterator[tuple[Inbox, Talk]]:
    inbox = Inbox()
    async with smtp_server(inbox.accept, HOST, 0) as port, talking(port, greet=greet) as talk:
        yield inbox, talk


def codes(answers: list[str]) -> list[str]:
    return [answer[:3] for answer in answers]


def letter(text: str = "Goedemorgen.\n") -> EmailMessage:
    message = EmailMessage(policy=SMTP)
    message["From"], message["To"], message["Subject"] = "a@x.test", "b@x.test", "Bericht"
    message.set_content(text)
    return message


async def test_a_mail_is_a_whole_private_file_before_it_is_accepted(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    async with mail_folder_server(folder) as port, talking(port) as talk:
        assert await talk.send(LETTER) == "250 2.0.0 OK"
        (mail,) = folder.iterdir()

        assert mail.suffix == ".eml"
        assert mail.read_bytes() == LETTER
        assert stat.S_IMODE(mail.stat().st_mode) == 0o600
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_each_mail_gets_a_file_of_its_own(tmp_path: Path) -> None:
    async def send(port: int) -> None:
        async with talking(port) as talk:
            for _ in range(5):
                await talk.send(LETTER)

    async with mail_folder_server(tmp_path) as port:
        await asyncio.gather(*(send(port) for _ in range(10)))

    assert len(list(tmp_path.glob("*.eml"))) == 50
    assert len(list(tmp_path.iterdir())) == 50


async def test_a_mail_that_cannot_be_kept_is_not_accepted_yet(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    async with mail_folder_server(folder) as port, talking(port) as talk:
        folder.rename(tmp_path / "away")
        assert await talk.send(LETTER) == "451 4.3.0 Cannot be kept now"

        (tmp_path / "away").rename(folder)
        assert await talk.send(LETTER) == "250 2.0.0 OK"


def test_a_file_that_cannot_be_finished_is_not_left_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_mail(tmp_path, LETTER)

    assert not list(tmp_path.iterdir())


async def test_a_common_client_is_understood() -> None:
    inbox = Inbox()
    message = letter("Zoë\n.\n..twee\n")
    async with (
        smtp_server(inbox.accept, HOST, 0) as port,
        aiosmtplib.SMTP(hostname=HOST, port=port) as client,
    ):
        await client.send_message(message)
        await client.send_message(letter(), sender="a@x.test", recipients=["c@x.test", "d@x.test"])

    assert inbox.envelopes[0] == Envelope("a@x.test", ("b@x.test",), message.as_bytes())
    assert inbox.envelopes[1].recipients == ("c@x.test", "d@x.test")


async def test_the_extensions_are_offered() -> None:
    async with smtp_server(Inbox().accept, HOST, 0) as port:
        client = aiosmtplib.SMTP(hostname=HOST, port=port)
        await client.connect()
        await client.ehlo()
        offered = set(client.esmtp_extensions)
        await client.quit()

    assert offered == {"pipelining", "8bitmime", "smtputf8", "enhancedstatuscodes", "size"}


async def test_commands_may_come_all_at_once() -> None:
    async with inbox_and_talk(greet=False) as (inbox, talk):
        answers = await talk.say(
            "HELO client",
            "MAIL FROM:<> BODY=8BITMIME SIZE=100",
            "rcpt to: <b@x.test>",
            "NOOP",
            "RSET",
            "MAIL FROM:<a@x.test>",
            "RCPT TO:<c@x.test>",
            "DATA",
        )
        assert codes(answers) == ["250", "250", "250", "250", "250", "250", "250", "354"]
        assert codes(await talk.say(LETTER + b".", "QUIT")) == ["250", "221"]
        assert await talk.reader.read() == b""

    assert inbox.envelopes == [Envelope("a@x.test", ("c@x.test",), LETTER)]


@pytest.mark.parametrize(
    ("lines", "answer"),
    [
        (["VRFY b"], "500 5.5.2 Unknown command"),
        (["NOOP\rQUIT"], "500 5.5.2 Unknown command"),
        ([b"NOOP \xff"], "500 5.5.2 Not UTF-8"),
        (["NOOP " + "x" * 5000], "500 5.5.6 Line too long"),
        (["EHLO"], "501 5.5.4 Name missing"),
        (["MAIL"], "501 5.5.4 Syntax error"),
        (["MAIL TO:<a@x.test>"], "501 5.5.4 Syntax error"),
        (["MAIL FROM:a@x.test"], "501 5.5.4 Syntax error"),
        (["MAIL FROM:<a@x.test> RET=HDRS"], "555 5.5.4 Unknown parameter"),
        (["MAIL FROM:<a@x.test> SIZE=9999999"], "552 5.3.4 Message too big"),
        (["MAIL FROM:<é@x.test>"], "553 5.6.7 Address needs SMTPUTF8"),
        (["MAIL FROM:<a@x.test>", "MAIL FROM:<a@x.test>"], "503 5.5.1 Not now"),
        (["RCPT TO:<b@x.test>"], "503 5.5.1 MAIL first"),
        (["MAIL FROM:<>", "RCPT TO:<>"], "501 5.1.3 Address missing"),
        (["MAIL FROM:<>", "RCPT TO:<b@x.test> NOTIFY=NEVER"], "555 5.5.4 Unknown parameter"),
        (["MAIL FROM:<>", "RCPT TO:<é@x.test>"], "553 5.6.7 Address needs SMTPUTF8"),
        (["DATA"], "503 5.5.1 RCPT first"),
        (["MAIL FROM:<>", "DATA"], "503 5.5.1 RCPT first"),
        (["MAIL FROM:<>", "RCPT TO:<b@x.test>", "DATA now"], "555 5.5.4 Unknown parameter"),
        (["MAIL FROM:<é@x.test> SMTPUTF8", "RCPT TO:<ü@x.test>"], "250 2.1.5 OK"),
    ],
)
async def test_what_does_not_fit_is_refused_and_the_talk_goes_on(
    lines: list[str | bytes], answer: str
) -> None:
    async with inbox_and_talk() as (inbox, talk):
        assert (await talk.say(*lines))[-1] == answer
        await talk.say("RSET")
        assert await talk.send(LETTER) == "250 2.0.0 OK"

    assert len(inbox.envelopes) == 1


async def test_mail_before_a_greeting_is_refused() -> None:
    async with inbox_and_talk(greet=False) as (_, talk):
        assert await talk.say("MAIL FROM:<a@x.test>") == ["503 5.5.1 Not now"]


async def test_a_message_has_a_hundred_recipients_at_most() -> None:
    async with inbox_and_talk() as (_, talk):
        answers = await talk.say("MAIL FROM:<>", *["RCPT TO:<b@x.test>"] * 101)

    assert codes(answers) == ["250"] * 101 + ["452"]


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"x" * 3000 + b"\r\n", "554 5.6.0 Line too long"),
        (b"x" * 3000 + b"\r\n.x\r\n", "554 5.6.0 Line too long"),
        ((b"x" * 998 + b"\r\n") * 1100, "552 5.3.4 Message too big"),
        (b"one\n.\r\nMAIL FROM:<evil@x.test>\r\n", "554 5.6.0 Bare CR or LF"),
        (b"one\r\ntwo\rthree\r\n", "554 5.6.0 Bare CR or LF"),
    ],
    ids=["long line", "long line and more", "too big", "smuggled", "bare CR"],
)
async def test_a_message_that_breaks_a_limit_is_refused_whole(data: bytes, answer: str) -> None:
    async with inbox_and_talk() as (inbox, talk):
        assert await talk.send(data) == answer
        assert await talk.send(LETTER) == "250 2.0.0 OK"

    assert [envelope.data for envelope in inbox.envelopes] == [LETTER]


@settings(max_examples=30, deadline=None)
@given(lines=st.lists(st.text(st.sampled_from(".ab \t"), max_size=5), max_size=20))
def test_every_line_arrives_as_it_was_sent(lines: list[str]) -> None:
    data = "".join(f"{line}\r\n" for line in lines).encode()
    stuffed = "".join(f"{'.' * line.startswith('.')}{line}\r\n" for line in lines).encode()

    async def send() -> list[Envelope]:
        async with inbox_and_talk() as (inbox, talk):
            assert await talk.send(stuffed) == "250 2.0.0 OK"
        return inbox.envelopes

    assert [envelope.data for envelope in asyncio.run(send())] == [data]


async def test_the_receiver_may_refuse_in_its_own_words_or_be_away() -> None:
    async with inbox_and_talk() as (inbox, talk):
        inbox.error = RefusedError("550 5.1.1 No such bounce")
        assert await talk.send(LETTER) == "550 5.1.1 No such bounce"
        inbox.error = TimeoutError()
        assert await talk.send(LETTER) == "451 4.3.0 Cannot be kept now"
        inbox.error = None
        assert await talk.send(LETTER) == "250 2.0.0 OK"


async def test_a_client_that_leaves_half_way_delivers_nothing() -> None:
    inbox = Inbox()
    async with smtp_server(inbox.accept, HOST, 0) as port:
        async with talking(port) as talk:
            await talk.say("MAIL FROM:<>", "RCPT TO:<b@x.test>", "DATA")
            talk.writer.write(LETTER)
        async with talking(port) as talk:
            assert await talk.send(LETTER) == "250 2.0.0 OK"

    assert len(inbox.envelopes) == 1


@pytest.mark.parametrize(
    ("limit", "lines"),
    [
        ("COMMAND_SECONDS", ["NOOP"]),
        ("MESSAGE_SECONDS", ["MAIL FROM:<>", "RCPT TO:<b@x.test>", "DATA"]),
    ],
)
async def test_a_client_that_falls_silent_is_sent_away(
    monkeypatch: pytest.MonkeyPatch, limit: str, lines: list[str]
) -> None:
    async with inbox_and_talk() as (_, talk):
        monkeypatch.setattr(smtpd, limit, 0.05)
        await talk.say(*lines)

        assert await talk.answer() == "421 4.4.2 Waited too long"
        assert await talk.reader.read() == b""


async def test_more_clients_than_the_server_has_room_for_are_asked_to_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(smtpd, "MAX_SESSIONS", 1)
    async with smtp_server(Inbox().accept, HOST, 0) as port:
        async with talking(port):
            reader, writer = await asyncio.open_connection(HOST, port)
            assert await reader.read() == b"421 4.3.2 Too many connections\r\n"
            writer.close()
        async with talking(port) as talk:
            assert await talk.send(LETTER) == "250 2.0.0 OK"


async def test_the_end_of_the_server_ends_its_talks() -> None:
    async with smtp_server(Inbox().accept, HOST, 0) as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        await reader.readline()

    assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, port)


def test_an_envelope_shows_nothing_of_its_content() -> None:
    assert repr(Envelope("a@x.test", ("b@x.test",), LETTER)) == "Envelope()"
