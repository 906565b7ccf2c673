"""Certificates for tests: nobody outside them trusts any."""

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from vin.crypto.keyfile import write_secret

Key = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
ALL_USES = dict.fromkeys(
    [
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    ],
    False,
)


@cache
def rsa_key(whose: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """One key for each name: to make one takes long."""
    assert whose
    return rsa.generate_private_key(65537, bits)


def certificate(key: Key, *, uses: tuple[str, ...] = (), name: str = "test") -> x509.Certificate:
    """A certificate on the key, signed by itself; without `uses` it is for any."""
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2126, 1, 1, tzinfo=UTC))
    )
    if uses:
        usage = x509.KeyUsage(**(ALL_USES | dict.fromkeys(uses, True)))
        builder = builder.add_extension(usage, critical=True)
    return builder.sign(key, hashes.SHA256())


def pem(of: x509.Certificate) -> bytes:
    return of.public_bytes(Encoding.PEM)


def private_pem(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def write_signer(folder: Path, key: Key, *chain: x509.Certificate) -> None:
    """Our own key and certificates, where a worker looks for them."""
    write_secret(folder / "smime-signing.pem", private_pem(key))
    (folder / "smime-certificate.pem").write_bytes(b"".join(pem(each) for each in chain))
