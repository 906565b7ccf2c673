"""The mail of a notice (D2): what it says, and the talk with the mail server that takes it."""

import re
import ssl
import tomllib
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from functools import cache
from importlib.resources import files
from typing import Any, Literal, TypeAlias
from urllib.parse import quote
from uuid import UUID

from aiosmtplib import SMTP, SMTPDataError, SMTPException, SMTPResponseException
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from notify.errors import NotifyError
from notify.retry import Outcome, Result

Kind: TypeAlias = Literal["child", "household", "possible"]
Language: TypeAlias = Literal["nl", "en"]

COMMAND_SECONDS = 30
DATA_SECONDS = 120
QUIT_SECONDS = 1
# Quoted-printable ends its lines at 76; a header line goes unfolded up to what RFC 5321 allows.
BODY_POLICY = SMTP_POLICY.clone(max_line_length=76)
WIRE_POLICY = SMTP_POLICY.clone(max_line_length=998)
INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}
ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+")

TEMPLATES = Environment(
    loader=PackageLoader("notify"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    auto_reload=False,
)
WORDS: Mapping[str, Mapping[str, Any]] = tomllib.loads(
    files("notify").joinpath("templates", "words.toml").read_text(encoding="utf-8")
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Colleague:
    """How to reach another professional."""

    name: str = field(repr=False)
    function: str = field(repr=False)
    organisation: str = field(repr=False)
    phone: str = field(repr=False)
    email: str = field(repr=False)
    reachable: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchItem(Colleague):
    """One match as a letter tells it: the reader's own reference, and the other's contact data."""

    reference: str = field(repr=False)
    number: str
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """What one reporter is told, in the language of the organisation."""

    recipient: str = field(repr=False)
    items: Sequence[MatchItem]
    language: Language


@dataclass(frozen=True, slots=True, kw_only=True)
class MovedLetter(Letter):
    """G6: that a child moved; to a reporter his files, to an officer the reporters and no file.

    `municipality` is the new one's name, None outside the region.
    """

    items: Sequence[MatchItem] = ()
    municipality: str | None = field(repr=False)
    references: Sequence[str] = field(default=(), repr=False)
    reporters: Sequence[Colleague] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Row:
    """A line on the other professional, with what a click on it opens."""

    label: str
    value: str
    link: str | None = None


class UndeliveredError(NotifyError):
    """The attempt ends here, and `outcome` says how; its text holds no address."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(outcome.result)
        self.outcome = outcome


def render(letter: Letter, delivery: UUID, sender: str, at: datetime) -> EmailMessage:
    """Write the mail; the same letter and delivery give the same bytes."""
    name, content = _content(letter)
    message = EmailMessage(policy=BODY_POLICY)
    message["From"] = Address("VIN", addr_spec=sender)
    message["To"] = letter.recipient
    message["Subject"] = content["words"]["subject"]
    message["Date"] = at
    message["Message-ID"] = f"<{delivery}@{_domain(sender)}>"
    message["Auto-Submitted"] = "auto-generated"
    message["X-Auto-Response-Suppress"] = "OOF, AutoReply"
    for item in letter.items:
        message["X-VIN-Match"] = item.number
    text, html = (TEMPLATES.get_template(f"{name}.{kind}") for kind in ("txt", "html"))
    message.set_content(text.render(content), cte="quoted-printable")
    message.add_alternative(html.render(content), subtype="html", cte="quoted-printable")
    message["Content-Language"] = letter.language
    message.set_boundary(f"=_{delivery.hex}")
    message.policy = WIRE_POLICY
    return message


def _content(letter: Letter) -> tuple[str, dict[str, Any]]:
    """The name of the letter's templates, and what they are filled with."""
    words = WORDS[letter.language]
    if not isinstance(letter, MovedLetter):
        items = [
            {"number": item.number, "kind": item.kind, "rows": list(_match_rows(item, words))}
            for item in letter.items
        ]
        return "match", {"language": letter.language, "words": words, "items": items}
    words = {**words, **words["moved"]}
    intro = words["officer"] if letter.reporters else words["reporter"]
    municipality = visible(letter.municipality or words["elsewhere"])
    return "moved", {
        "language": letter.language,
        "words": words,
        "intro": intro.format(municipality=municipality),
        "blocks": [
            *([Row(words["reference"], visible(each))] for each in letter.references),
            *(list(_rows(each, words)) for each in letter.reporters),
        ],
    }


def _match_rows(item: MatchItem, words: Mapping[str, str]) -> Iterator[Row]:
    yield Row(words["reference"], visible(item.reference))
    yield from _rows(item, words)


def _rows(other: Colleague, words: Mapping[str, str]) -> Iterator[Row]:
    phone, email = visible(other.phone), visible(other.email)
    yield Row(words["name"], visible(other.name))
    yield Row(words["function"], visible(other.function))
    yield Row(words["organisation"], visible(other.organisation))
    yield Row(words["phone"], phone, "tel:" + re.sub(r"[^0-9+]", "", phone))
    yield Row(words["email"], email, "mailto:" + quote(email, safe="@"))
    if other.reachable is not None:
        yield Row(words["reachable"], visible(other.reachable))


def visible(value: str) -> str:
    """The value on one line, without what could forge a line or turn its reading around."""
    shown = (" " if unicodedata.category(each) in INVISIBLE else each for each in value)
    return " ".join("".join(shown).split())


def _domain(address: str) -> str:
    return address.rpartition("@")[2]


@cache
def _tls(*, verified: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The mail server that takes our mail, and the address that it comes from.

    Where TLS is not required it is used when offered, against listeners only: then no
    certificate is asked for (RFC 7435).
    """

    host: str
    port: int
    sender: str
    tls_required: bool


class Conversation:
    """One SMTP session for one mail; every failure in it is an `UndeliveredError`."""

    def __init__(self, route: Route) -> None:
        self._sender = route.sender
        self._smtp = SMTP(
            hostname=route.host,
            port=route.port,
            start_tls=True if route.tls_required else None,
            tls_context=_tls(verified=route.tls_required),
            local_hostname=_domain(route.sender),
            timeout=COMMAND_SECONDS,
        )

    async def introduce(self, recipient: str) -> None:
        """Connect and agree with the server on sender and recipient."""
        if not ADDRESS.fullmatch(recipient):
            raise UndeliveredError(Outcome(Result.REFUSED))
        await self._connect()
        try:
            await self._smtp.mail(self._sender)
            await self._smtp.rcpt(recipient)
        except SMTPResponseException as error:
            raise UndeliveredError(_replied(error.code, Result.UNREACHABLE)) from None
        except (SMTPException, OSError):
            raise UndeliveredError(Outcome(Result.UNREACHABLE)) from None

    async def _connect(self) -> None:
        """Who is turned away here, even for good, tries again: nobody was named yet."""
        try:
            await self._smtp.connect()
            if self._smtp.is_ehlo_or_helo_needed:
                await self._smtp.ehlo()
        except SMTPResponseException as error:
            raise UndeliveredError(Outcome(Result.UNREACHABLE, error.code)) from None
        except (SMTPException, OSError):
            raise UndeliveredError(Outcome(Result.UNREACHABLE)) from None

    async def hand_over(self, message: bytes) -> Outcome:
        """Send the mail itself; without a clear answer it may have arrived."""
        try:
            reply = await self._smtp.data(message, timeout=DATA_SECONDS)
        except SMTPDataError as error:
            raise UndeliveredError(_replied(error.code, Result.UNANSWERED)) from None
        except (SMTPException, OSError):
            raise UndeliveredError(Outcome(Result.UNANSWERED)) from None
        return Outcome(Result.SENT, reply.code)

    async def leave(self) -> None:
        """End the session, with a word if the server still listens."""
        with suppress(SMTPException, OSError):
            if self._smtp.is_connected:
                await self._smtp.quit(timeout=QUIT_SECONDS)
        self._smtp.close()


def _replied(code: int, otherwise: Result) -> Outcome:
    """Read a reply that is not the hoped-for one (RFC 5321, 4.2.1)."""
    by_class = {4: Result.DEFERRED, 5: Result.REFUSED}
    return Outcome(by_class.get(code // 100, otherwise), code)
