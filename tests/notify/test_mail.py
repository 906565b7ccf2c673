import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from html.parser import HTMLParser
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from notify import mail
from notify.mail import Conversation, Kind, Language, Letter, MatchItem, Route, UndeliveredError
from notify.retry import Outcome, Result
from tests.notify.conftest import AT, SENDER, letter_for
from tests.notify.smtp_peer import DROP, HANG, Peer, peer_listening

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


def letter(*items: MatchItem, language: Language = "nl") -> Letter:
    return Letter(recipient="reporter1@school.test", items=items or [ITEM], language=language)


def sent(written: Letter, delivery: UUID = DELIVERY) -> tuple[bytes, EmailMessage]:
    """The mail as bytes, and as its reader's program takes it apart."""
    raw = mail.render(written, delivery, SENDER, AT).as_bytes()
    return raw, message_from_bytes(raw, policy=default)


def bodies(message: EmailMessage) -> tuple[str, str]:
    text, html = message.iter_parts()
    return text.get_content(), html.get_content()


class Page(HTMLParser):
    """The words of a page, one item for each stretch of text, and its elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.open: list[str] = []
        self.links: list[str | None] = []
        self.language: str | None = None
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in {"meta", "img"}:
            self.open.append(tag)
        if tag == "html":
            self.language = dict(attrs)["lang"]
        if tag == "a":
            self.links.append(dict(attrs)["href"])

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(" ".join(data.split()))


def test_the_envelope_tells_no_more_than_that_there_is_a_mail() -> None:
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
def test_both_texts_tell_for_each_match_whom_to_contact(language: Language) -> None:
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

    assert mail.WORDS[language]["one"] in " ".join(one.split())
    assert mail.WORDS[language]["many"] in " ".join(more.split())


def test_both_languages_have_the_same_words() -> None:
    assert mail.WORDS["nl"].keys() == mail.WORDS["en"].keys()
    assert mail.WORDS["nl"]["kinds"].keys() == mail.WORDS["en"]["kinds"].keys()
    assert len(mail.WORDS["nl"]["steps"]) == len(mail.WORDS["en"]["steps"])


def test_the_page_names_its_language_and_links_to_phone_and_mail() -> None:
    page = Page(bodies(sent(letter(language="en"))[1])[1])

    assert page.language == "en"
    assert page.links == ["tel:0721234567", "mailto:reporter2@ggd.test"]
    assert page.open == []


def test_the_same_letter_gives_the_same_bytes() -> None:
    assert sent(letter())[0] == sent(letter())[0]
    assert sent(letter())[0] != sent(letter(), OTHER)[0]


def test_the_letter_shows_no_contact_data_when_it_is_printed() -> None:
    printed = repr(letter())

    assert ITEM.number in printed
    for told in [*CONTACT, ITEM.reference, ITEM.reachable, "reporter1"]:
        assert str(told) not in printed


any_text = st.text(max_size=100)
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

    assert message.keys() == sent(letter())[1].keys()
    assert page.open == []
    assert len(page.links) == 2
    assert len(text.splitlines()) == len(bodies(sent(letter())[1])[0].splitlines())
    for value in (name, function, organisation, reachable):
        assert mail.visible(value) in text
        assert not mail.visible(value) or mail.visible(value) in page.words
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
    assert mail.visible(value) == shown


def route(peer: Peer, *, tls_required: bool = False) -> Route:
    return Route(host="127.0.0.1", port=peer.port, sender=SENDER, tls_required=tls_required)


async def delivered(peer: Peer, *, tls_required: bool = False) -> Outcome:
    """Have one mail delivered, and tell how it went."""
    talk = Conversation(route(peer, tls_required=tls_required))
    try:
        await talk.introduce("reporter1@school.test")
        return await talk.hand_over(sent(letter_for(1))[0])
    except UndeliveredError as error:
        return error.outcome
    finally:
        await talk.leave()


async def test_a_mail_arrives_byte_for_byte(peer: Peer) -> None:
    assert await delivered(peer) == Outcome(Result.SENT, 250)

    (accepted,) = peer.accepted
    assert (accepted.sender, accepted.recipient) == (SENDER, "reporter1@school.test")
    assert accepted.content == sent(letter_for(1))[0]


@pytest.mark.parametrize(
    ("moment", "fault", "outcome"),
    [
        ("CONNECT", "421 later", Outcome(Result.UNREACHABLE, 421)),
        ("CONNECT", "554 go away", Outcome(Result.UNREACHABLE, 554)),
        ("CONNECT", DROP, Outcome(Result.UNREACHABLE)),
        ("EHLO", DROP, Outcome(Result.UNREACHABLE)),
        ("MAIL", "451 later", Outcome(Result.DEFERRED, 451)),
        ("MAIL", "550 never", Outcome(Result.REFUSED, 550)),
        ("MAIL", DROP, Outcome(Result.UNREACHABLE)),
        ("RCPT", "450 later", Outcome(Result.DEFERRED, 450)),
        ("RCPT", "421 closing", Outcome(Result.DEFERRED, 421)),
        ("RCPT", "550 never", Outcome(Result.REFUSED, 550)),
        ("RCPT", "nonsense", Outcome(Result.UNREACHABLE, -1)),
        ("RCPT", DROP, Outcome(Result.UNREACHABLE)),
        ("DATA", "451 later", Outcome(Result.DEFERRED, 451)),
        ("DATA", "554 never", Outcome(Result.REFUSED, 554)),
        ("DATA", DROP, Outcome(Result.UNANSWERED)),
        ("CONTENT", DROP, Outcome(Result.UNANSWERED)),
        ("DOT", "451 later", Outcome(Result.DEFERRED, 451)),
        ("DOT", "550 never", Outcome(Result.REFUSED, 550)),
        ("DOT", DROP, Outcome(Result.UNANSWERED)),
        ("ANSWER", DROP, Outcome(Result.UNANSWERED)),
        ("ANSWER", "nonsense", Outcome(Result.UNANSWERED)),
        ("ANSWER", "299 odd", Outcome(Result.UNANSWERED, 299)),
    ],
)
async def test_a_failure_is_told_by_when_it_struck(
    peer: Peer, moment: str, fault: str, outcome: Outcome
) -> None:
    peer.faults[moment].append(fault)

    assert await delivered(peer) == outcome


@pytest.mark.parametrize(
    ("moment", "result"), [("RCPT", Result.UNREACHABLE), ("ANSWER", Result.UNANSWERED)]
)
async def test_a_server_that_hangs_is_left(
    peer: Peer, moment: str, result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "COMMAND_SECONDS", 0.05)
    monkeypatch.setattr(mail, "DATA_SECONDS", 0.05)
    peer.faults[moment].append(HANG)

    assert await delivered(peer) == Outcome(result)


async def test_a_server_that_refuses_ehlo_for_good_is_only_unreachable(peer: Peer) -> None:
    peer.faults["EHLO"].append("421 busy")

    assert await delivered(peer) == Outcome(Result.UNREACHABLE, 421)


async def test_nobody_listening_is_unreachable(peer: Peer) -> None:
    nowhere = replace(route(peer), port=1)
    talk = Conversation(nowhere)

    with pytest.raises(UndeliveredError) as caught:
        await talk.introduce("reporter1@school.test")
    await talk.leave()

    assert caught.value.outcome == Outcome(Result.UNREACHABLE)


@pytest.mark.parametrize(
    "address",
    [
        *("", "reporter", "a@b@c", "a b@c.test", "a@c.test ", "a,b@c.test", "a:b@c.test"),
        *("<a@c.test>", '"a"@c.test', "é@c.test", "a@c.test\r\nRCPT TO:<x@y.test>"),
    ],
)
async def test_what_is_no_address_is_refused_without_asking_the_server(
    peer: Peer, address: str
) -> None:
    with pytest.raises(UndeliveredError) as caught:
        await Conversation(route(peer)).introduce(address)

    assert caught.value.outcome == Outcome(Result.REFUSED)
    assert "c.test" not in str(caught.value)
    assert peer.sessions == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate that nobody signed, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "peer")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=36500))
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "peer.pem"
    file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return file


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


async def test_tls_is_used_where_it_is_offered(tls: ssl.SSLContext) -> None:
    async with peer_listening(tls) as peer:
        assert await delivered(peer) == Outcome(Result.SENT, 250)

        assert [accepted.encrypted for accepted in peer.accepted] == [True]


async def test_a_mail_never_goes_in_clear_when_tls_was_offered_and_failed(
    tls: ssl.SSLContext,
) -> None:
    async with peer_listening(tls) as peer:
        peer.faults["STARTTLS"].append("454 not now")

        assert await delivered(peer) == Outcome(Result.UNREACHABLE, 454)


async def test_where_tls_is_required_a_server_without_it_gets_nothing(peer: Peer) -> None:
    assert await delivered(peer, tls_required=True) == Outcome(Result.UNREACHABLE)
    assert peer.accepted == []


async def test_where_tls_is_required_a_certificate_that_nobody_vouches_for_is_not_enough(
    tls: ssl.SSLContext,
) -> None:
    async with peer_listening(tls) as peer:
        assert await delivered(peer, tls_required=True) == Outcome(Result.UNREACHABLE)
        assert peer.accepted == []
