from dataclasses import replace
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from uuid import UUID

import pytest

from notify import render
from notify.letters import Colleague, Language, MovedLetter
from tests.notify.conftest import AT, SENDER

DELIVERY = UUID("1f1e33a5-7c52-4f60-8a52-6f5d5f3f0c11")
COLLEAGUE = Colleague(
    name="Reporter 2",
    function="Jeugdarts",
    organisation="GGD Hollands Noorden",
    phone="(072) 123 45 67",
    email="reporter2@ggd.test",
    reachable="ma t/m do 9-17 uur",
)
TO_REPORTER = MovedLetter(
    recipient="reporter1@school.test",
    language="nl",
    municipality="Bergen (NH.)",
    references=["D-2026.0031", "D-1"],
)
TO_OFFICER = replace(TO_REPORTER, references=(), reporters=[COLLEAGUE])


def sent(letter: MovedLetter) -> EmailMessage:
    raw = render.render(letter, DELIVERY, SENDER, AT).as_bytes()
    return message_from_bytes(raw, policy=default)


def bodies(letter: MovedLetter) -> list[str]:
    return [part.get_content() for part in sent(letter).iter_parts()]


@pytest.mark.parametrize("language", ["nl", "en"])
def test_g6_a_reporter_is_told_his_files_and_the_municipality(language: Language) -> None:
    for body in bodies(replace(TO_REPORTER, language=language)):
        for told in ("D-2026.0031", "D-1", "Bergen (NH.)"):
            assert told in " ".join(body.split())


@pytest.mark.parametrize("language", ["nl", "en"])
def test_g6_an_officer_is_told_whom_to_reach_and_no_file(language: Language) -> None:
    for body in bodies(replace(TO_OFFICER, language=language)):
        for told in (COLLEAGUE.name, COLLEAGUE.email, COLLEAGUE.phone, "Bergen (NH.)"):
            assert told in " ".join(body.split())
        assert render.WORDS[language]["reference"] not in body


def test_g6_outside_the_region_no_municipality_is_named() -> None:
    for body in bodies(replace(TO_REPORTER, municipality=None)):
        assert "een gemeente buiten deze regio" in " ".join(body.split())


def test_the_envelope_does_not_tell_what_it_is_about() -> None:
    message = sent(TO_REPORTER)

    assert message["Subject"] == "Bericht van VIN"
    assert message.get_all("X-VIN-Match") is None


def test_both_languages_have_the_same_words_on_a_move() -> None:
    assert render.WORDS["nl"]["moved"].keys() == render.WORDS["en"]["moved"].keys()


def test_the_letter_shows_nothing_when_it_is_printed() -> None:
    for letter in (TO_REPORTER, TO_OFFICER):
        for hidden in ("reporter1", "D-1", "Bergen", "Reporter 2"):
            assert hidden not in repr(letter)
