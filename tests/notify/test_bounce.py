from base64 import b64encode
from pathlib import Path
from time import process_time
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.bounce import Action, Report, ReturnPath, read_report
from vin.crypto.link import LinkKey

RETURNS = ReturnPath("bounces.index.test", LinkKey(bytes(32)).sign)
DELIVERY = UUID("1f1e33a5-7c52-4f60-8a52-6f5d5f3f0c11")
READER = "reporter1@school.test"
ADDRESS = RETURNS.address(DELIVERY, 1, READER)
DATA = Path(__file__).with_name("data")


@given(
    delivery=st.uuids(),
    attempt=st.integers(1, 9999),
    recipient=st.emails(),
    other=st.emails(),
)
def test_an_address_leads_back_to_its_attempt_and_to_whom_the_mail_was_for(
    delivery: UUID, attempt: int, recipient: str, other: str
) -> None:
    address = RETURNS.address(delivery, attempt, recipient)
    returned = RETURNS.read(address)

    assert returned is not None
    assert (returned.delivery, returned.attempt) == (delivery, attempt)
    assert RETURNS.was_for(returned, recipient.upper())
    assert RETURNS.was_for(returned, other) == (other.lower() == recipient.lower())


def test_an_address_fits_where_addresses_go_and_does_not_name_the_reader() -> None:
    longest = RETURNS.address(DELIVERY, 9999, READER)
    local, _, domain = longest.partition("@")

    assert len(local) <= 64
    assert domain == "bounces.index.test"
    assert longest.isascii()
    assert longest == longest.lower()
    assert "reporter" not in longest


def test_an_address_still_counts_in_capitals() -> None:
    assert RETURNS.read(ADDRESS.upper()) == RETURNS.read(ADDRESS)


@pytest.mark.parametrize(
    "forged",
    [
        "",
        "b+@bounces.index.test",
        "vin@index.test",
        ADDRESS.replace(".1.", ".2."),
        ADDRESS.replace("1f1e", "1f1f"),
        ADDRESS.replace(".1.", ".01."),
        ADDRESS.replace(".1.", ".99999."),
        f"x{ADDRESS}",
        ADDRESS.replace("@", "a@"),
        ADDRESS.replace("b+", "b-"),
        ReturnPath("bounces.index.test", LinkKey(bytes(31) + b"1").sign).address(
            DELIVERY, 1, READER
        ),
    ],
)
def test_an_address_that_we_did_not_make_leads_nowhere(forged: str) -> None:
    assert RETURNS.read(forged) is None


@given(place=st.integers(0, 23), letter=st.sampled_from("abcdefghijklmnopqrstuvwxyz234567"))
def test_no_letter_of_an_address_can_be_changed(place: int, letter: str) -> None:
    local, _, domain = ADDRESS.partition("@")
    start = len(local) - 24 + place
    changed = f"{local[:start]}{letter}{local[start + 1 :]}@{domain}"

    assert (RETURNS.read(changed) is None) == (changed != ADDRESS)


def report(
    *recipients: str, head: str = "Reporting-MTA: dns; mx.test", encoding: str | None = None
) -> bytes:
    """A report as RFC 3464 has it, with these groups of fields on recipients."""
    fields = "\r\n\r\n".join([head, *recipients])
    cte = ""
    if encoding == "base64":
        fields = b64encode(fields.encode()).decode()
        cte = "Content-Transfer-Encoding: base64\r\n"
    return (
        "From: MAILER-DAEMON@mx.test\r\nMIME-Version: 1.0\r\n"
        'Content-Type: multipart/report; report-type=delivery-status; boundary="x.y"\r\n\r\n'
        "preamble\r\n"
        "--x.y\r\nContent-Type: text/plain\r\n\r\nSorry. Action: failed\r\n"
        f"--x.y\r\nContent-Type: message/delivery-status\r\n{cte}\r\n{fields}\r\n"
        "--x.y\r\nContent-Type: text/rfc822-headers\r\n\r\nSubject: Nieuwe match in VIN\r\n"
        "--x.y--\r\n"
    ).encode()


def on(action: str, status: str = "5.1.1") -> str:
    return f"Final-Recipient: rfc822; a@b.test\r\nAction: {action}\r\nStatus: {status}"


@pytest.mark.parametrize(
    ("action", "read"),
    [
        ("failed", Action.FAILED),
        ("Failed (user unknown)", Action.FAILED),
        ("delayed", Action.DELAYED),
        ("delivered", Action.DELIVERED),
        ("relayed", Action.DELIVERED),
        ("expanded", Action.DELIVERED),
    ],
)
@pytest.mark.parametrize("encoding", [None, "base64"])
def test_a_report_tells_what_became_of_the_mail(
    action: str, read: Action, encoding: str | None
) -> None:
    assert read_report(report(on(action), encoding=encoding)) == Report(read, "5.1.1")


