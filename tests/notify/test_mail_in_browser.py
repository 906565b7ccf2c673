"""Every letter as a real browser shows it, on a phone and on a desk."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from email import message_from_bytes
from email.policy import default
from html import unescape
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from notify.letters import Language, Letter
from notify.render import render
from tests.notify.conftest import AT, SENDER
from tests.notify.every_letter import every_letter

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
LANGUAGES: tuple[Language, ...] = ("nl", "en")
PHONE, DESK = 360, 1200
Measured = Mapping[str, Any]

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")


def page(letter: Letter) -> str:
    raw = render(letter, UUID(int=1), SENDER, AT).as_bytes()
    _, html = message_from_bytes(raw, policy=default).iter_parts()
    content: str = html.get_content()
    return content


def measured(folder: Path, pages: Iterable[tuple[str, int, str]]) -> list[Measured]:
    """What Chromium finds: sizes in its pixels, the lowest contrast of any text."""
    script = Path(__file__).with_name("measure.html").read_text(encoding="utf-8")
    given = json.dumps(list(pages)).replace("</", "<\\/")
    file = folder / "pages.html"
    file.write_text(script.replace("const PAGES = [];", f"const PAGES = {given};"))
    # A browser that has no windows and no profile of its own needs no sandbox to read our file.
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    run = subprocess.run(
        [str(CHROMIUM), *flags, "--dump-dom", file.as_uri()],
        capture_output=True,
        check=True,
        timeout=120,
        text=True,
    )
    found = re.search(r'<pre id="measured">(.*?)</pre>', run.stdout, re.DOTALL)
    assert found, run.stderr
    answer: list[Measured] = json.loads(unescape(found[1]))
    return answer


def faults(each: Measured) -> list[str]:
    """What would keep somebody from reading a page or pressing its buttons."""
    found = {
        "scrolls sideways": each["overflow"] > 0 or each["text"] > each["width"],
        "small text": each["font"] < 13,
        "faint text": each["contrast"] < 4.5,
        "low button": each["button"] < 44,
        "wide column": each["column"] > 600,
    }
    return [fault for fault, is_so in found.items() if is_so]


def test_every_letter_can_be_read_and_pressed_on_a_phone_and_on_a_desk(tmp_path: Path) -> None:
    pages = [
        (f"{name}-{language}", width, page(letter))
        for language in LANGUAGES
        for name, letter in every_letter(language).items()
        for width in (PHONE, DESK)
    ]

    found = measured(tmp_path, pages)

    assert len(found) == len(pages)
    assert [each for each in found if faults(each)] == []


def test_a_page_that_cannot_be_read_well_is_noticed(tmp_path: Path) -> None:
    spoiled = {
        "scrolls sideways": ("white-space:nowrap;", "white-space:nowrap;min-width:400px;"),
        "small text": ("font-size:13px", "font-size:9px"),
        "faint text": ("color:#4b5a68", "color:#b0b8c0"),
        "low button": ("padding:11px 20px", "padding:1px 20px"),
        "wide column": ("max-width:600px", "max-width:none"),
    }
    source = page(every_letter("nl")["match"])
    pages = [
        (fault, width, source.replace(*change))
        for fault, change in spoiled.items()
        for width in (PHONE, DESK)
    ]

    found = measured(tmp_path, pages)

    for fault in spoiled:
        assert fault in [name for each in found if each["name"] == fault for name in faults(each)]
