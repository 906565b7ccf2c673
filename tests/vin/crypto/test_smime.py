import shutil
import subprocess
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import SMTP, default
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from tests.vin.crypto.certificates import (
    Key,
    certificate,
    pem,
    private_pem,
    rsa_key,
    write_signer,
)
from vin.crypto.keyfile import KeyFileError, write_secret
from vin.crypto.smime import CertificateError, MailSeal, read_certificate

READER = rsa_key("reader")
READER_CERTIFICATE = certificate(READER, uses=("key_encipherment",), name="reader")
TOLD = "Jeugdarts Reporter 2, 072 123 45 67, reporter2@ggd.test"
OPENSSL = shutil.which("openssl")


def written() -> bytes:
    """A mail's content, as `notify.render` writes it."""
    message = EmailMessage(policy=SMTP)
    message.set_content(f"Goedendag, café\n\n{TOLD}\n", cte="quoted-printable")
    message.add_alternative(f"<p>{TOLD}</p>", subtype="html", cte="quoted-printable")
    message["Content-Language"] = "nl"
    del message["MIME-Version"]
    return message.as_bytes()


def der(of: x509.Certificate) -> bytes:
    return of.public_bytes(Encoding.DER)


def sealer(folder: Path, key: Key | None = None) -> MailSeal:
    key = key or rsa_key("vin")
    write_signer(folder, key, certificate(key, name="vin"))
    seal = MailSeal.load(folder)
    assert seal
    return seal


def opened(sealed: bytes) -> bytes:
    """What the organisation's own program finds inside, still signed."""
    envelope = message_from_bytes(sealed)
    box = envelope.get_payload(decode=True)
    assert isinstance(box, bytes)
    return pkcs7.pkcs7_decrypt_der(box, READER_CERTIFICATE, READER, [])


@pytest.mark.parametrize("key", [rsa_key("vin"), ec.generate_private_key(ec.SECP256R1())])
def test_the_reader_finds_the_mail_as_it_was_written_and_signed_by_us(
    tmp_path: Path, key: Key
) -> None:
    inside = message_from_bytes(
        opened(sealer(tmp_path, key).seal(written(), der(READER_CERTIFICATE))), policy=default
    )

    assert inside.get_content_type() == "multipart/signed"
    signed, signature = inside.iter_parts()
    assert signature.get_content_type() == "application/x-pkcs7-signature"
    assert signed["Content-Language"] == "nl"
    text, html = signed.iter_parts()
    assert text.get_content().replace("\r\n", "\n") == f"Goedendag, café\n\n{TOLD}\n"
    assert TOLD in html.get_content()


def test_outside_nothing_is_read_but_that_there_is_a_mail(tmp_path: Path) -> None:
    sealed = sealer(tmp_path).seal(written(), der(READER_CERTIFICATE))

    outside = message_from_bytes(sealed, policy=default)
    assert dict(outside.items()) == {
        "Content-Type": 'application/pkcs7-mime; smime-type="enveloped-data"; name="smime.p7m"',
        "Content-Transfer-Encoding": "base64",
        "Content-Disposition": 'attachment; filename="smime.p7m"',
    }
    for told in (TOLD, "Jeugdarts", "reporter2", "Goedendag"):
        assert told.encode() not in sealed
        assert told.encode() not in outside.get_payload(decode=True)
    assert max(map(len, sealed.splitlines())) <= 78 + len("boundary")


