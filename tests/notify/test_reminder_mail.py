from collections.abc import Iterator, Mapping
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from uuid import UUID
from xml.etree import ElementTree as ET

import pytest

from notify import render
from notify.letters import Language, Letter, MatchLetter, ReminderLetter, Step
from notify.render import HeaderError
from tests.notify.conftest import AT, SENDER
from tests.notify.every_letter import ANSWER, READER, STEPS, every_letter, reminder_item

LANGUAGES: tuple[Language, ...] = ("nl", "en")
LETTERS = [
    pytest.param(letter, id=f"{name}-{language}")
    for language in LANGUAGES
    for name, letter in every_letter(language).items()
]


def sent(letter: Letter, sender: str = SENDER) -> EmailMessage:
    raw = render.render(letter, UUID(int=1), sender, AT).as_bytes()
    return message_from_bytes(raw, policy=default)


def bodies(letter: Letter) -> list[str]:
    """Text and HTML, each with its lines joined."""
    return [" ".join(part.get_content().split()) for part in sent(letter).iter_parts()]


def reminder(step: Step, language: Language = "nl", *, colleague: bool = False) -> ReminderLetter:
    return ReminderLetter(
        recipient=READER,
        language=language,
        step=step,
        items=[reminder_item(0, colleague=colleague)],
    )


@pytest.mark.parametrize("letter", LETTERS)
def test_every_letter_is_whole_and_its_page_is_well_formed(letter: Letter) -> None:
    message = sent(letter)
    text, html = (part.get_content() for part in message.iter_parts())
    root = ET.fromstring(html)  # noqa: S314 (our own)

    assert root.get("lang") == letter.language
    assert message.defects == []
    assert {"{", "}"}.isdisjoint(text)
    assert "None" not in text + html
    for link in root.iter("a"):
        assert str(link.get("href")).startswith(("https://", "tel:", "mailto:"))


@pytest.mark.parametrize("letter", LETTERS)
def test_the_subject_of_every_letter_is_fixed_and_plain(letter: Letter) -> None:
    subject = sent(letter)["Subject"]

    assert subject.endswith(" VIN")
    assert subject.isascii()


@pytest.mark.parametrize("letter", LETTERS)
def test_numbers_stand_in_the_headers_of_notices_on_matches_alone(letter: Letter) -> None:
    numbers = sent(letter).get_all("X-VIN-Match", [])

    assert numbers == (
        [item.number for item in letter.items] if isinstance(letter, MatchLetter) else []
    )


def keys(words: Mapping[str, object], path: str = "") -> Iterator[str]:
    for name, value in words.items():
        yield f"{path}.{name}"
        if isinstance(value, Mapping):
            yield from keys(value, f"{path}.{name}")
        if isinstance(value, list):
            yield f"{path}.{name}: {len(value)}"


def test_both_languages_say_the_same_of_everything() -> None:
    assert [*keys(render.WORDS["nl"])] == [*keys(render.WORDS["en"])]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize(("language", "day"), [("nl", "20 november"), ("en", "20 November")])
def test_a2_a_reminder_tells_number_and_day_and_where_to_answer(
    step: Step, language: Language, day: str
) -> None:
    for body in bodies(reminder(step, language)):
        assert "M-7KQ4-9XW0-2" in body
        assert f"{day} 2026" in body
        assert (ANSWER in body) == (step != "worklist")


@pytest.mark.parametrize("step", ["reminder", "overdue"])
def test_a2_whose_match_it_is_is_told_to_a_colleague_only(step: Step) -> None:
    for body in bodies(reminder(step)):
        assert "U krijgt dit bericht omdat" not in body
        assert "Reporter 2" not in body
    for body in bodies(reminder(step, colleague=True)):
        assert "Een collega van u" in body
        assert "Reporter 2" in body


@pytest.mark.parametrize(
    ("step", "says"), [("monitoring_3", "Drie maanden"), ("monitoring_12", "Een jaar")]
)
def test_a4_monitoring_says_how_long_ago_it_was(step: Step, says: str) -> None:
    for body in bodies(reminder(step)):
        assert says in body


def test_a2_the_officer_gets_one_list_with_its_count_and_no_contact_data() -> None:
    letter = ReminderLetter(
        recipient=READER,
        language="nl",
        step="worklist",
        items=[reminder_item(place, bare=True) for place in range(3)],
    )

    for body in bodies(letter):
        assert "Van 3 matches" in body
        for place in range(3):
            assert f"M-7KQ4-9XW{place}-2" in body
        for hidden in ("Reporter", "D-2026", "@"):
            assert hidden not in body


@pytest.mark.parametrize("name", ["link_only", "no_link"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_letter_with_links_only_holds_no_contact_data(language: Language, name: str) -> None:
    letter = every_letter(language)[name]
    raw = render.render(letter, UUID(int=1), SENDER, AT).as_bytes()

    for body in (raw.decode(), *bodies(letter)):
        for hidden in ("Reporter", "Jeugd", "Hollands", "072", "@hollands", "ma t/m do"):
            assert hidden not in body
    text, html = bodies(letter)
    link = "https://dossier.regenboog.example/vin/M-7KQ4-9XW1-2?open=ja"
    assert (link in text, link in html) == ((name == "link_only"),) * 2
    assert "D-2026.003" in text
    assert ANSWER in text
    assert ANSWER in html


def test_where_to_answer_stands_whole_on_a_line_of_its_own() -> None:
    text = next(sent(every_letter("nl")["match"]).iter_parts()).get_content()

    assert f"  {ANSWER}" in text.splitlines()


@pytest.mark.parametrize("forged", ["a@b.test\r\nBcc: x@y.test", "a@b.test\n", "é@b.test", "a\0@b"])
def test_no_address_can_add_a_header(forged: str) -> None:
    letter = reminder("reminder")

    for written, sender in (
        (ReminderLetter(recipient=forged, language="nl", step="reminder", items=()), SENDER),
        (letter, forged),
    ):
        with pytest.raises(HeaderError):
            render.render(written, UUID(int=1), sender, AT)


def test_what_a_reminder_holds_does_not_show_when_it_is_printed() -> None:
    printed = repr(reminder("overdue", colleague=True))

    for hidden in (READER, "D-2026", "Reporter 2", ANSWER):
        assert hidden not in printed
