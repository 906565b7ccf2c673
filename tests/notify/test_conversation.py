import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from notify import mail, render
from notify.carrier import UndeliveredError
from notify.mail import Conversation, Envelope, Route
from notify.retry import Outcome, Result
from tests.notify.conftest import AT, SENDER, letter_for
from tests.notify.smtp_peer import DROP, HANG, Peer, peer_listening

MAIL = render.render(letter_for(1), UUID(int=1), SENDER, AT).as_bytes()


def route(peer: Peer, *, tls_required: bool = False) -> Route:
    return Route(host="127.0.0.1", port=peer.port, sender=SENDER, tls_required=tls_required)


async def delivered(peer: Peer, *, tls_required: bool = False) -> Outcome:
    """Have one mail delivered, and tell how it went."""
    talk = Conversation(route(peer, tls_required=tls_required))
    try:
        await talk.introduce(Envelope(SENDER, "reporter1@school.test"))
        return await talk.hand_over(MAIL)
    except UndeliveredError as error:
        return error.outcome
    finally:
        await talk.leave()


async def test_a_mail_arrives_byte_for_byte(peer: Peer) -> None:
    assert await delivered(peer) == Outcome(Result.SENT, 250)

    (accepted,) = peer.accepted
    assert (accepted.sender, accepted.recipient) == (SENDER, "reporter1@school.test")
    assert accepted.content == MAIL


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
        ("RCPT", "nonsense", Outcome(Result.UNREACHABLE)),
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
        await talk.introduce(Envelope(SENDER, "reporter1@school.test"))
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
        await Conversation(route(peer)).introduce(Envelope(SENDER, address))

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