def test_nobody_but_the_reader_can_open_it(tmp_path: Path) -> None:
    sealed = sealer(tmp_path).seal(written(), der(READER_CERTIFICATE))
    box = message_from_bytes(sealed).get_payload(decode=True)
    assert isinstance(box, bytes)
    other = rsa_key("other")

    with pytest.raises(ValueError, match="No recipient"):
        pkcs7.pkcs7_decrypt_der(box, certificate(other), other, [])


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
@pytest.mark.parametrize("key", [rsa_key("vin"), ec.generate_private_key(ec.SECP256R1())])
def test_openssl_opens_it_and_vouches_for_our_signature(tmp_path: Path, key: Key) -> None:
    (tmp_path / "mail.eml").write_bytes(
        sealer(tmp_path, key).seal(written(), der(READER_CERTIFICATE))
    )
    (tmp_path / "reader.pem").write_bytes(pem(READER_CERTIFICATE))
    (tmp_path / "reader.key").write_bytes(private_pem(READER))
    reader = ["-recip", "reader.pem", "-inkey", "reader.key"]
    ours = ["-CAfile", "smime-certificate.pem", "-purpose", "any"]
    commands = [
        ["cms", "-decrypt", "-in", "mail.eml", *reader, "-out", "signed.eml"],
        ["cms", "-verify", "-in", "signed.eml", *ours, "-out", "plain.eml"],
    ]

    for command in commands:
        run = subprocess.run(
            [str(OPENSSL), *command], cwd=tmp_path, capture_output=True, check=False
        )
        assert run.returncode == 0, run.stderr.decode()

    assert TOLD.encode() in (tmp_path / "plain.eml").read_bytes()


@pytest.mark.skipif(OPENSSL is None, reason="openssl is not installed")
def test_openssl_refuses_a_mail_that_was_changed_inside(tmp_path: Path) -> None:
    signed = opened(sealer(tmp_path).seal(written(), der(READER_CERTIFICATE)))
    (tmp_path / "signed.eml").write_bytes(signed.replace(b"072", b"073"))

    run = subprocess.run(
        [str(OPENSSL), "cms", "-verify", "-in", "signed.eml", "-noverify"],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )

    assert run.returncode != 0
    assert b"verif" in run.stderr


def test_without_a_key_there_is_no_seal(tmp_path: Path) -> None:
    assert MailSeal.load(tmp_path) is None


def test_those_who_vouch_for_our_certificate_go_along(tmp_path: Path) -> None:
    key, issuer = rsa_key("vin"), rsa_key("issuer")
    write_signer(tmp_path, key, certificate(key, name="vin"), certificate(issuer, name="issuer"))
    seal = MailSeal.load(tmp_path)
    assert seal

    inside = message_from_bytes(
        opened(seal.seal(written(), der(READER_CERTIFICATE))), policy=default
    )

    signature = [*inside.iter_parts()][1].get_content()
    names = {each.subject for each in pkcs7.load_der_pkcs7_certificates(signature)}
    assert len(names) == 2


@pytest.mark.parametrize("content", [b"", b"nonsense", pem(READER_CERTIFICATE)])
def test_a_file_without_a_key_is_refused_with_a_sentence(tmp_path: Path, content: bytes) -> None:
    write_secret(tmp_path / "smime-signing.pem", content)

    with pytest.raises(KeyFileError, match="holds no RSA or EC key"):
        MailSeal.load(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"nonsense"])
def test_a_file_without_certificate_is_refused_with_a_sentence(
    tmp_path: Path, content: bytes | None
) -> None:
    write_secret(tmp_path / "smime-signing.pem", private_pem(READER))
    if content is not None:
        (tmp_path / "smime-certificate.pem").write_bytes(content)

    with pytest.raises(KeyFileError, match="holds no certificate"):
        MailSeal.load(tmp_path)


def test_a_certificate_for_another_key_is_refused(tmp_path: Path) -> None:
    write_signer(tmp_path, rsa_key("vin"), certificate(rsa_key("other")))

    with pytest.raises(KeyFileError, match="is not for"):
        MailSeal.load(tmp_path)


@pytest.mark.parametrize("uses", [(), ("key_encipherment",)])
def test_a_certificate_for_encryption_is_read(uses: tuple[str, ...]) -> None:
    made = certificate(READER, uses=uses)

    assert read_certificate(pem(made)) == der(made)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no certificate"),
        (b"nonsense", "no certificate"),
        (private_pem(READER), "no certificate"),
        (pem(certificate(ec.generate_private_key(ec.SECP256R1()))), "not RSA"),
        (pem(certificate(rsa_key("short", 1024))), "2048 bits"),
        (pem(certificate(READER, uses=("digital_signature",))), "key usage"),
    ],
)
def test_a_certificate_that_nothing_can_be_encrypted_for_is_refused(
    content: bytes, says: str
) -> None:
    with pytest.raises(CertificateError, match=says):
        read_certificate(content)