@pytest.mark.parametrize(
    ("status", "read"),
    [
        ("5.1.1", "5.1.1"),
        ("5.1.1 (bad destination mailbox address)", "5.1.1"),
        ("4.4.7", "4.4.7"),
        ("unknown", None),
        ("3.1.1", None),
        ("", None),
        ("5.1", None),
    ],
)
def test_of_a_status_no_more_than_the_code_is_read(status: str, read: str | None) -> None:
    assert read_report(report(on("failed", status))) == Report(Action.FAILED, read)


@pytest.mark.parametrize(
    ("status", "is_dead"),
    [
        *(("5.1.1", True), ("5.1.2", True), ("5.1.3", True), ("5.1.6", True), ("5.1.10", True)),
        *(("5.2.1", True), ("5.4.4", True), ("5.1.8", False), ("5.2.2", False), ("5.7.1", False)),
        *(("5.4.7", False), ("5.0.0", False), ("4.1.1", False), ("5.1.11", False), ("", False)),
    ],
)
def test_only_some_codes_say_that_there_is_no_such_mailbox(status: str, *, is_dead: bool) -> None:
    for action in ("failed", "delayed", "delivered"):
        read = read_report(report(on(action, status)))
        assert read is not None
        assert read.is_dead_address == (is_dead and action == "failed")


@pytest.mark.parametrize(
    ("actions", "read"),
    [
        (["failed", "delivered"], Action.DELIVERED),
        (["delayed", "failed"], Action.FAILED),
        (["nonsense", "delayed"], Action.DELAYED),
    ],
)
def test_of_a_mail_that_was_spread_it_counts_that_one_got_it(
    actions: list[str], read: Action
) -> None:
    found = read_report(report(*(on(action) for action in actions)))

    assert found
    assert found.action is read


@pytest.mark.parametrize(
    "mail",
    [
        b"",
        b"\r\n\r\n",
        b"Subject: out of office\r\n\r\nI am away. Action: failed\r\n",
        report(),
        report(on("exploded")),
        report("Status: 5.1.1"),
        report(on("failed")).replace(b"multipart/report", b"multipart/mixed"),
        report(on("failed")).replace(b'; boundary="x.y"', b""),
        report(on("failed")).replace(b'"x.y"', '"é"'.encode()),
        report(on("failed")).replace(b'"x.y"', b'""'),
        report(on("failed")).replace(b"message/delivery-status", b"text/plain"),
        report(on("failed"))[:200],
    ],
)
def test_other_mail_tells_nothing(mail: bytes) -> None:
    assert read_report(mail) is None


def test_a_report_on_an_address_with_other_letters_is_read_as_well() -> None:
    """RFC 6533."""
    mail = report(on("failed")).replace(
        b"message/delivery-status", b"message/global-delivery-status"
    )

    assert read_report(mail) == Report(Action.FAILED, "5.1.1")


@given(mail=st.binary(max_size=2000))
def test_no_bytes_break_the_reading(mail: bytes) -> None:
    read_report(mail)
    read_report(b"Content-Type: multipart/report; boundary=a\r\n\r\n--a\r\n" + mail)
    read_report(report(on("failed")).replace(b"5.1.1", mail))


@given(cut=st.integers(0, 700), junk=st.binary(max_size=20))
def test_a_broken_report_is_read_or_not_but_never_an_error(cut: int, junk: bytes) -> None:
    mail = report(on("failed"), on("delayed", "4.4.7"))

    read_report(mail[:cut] + junk + mail[cut:])


@pytest.mark.parametrize(
    "mail",
    [
        b"Content-Type: multipart/report; boundary=a\r\n\r\n" + b"--a\r\n" * 200_000,
        b"Content-Type: multipart/report; boundary=a\r\n\r\n"
        + b"".join(
            b"--a\r\nContent-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
            for n in range(12_000)
        ),
        report("\r\n\r\n".join([on("nonsense")] * 12_000)),
        report(on("nonsense"), head="X: " + "y" * 800_000),
        report(on("nonsense" + " x: y\r\n" * 100_000)),
        b"X: " + b"y" * 1_000_000,
        b"Content-Type: multipart/report" + b"; a=b" * 200_000 + b"\r\n\r\n",
    ],
)
def test_a_mail_made_to_keep_us_busy_does_not(mail: bytes) -> None:
    assert len(mail) >= 700_000
    before = process_time()

    read_report(mail[: 1024 * 1024])

    assert process_time() - before < 0.5


@pytest.mark.parametrize(
    ("recorded", "told"),
    [
        ("delivered-2.0.0", Report(Action.DELIVERED, "2.0.0")),
        ("relayed-2.0.0", Report(Action.DELIVERED, "2.0.0")),
        ("delayed-4.3.2", Report(Action.DELAYED, "4.3.2")),
        ("failed-5.1.1", Report(Action.FAILED, "5.1.1")),
        ("failed-5.2.2", Report(Action.FAILED, "5.2.2")),
    ],
)
def test_what_postfix_reports_is_read(recorded: str, told: Report) -> None:
    """`scripts/soak mail` recorded these."""
    assert read_report((DATA / f"postfix-{recorded}.eml").read_bytes()) == told
