from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from uuid import UUID
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify import render
from notify.letters import Kind, Language, MatchItem, MatchLetter
from tests.notify.conftest import AT, SENDER

DELIVERY = UUID("1f1e33a5-7c52-4f60-8a52-6f5d5f3f0c11")
OTHER = UUID("2f1e33a5-7c52-4f60-8a52-6f5d5f3f0c12")
ITEM = MatchItem(
    reference="D-2026.0031",
    number="M-7KQ4-9XWD-2",
    kind="child",
    name="Reporter 2",
    function="Jeugdarts",
    organisation="GGD Hollands Noorden",
    phone="(072) 123 45 67",
    email="reporter2@ggd.test",
    reachable="ma t/m do 9-17 uur",
)
CONTACT = [ITEM.name, ITEM.function, ITEM.organisation, ITEM.phone, ITEM.email]


def letter(*items: MatchItem, language: Language = "nl") -> MatchLetter:
    return MatchLetter(recipient="reporter1@school.test", items=items or [ITEM], language=language)


def sent(written: MatchLetter, delivery: UUID = DELIVERY) -> tuple[bytes, EmailMessage]:
    """The mail as bytes, and as its reader's program takes it apart."""
    raw = render.render(written, delivery, SENDER, AT).as_bytes()
    return raw, message_from_bytes(raw, policy=default)


def bodies(message: EmailMessage) -> tuple[str, str]:
    text, html = message.iter_parts()
    return text.get_content(), html.get_content()


class Page:
    """A page taken apart, which fails where an element is left open."""

    def __init__(self, html: str) -> None:
        root = ET.fromstring(html)  # noqa: S314 (our own)
        self.words = [" ".join(words.split()) for words in root.itertext()]
        self.links = [link.get("href") for link in root.iter("a")]
        self.language = root.get("lang")


def test_d2_the_envelope_tells_no_more_than_that_there_is_a_mail() -> None:
    _, message = sent(letter(ITEM, replace(ITEM, number="M-0000-0000-0")))

    assert dict(message.items()) == {
        "From": f"VIN <{SENDER}>",
        "To": "reporter1@school.test",
        "Subject": "Nieuwe match in VIN",
        "Date": "Sun, 22 Nov 2026 12:00:00 +0000",
        "Message-ID": f"<{DELIVERY}@index.test>",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "OOF, AutoReply",
        "X-VIN-Match": "M-0000-0000-0",
        "MIME-Version": "1.0",
        "Content-Type": f'multipart/alternative; boundary="=_{DELIVERY.hex}"',
        "Content-Language": "nl",
    }
    assert message.get_all("X-VIN-Match") == ["M-7KQ4-9XWD-2", "M-0000-0000-0"]


@pytest.mark.parametrize("language", ["nl", "en"])
def test_d2_both_texts_tell_for_each_match_whom_to_contact(language: Language) -> None:
    other = replace(ITEM, reference="D-1", name="Reporter 3", reachable=None)

    for body in bodies(sent(letter(ITEM, other, language=language))[1]):
        for told in [ITEM.number, "D-2026.0031", "D-1", "Reporter 3", *CONTACT, ITEM.reachable]:
            assert told is not None
            assert told in body


@pytest.mark.parametrize(
    ("language", "kind", "says"),
    [
        ("nl", "household", "niet over hetzelfde kind"),
        ("nl", "possible", "mogelijk over hetzelfde kind"),
        ("en", "household", "not about the same child"),
        ("en", "possible", "may be about the same child"),
    ],
)
def test_a_match_that_is_no_sure_match_on_the_child_says_so(
    language: Language, kind: Kind, says: str
) -> None:
    for body in bodies(sent(letter(replace(ITEM, kind=kind), language=language))[1]):
        assert says in " ".join(body.split())


@pytest.mark.parametrize("language", ["nl", "en"])
def test_a_match_on_the_child_says_nothing_about_it(language: Language) -> None:
    for body in bodies(sent(letter(language=language))[1]):
        assert "hetzelfde" not in body
        assert "same child" not in body


def test_reachability_is_left_out_when_it_is_not_known() -> None:
    for body in bodies(sent(letter(replace(ITEM, reachable=None)))[1]):
        assert "Bereikbaar" not in body


@pytest.mark.parametrize("language", ["nl", "en"])
def test_one_match_and_more_are_spoken_of_differently(language: Language) -> None:
    one, more = (
        bodies(sent(letter(*items, language=language))[1])[0] for items in [[ITEM], [ITEM, ITEM]]
    )

    assert render.WORDS[language]["one"] in " ".join(one.split())
    assert render.WORDS[language]["many"] in " ".join(more.split())


def test_both_languages_have_the_same_words() -> None:
    assert render.WORDS["nl"].keys() == render.WORDS["en"].keys()
    assert render.WORDS["nl"]["kinds"].keys() == render.WORDS["en"]["kinds"].keys()
    assert len(render.WORDS["nl"]["steps"]) == len(render.WORDS["en"]["steps"])


def test_the_page_names_its_language_and_links_to_phone_and_mail() -> None:
    page = Page(bodies(sent(letter(language="en"))[1])[1])

    assert page.language == "en"
    assert page.links == ["tel:0721234567", "mailto:reporter2@ggd.test"]


def test_the_same_letter_gives_the_same_bytes() -> None:
    assert sent(letter())[0] == sent(letter())[0]
    assert sent(letter())[0] != sent(letter(), OTHER)[0]


def test_the_letter_shows_no_contact_data_when_it_is_printed() -> None:
    printed = repr(letter())

    assert ITEM.number in printed
    for told in [*CONTACT, ITEM.reference, ITEM.reachable, "reporter1"]:
        assert str(told) not in printed


PLAIN = sent(letter())[1]
any_text = st.text(st.characters(exclude_categories=["Cn"]), max_size=100)
references = st.text(
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._/-", min_size=1, max_size=40
)


@given(name=any_text, function=any_text, organisation=any_text, reachable=any_text)
def test_no_value_can_add_a_header_or_an_element(
    name: str, function: str, organisation: str, reachable: str
) -> None:
    item = replace(
        ITEM, name=name, function=function, organisation=organisation, reachable=reachable
    )
    raw, message = sent(letter(item))
    text, html = bodies(message)
    page = Page(html)

    assert message.keys() == PLAIN.keys()
    assert len(page.links) == 2
    assert len(text.splitlines()) == len(bodies(PLAIN)[0].splitlines())
    for value in (name, function, organisation, reachable):
        assert render.visible(value) in text
        assert not render.visible(value) or render.visible(value) in page.words
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 78 + len("boundary")


@given(reference=references)
def test_the_reference_stays_on_one_line_even_before_decoding(reference: str) -> None:
    raw, message = sent(letter(replace(ITEM, reference=reference)))

    text, html = bodies(message)
    assert f"  Uw kenmerk:     {reference}" in text.splitlines()
    assert reference in html.splitlines()
    assert raw.split(b"\r\n").count(reference.encode()) == 1


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("Zoë van 't Hóf", "Zoë van 't Hóf"),
        ("a\r\nBcc: x@y.test", "a Bcc: x@y.test"),
        ("a\x00\x1b[2Jb", "a [2Jb"),
        ("a\u202eb\u2028c\u200bd", "a b c d"),
        ("a\ud800b", "a b"),
        ("  a  \t b ", "a b"),
    ],
)
def test_a_value_is_shown_on_one_line_without_tricks(value: str, shown: str) -> None:
    assert render.visible(value) == shown
