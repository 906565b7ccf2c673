"""The verdict notices each way in which an index could fail."""

from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from uuid import UUID

import pytest

from vin.client import Contact, Match, Outcomes
from vin.demo.mails import Mail, MailBox, read_mail
from vin.demo.oracle import Key
from vin.demo.play import result_of
from vin.demo.population import make_region
from vin.demo.report import Result, two_of
from vin.demo.truth import Unit
from vin.demo.verdict import Truth, judge

UNITS = [Unit(number, f"organisation-{number}", f"unit-{number}") for number in range(4)]
REPORTERS = {each.id: each for each in make_region(1, 1, UNITS, date(2026, 11, 22)).reporters}
ONE, OTHER, THIRD = UUID(int=1), UUID(int=2), UUID(int=3)
KEYS: dict[UUID, Key] = {
    ONE: ("medewerker-2", "a"),
    OTHER: ("medewerker-5", "a"),
    THIRD: ("medewerker-8", "b"),
}
TRUTH = Truth(KEYS, {frozenset((KEYS[ONE], KEYS[OTHER])): "child"}, REPORTERS)


def email(signal: UUID) -> str:
    return REPORTERS[KEYS[signal][0]].email


def side(signal: UUID, other: UUID, number: str = "M-1", kind: str = "child") -> Match:
    return Match(
        number=number,
        kind=kind,
        signal_id=signal,
        reference="D-1",
        matched_at=datetime(2026, 11, 22, tzinfo=UTC),
        status="open",
        contact=Contact(
            name="Medewerker", function="f", organisation="o", email=email(other), phone="0"
        ),
        outcomes=Outcomes(),
    )


def mail(signal: UUID, other: UUID, number: str = "M-1") -> Mail:
    return Mail(email(signal), "Match", (number,), f"E-mail: {email(other)}\n")


BOTH = [side(ONE, OTHER), side(OTHER, ONE)]
MAILS = [mail(ONE, OTHER), mail(OTHER, ONE)]
SECOND = [side(ONE, OTHER, "M-2"), side(OTHER, ONE, "M-2")]
STRANGERS = [side(ONE, THIRD, "M-2"), side(THIRD, ONE, "M-2")]
NO_CONTACT = replace(side(OTHER, ONE), contact=None)


def test_all_as_expected_is_all_right() -> None:
    verdict = judge(TRUTH, BOTH, MAILS)

    assert (verdict.missed, verdict.unexpected) == (0, 0)
    assert result_of(TRUTH, verdict, 2, 1.0).fits


@pytest.mark.parametrize(
    ("matches", "mails"),
    [
        pytest.param([], [], id="no match"),
        pytest.param(BOTH[:1], MAILS, id="one side only"),
        pytest.param([replace(each, kind="household") for each in BOTH], MAILS, id="other kind"),
        pytest.param([BOTH[0], replace(BOTH[1], kind="possible")], MAILS, id="two kinds"),
        pytest.param([*BOTH, *SECOND], MAILS, id="doubled"),
        pytest.param([*BOTH, *STRANGERS], MAILS, id="strangers"),
        pytest.param([BOTH[0], NO_CONTACT], MAILS, id="no contact"),
        pytest.param([BOTH[0], side(OTHER, THIRD)], MAILS, id="another's contact"),
        pytest.param(BOTH, MAILS[:1], id="a mail less"),
        pytest.param(BOTH, [*MAILS, MAILS[0]], id="a mail twice"),
        pytest.param(BOTH, [*MAILS, mail(THIRD, ONE)], id="a mail to a stranger"),
        pytest.param(BOTH, [MAILS[0], mail(OTHER, THIRD)], id="a mail that names a stranger"),
        pytest.param(BOTH, [MAILS[0], replace(MAILS[1], text="")], id="a mail that names nobody"),
        pytest.param([*BOTH, side(UUID(int=9), ONE, "M-3")], MAILS, id="an unknown signal"),
    ],
)
def test_nothing_that_is_wrong_passes(matches: list[Match], mails: list[Mail]) -> None:
    verdict = judge(TRUTH, matches, mails)

    assert verdict.missed + verdict.unexpected > 0
    assert not result_of(TRUTH, verdict, len(mails), 1.0).fits


def test_a_second_signal_where_there_is_one_is_noticed() -> None:
    doubled = Truth({**KEYS, UUID(int=4): KEYS[ONE]}, TRUTH.expected, REPORTERS)

    assert judge(doubled, BOTH, MAILS).unexpected == 1


def test_the_json_has_every_kind() -> None:
    result: Result = result_of(TRUTH, judge(TRUTH, BOTH, MAILS), 2, 1.234)

    assert result.as_json() == (
        '{"signals": 3, "matches": {"child": 1, "household": 0, "possible": 0}, "mails": 2, '
        '"expected": {"child": 1, "household": 0, "possible": 0}, "missed": 0, "unexpected": 0, '
        '"seconds": 1.2}'
    )


EML = (
    b"To: MEDEWERKER-2@vin-demo.test\r\nSubject: Match\r\nX-VIN-Match: M-1\r\nX-VIN-Match: M-2\r\n"
    b"Content-Type: text/plain; charset=utf-8\r\n\r\nE-mail: Medewerker-5@vin-demo.test\r\n"
)


def test_a_mail_is_read_with_its_recipient_numbers_and_whom_it_names(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(EML)
    (tmp_path / "b.tmp").write_bytes(b"half of a mail")
    box = MailBox(tmp_path)

    [mail] = box.mails()

    assert (mail.recipient, mail.numbers) == ("medewerker-2@vin-demo.test", ("M-1", "M-2"))
    assert mail.named == {"medewerker-5@vin-demo.test"}
    assert box.mails() == [mail] == [read_mail(EML)]


def test_two_mails_are_shown_that_differ() -> None:
    long = replace(MAILS[0], text="a\nb\nc\n")

    assert two_of([*MAILS, long]) == [MAILS[1], long]
    assert two_of(MAILS) == [MAILS[1]]
    assert two_of([]) == []
