"""The page behind a link in a mail: looking at it does nothing, sending its form does."""

import base64
import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import parse_qsl

from aiohttp import hdrs, web
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, ValidationError

from vin import links
from vin.clock import Clock
from vin.contact_clock import Outcome
from vin.crypto.link import LinkKey
from vin.link_store import Asked
from vin.outcomes import Saying
from vin.web.body import BODY
from vin.web.problems import REQUEST_ID
from vin.web.routes import HTML, Route

if TYPE_CHECKING:
    from asyncpg import Pool, Record

MAX_FIELDS = 8

_TEXTS = files("vin.api")
_STYLE = Markup(_TEXTS.joinpath("answer_page.css").read_text(encoding="utf-8"))  # noqa: S704 - our own
_WORDS: Mapping[str, Mapping[str, Any]] = tomllib.loads(
    _TEXTS.joinpath("answer_page.toml").read_text(encoding="utf-8")
)
_PAGE = Environment(
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
).from_string(_TEXTS.joinpath("answer_page.html").read_text(encoding="utf-8"))
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
HEADERS = {
    hdrs.CONTENT_SECURITY_POLICY: (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; "
        "base-uri 'none'; frame-ancestors 'none'"
    ),
    hdrs.REFERRER_POLICY: "no-referrer",
    "X-Robots-Tag": "noindex",
}


@dataclass(frozen=True, slots=True)
class AnswerDesk:
    """What answering through a link takes; opened by wiring."""

    pool: "Pool[Record]"
    clock: Clock
    key: LinkKey = field(repr=False)


ANSWER_DESK = web.AppKey("answer_desk", AnswerDesk)


class AnswerForm(BaseModel):
    """The fields of the form; what a browser adds is passed over."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    outcome: Outcome
    new_to_me: Literal["yes", "no"]


async def get_answer(request: web.Request) -> web.Response:
    """Show the questions, or that the link works no more."""
    desk = request.app[ANSWER_DESK]
    link = links.read_token(desk.key, request.match_info["token"])
    if link is None:
        return gone(request, 404)
    async with desk.pool.acquire() as db:
        asked = await links.find(db, link, await desk.clock.now(db))
    return questions(asked) if asked else gone(request, 410)


async def post_answer(request: web.Request) -> web.Response:
    """Keep the answers, once."""
    desk = request.app[ANSWER_DESK]
    link = links.read_token(desk.key, request.match_info["token"])
    if link is None:
        return gone(request, 404)
    form = read_form(request)
    async with desk.pool.acquire() as db, db.transaction():
        now = await desk.clock.now(db)
        if form is None:
            asked = await links.find(db, link, now)
        else:
            asked = await links.answer(db, link, saying_of(form, request), now)
    if asked is None:
        return gone(request, 410)
    words = _WORDS[asked.language]
    if form is None:
        return questions(asked, words["missing"], 400)
    return page(asked.language, words["thanks_title"], words["thanks"])


def read_form(request: web.Request) -> AnswerForm | None:
    """The answers; None unless both are there."""
    try:
        pairs = parse_qsl(request[BODY].decode(), max_num_fields=MAX_FIELDS)
        return AnswerForm.model_validate(dict(pairs))
    except (ValueError, ValidationError):
        return None


def saying_of(form: AnswerForm, request: web.Request) -> Saying:
    return Saying(
        outcome=form.outcome,
        new_to_me=form.new_to_me == "yes",
        via="link",
        actor_kind="system",
        actor="link in a mail",
        request_id=request[REQUEST_ID],
    )


def questions(asked: Asked, note: str = "", status: int = 200) -> web.Response:
    title = _WORDS[asked.language]["title"]
    return page(asked.language, title, note, number=asked.number, status=status)


def gone(request: web.Request, status: int) -> web.Response:
    """Say, whatever the cause, that the link does not work; in the language of the browser."""
    wanted = request.headers.get(hdrs.ACCEPT_LANGUAGE, "").strip().lower()
    language = "en" if wanted.startswith("en") else "nl"
    words = _WORDS[language]
    return page(language, words["gone_title"], words["gone"], status=status)


def page(
    language: str, title: str, text: str, *, number: str | None = None, status: int = 200
) -> web.Response:
    """A page with the questions on a match, or with a text alone."""
    content = _PAGE.render(
        language=language,
        title=title,
        text=text,
        number=number,
        words=_WORDS[language],
        style=_STYLE,
    )
    return web.Response(text=content, status=status, content_type=HTML, headers=HEADERS)


ROUTES = (
    Route(
        method=hdrs.METH_GET,
        path=f"{links.PATH}/{{token}}",
        operation_id="getAnswer",
        summary="Toont de vragen na een match",
        scope=None,
        handler=get_answer,
        page=True,
    ),
    Route(
        method=hdrs.METH_POST,
        path=f"{links.PATH}/{{token}}",
        operation_id="postAnswer",
        summary="Bewaart de antwoorden na een match",
        scope=None,
        handler=post_answer,
        form=AnswerForm,
        page=True,
    ),
)
