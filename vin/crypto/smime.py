"""S/MIME (RFC 8551): a mail signed by us, then encrypted for one organisation."""

from base64 import encodebytes
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, pkcs7

from vin.crypto.keyfile import KeyFileError, read_secret

SIGNING: Final = "smime-signing.pem"
CERTIFICATE: Final = "smime-certificate.pem"
RSA_BITS: Final = 2048
HEADERS: Final = (
    b'Content-Type: application/pkcs7-mime; smime-type=enveloped-data; name="smime.p7m"\r\n'
    b"Content-Transfer-Encoding: base64\r\n"
    b'Content-Disposition: attachment; filename="smime.p7m"\r\n'
    b"\r\n"
)

SigningKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


class CertificateError(ValueError):
    """What keeps a certificate from being used, in words for the operator."""


class MailSeal:
    """Seals mails with our key; its repr shows nothing."""

    def __init__(self, key: SigningKey, chain: list[x509.Certificate]) -> None:
        self._key = key
        self._chain = chain

    @classmethod
    def load(cls, folder: Path) -> Self | None:
        """Our key and certificate, with those that vouch for it; None where there is no key."""
        if not (folder / SIGNING).exists():
            return None
        key = _private(folder / SIGNING)
        chain = _chain(folder / CERTIFICATE)
        if _public_bytes(chain[0]) != _public_bytes(key):
            message = f"The first certificate in {folder / CERTIFICATE} is not for {SIGNING}."
            raise KeyFileError(message)
        return cls(key, chain)

    def seal(self, content: bytes, certificate: bytes) -> bytes:
        """A mail's content, signed, then encrypted for the certificate (DER).

        Both begin with the headers that tell what they are.
        """
        sealed = _encrypted(self._signed(content), certificate)
        return HEADERS + encodebytes(sealed).replace(b"\n", b"\r\n")

    def _signed(self, entity: bytes) -> bytes:
        builder = pkcs7.PKCS7SignatureBuilder().set_data(entity)
        builder = builder.add_signer(self._chain[0], self._key, SHA256())
        for each in self._chain[1:]:
            builder = builder.add_certificate(each)
        options = [pkcs7.PKCS7Options.DetachedSignature]
        return builder.sign(Encoding.SMIME, options)


def _encrypted(entity: bytes, certificate: bytes) -> bytes:
    builder = pkcs7.PKCS7EnvelopeBuilder().set_data(entity)
    builder = builder.add_recipient(x509.load_der_x509_certificate(certificate))
    builder = builder.set_content_encryption_algorithm(AES256)
    return builder.encrypt(Encoding.DER, [pkcs7.PKCS7Options.Binary])


def read_certificate(pem: bytes) -> bytes:
    """The DER form of a certificate that mails can be encrypted for, or CertificateError."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        key = certificate.public_key()
    except ValueError:
        message = "this is no certificate in PEM form"
        raise CertificateError(message) from None
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size < RSA_BITS:
        message = f"its key is not RSA of at least {RSA_BITS} bits"
        raise CertificateError(message)
    if not _may_encrypt(certificate):
        message = "it may not be used to encrypt (key usage)"
        raise CertificateError(message)
    return certificate.public_bytes(Encoding.DER)


def _may_encrypt(certificate: x509.Certificate) -> bool:
    """RFC 8550, 4.4.2: without the extension a certificate is for any use."""
    try:
        return certificate.extensions.get_extension_for_class(x509.KeyUsage).value.key_encipherment
    except x509.ExtensionNotFound:
        return True


def _private(path: Path) -> SigningKey:
    try:
        key = serialization.load_pem_private_key(read_secret(path), password=None)
    except (ValueError, TypeError):  # the errors would remember the content
        key = None
    if not isinstance(key, SigningKey):
        message = f"The key file {path} holds no RSA or EC key in PEM form without a password."
        raise KeyFileError(message)
    return key


def _chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except (OSError, ValueError):
        message = f"The file {path} holds no certificate in PEM form."
        raise KeyFileError(message) from None


def _public_bytes(holder: x509.Certificate | SigningKey) -> bytes:
    key = holder.public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
