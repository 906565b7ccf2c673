"""Letters to mails: the words, the page, the headers."""

import re
import tomllib
import unicodedata
from binascii import b2a_qp
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import format_datetime
from functools import lru_cache
from importlib.resources import files
from textwrap import fill
from typing import Any, assert_never
from urllib.parse import quote
from uuid import UUID

from babel.dates import format_date
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from notify.letters import (
    Colleague,
    Letter,
    MatchItem,
    MatchLetter,
    MovedLetter,
    ReminderItem,
    ReminderLetter,
)

INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}

LOCALES = {"nl": "nl_NL", "en": "en_GB"}
PARTS = (("plain", "letter.txt"), ("html", "letter.html"))

TEMPLATES = Environment(
    loader=PackageLoader("notify"),
    autoescape=select_autoescape(["html"]),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
    auto_reload=False,
)


@lru_cache(maxsize=256)
def wrapped(text: str, width: int) -> str:
    """The same few sentences stand in every mail, and to wrap them takes half the time of one."""
    return fill(text, width, break_long_words=False, break_on_hyphens=False)


TEMPLATES.filters["wrapped"] = wrapped
Words = Mapping[str, Any]
WORDS: Mapping[str, Words] = tomllib.loads(
    files("notify").joinpath("templates", "words.toml").read_text(encoding="utf-8")
)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a block, with what a click on it opens."""

    label: str
    value: str
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Button:
    """Something to press; `is_next` when it is what the reader should do now."""

    label: str
    link: str
    is_next: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One match or one person: what it is about, what must not be missed, and what to press."""

    rows: Sequence[Row]
    number: str | None = None
    note: str = ""
    buttons: Sequence[Button] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """A letter in words; both templates show all of it."""

    language: str
    words: Words
    intro: str
    blocks: Sequence[Block]


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail as it is sent: headers for everyone to read, and a content that can be sealed."""

    headers: bytes
    content: bytes = field(repr=False)

    def as_bytes(self) -> bytes:
        return self.headers + self.content


class HeaderError(Exception):
    """A header was to hold more than one line of printable ASCII."""


def render(letter: Letter, delivery: UUID, sender: str, at: datetime) -> Mail:
    """Write the mail; the same letter and delivery give the same bytes.

    By hand, since the standard library's own way takes ten times as long.
    """
    page = page_of(letter)
    matches = letter.items if isinstance(letter, MatchLetter) else ()
    headers = [
        ("From", f"VIN <{sender}>"),
        ("To", letter.recipient),
        ("Subject", page.words["subject"]),
        ("Date", format_datetime(at)),
        ("Message-ID", f"<{delivery}@{domain_of(sender)}>"),
        ("Auto-Submitted", "auto-generated"),
        ("X-Auto-Response-Suppress", "OOF, AutoReply"),
        *(("X-VIN-Match", item.number) for item in matches),
        ("MIME-Version", "1.0"),
    ]
    # Quoted-printable writes every "=" otherwise, so this cannot stand in a text.
    boundary = f"=_{delivery.hex}"
    content = [
        _headers(
            [
                ("Content-Type", f'multipart/alternative; boundary="{boundary}"'),
                ("Content-Language", letter.language),
            ]
        ),
        *(_part(kind, name, page, boundary) for kind, name in PARTS),
        f"--{boundary}--\r\n".encode(),
    ]
    return Mail(_headers(headers), b"\r\n".join(content))


def _part(kind: str, name: str, page: Page, boundary: str) -> bytes:
    text = TEMPLATES.get_template(name).render(page=page, words=page.words)
    head = [
        ("Content-Type", f'text/{kind}; charset="utf-8"'),
        ("Content-Transfer-Encoding", "quoted-printable"),
    ]
    # A dot alone, which SMTP doubles by itself, is somebody's reference and stays readable.
    encoded = b2a_qp(text.replace("\n", "\r\n").encode()).replace(b"\r\n=2E\r\n", b"\r\n.\r\n")
    return b"".join([f"--{boundary}\r\n".encode(), _headers(head), b"\r\n", encoded])


def _headers(pairs: Iterable[tuple[str, str]]) -> bytes:
    if any(not value.isascii() or not value.isprintable() for _, value in pairs):
        raise HeaderError
    return "".join(f"{name}: {value}\r\n" for name, value in pairs).encode()


def page_of(letter: Letter) -> Page:
    """Find the words of a letter."""
    words = WORDS[letter.language]
    match letter:
        case MatchLetter():
            return _match_page(letter, words)
        case MovedLetter():
            return _moved_page(letter, {**words, **words["moved"]})
        case ReminderLetter():
            return _reminder_page(letter, {**words, **words[letter.step]})
        case _ as unreachable:
            assert_never(unreachable)


def _match_page(letter: MatchLetter, words: Words) -> Page:
    words = {**words, **(words["link_only"] if letter.mode == "link_only" else {})}
    intro = words["one" if len(letter.items) == 1 else "many"]
    blocks = [_match_block(item, letter, words) for item in letter.items]
    return Page(letter.language, words, intro, blocks)


def _match_block(item: MatchItem, letter: MatchLetter, words: Words) -> Block:
    reference = Row(words["reference"], visible(item.reference))
    rows = [reference, *_rows(item, words)]
    buttons = _answer(item.answer_url, words, is_next=False)
    if letter.mode == "link_only":
        rows = [reference]
        buttons = [*_open(letter.match_url, item.number, words), *buttons]
    return Block(number=item.number, note=words["kinds"][item.kind], rows=rows, buttons=buttons)


def _moved_page(letter: MovedLetter, words: Words) -> Page:
    intro = words["officer" if letter.reporters else "reporter"]
    municipality = visible(letter.municipality or words["elsewhere"])
    files = [[Row(words["reference"], visible(each))] for each in letter.references]
    people = [list(_rows(each, words)) for each in letter.reporters]
    return Page(
        letter.language,
        words,
        intro.format(municipality=municipality),
        [Block(rows=rows) for rows in (*files, *people)],
    )


def _reminder_page(letter: ReminderLetter, words: Words) -> Page:
    """To whom it is a colleague's match reads other words; the officer's list is one table."""
    if any(item.reporter for item in letter.items):
        words = {**words, **words.get("colleague", {})}
    intro = words["one" if len(letter.items) == 1 else "many"].format(count=len(letter.items))
    blocks = [_reminder_block(item, letter, words) for item in letter.items]
    if letter.step == "worklist":
        dates = [Row(item.number, _date(item, letter)) for item in letter.items]
        blocks = [Block(rows=dates)]
    return Page(letter.language, words, intro, blocks)


def _reminder_block(item: ReminderItem, letter: ReminderLetter, words: Words) -> Block:
    told = {"reference": item.reference, "reporter": item.reporter}
    rows = [Row(words[name], visible(value)) for name, value in told.items() if value]
    return Block(
        number=item.number,
        rows=[*rows, Row(words["date"], _date(item, letter))],
        buttons=_answer(item.answer_url, words, is_next=True),
    )


def _date(item: ReminderItem, letter: ReminderLetter) -> str:
    return format_date(item.matched_on, "long", locale=LOCALES[letter.language])


def _answer(url: str | None, words: Words, *, is_next: bool) -> list[Button]:
    return [Button(words["answer"], url, is_next)] if url else []


def _open(url: str | None, number: str, words: Words) -> list[Button]:
    return [Button(words["open"], url.replace("{number}", number), is_next=True)] if url else []


def _rows(other: Colleague, words: Words) -> Iterator[Row]:
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


def domain_of(address: str) -> str:
    return address.rpartition("@")[2]
