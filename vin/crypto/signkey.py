"""The keys that sign and verify, and the algorithm that each is for."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry
from joserfc.util import base64_to_int

AccessKey = ECKey
PermitKey = OKPKey
ClientKey = ECKey | RSAKey
Jwk = Mapping[str, str | list[str]]

ASSERTION_ALGORITHMS: Final = ["ES256", "PS256", "RS256"]

ACCESS_JWS: Final = JWSRegistry(algorithms=["ES256"])
ASSERTION_JWS: Final = JWSRegistry(
    algorithms=ASSERTION_ALGORITHMS,
    strict_check_header=False,  # RFC 7515 §4: members of others are ignored
)
PERMIT_JWS: Final = JWSRegistry(algorithms=["EdDSA"])
# RFC 9864 gave this algorithm a new name; permits keep the old one.
PERMIT_JWS.algorithms = {"EdDSA": JWSRegistry.algorithms["Ed25519"]}

_SMALLEST_RSA: Final = 2048
_CLIENT_KEY: Final = "a client's key is P-256 or RSA of 2048 bits, and meant to sign"
_PRIVATE: Final = "a client's private key must stay with the client"


class UnfitKeyError(Exception):
    """The key is of another kind, or too weak; the sentence never shows it."""


def load_access_key(pem: bytes) -> AccessKey:
    """Load a P-256 key, private or public; else UnfitKeyError."""
    with _unfit("access tokens need a P-256 key in PEM"):
        key = ECKey.import_key(pem)
        ACCESS_JWS.get_alg("ES256").check_key(key)
    return key


def load_permit_key(pem: bytes) -> PermitKey:
    """Load an Ed25519 key, private or public; else UnfitKeyError."""
    with _unfit("permits need an Ed25519 key in PEM"):
        key = OKPKey.import_key(pem)
        PERMIT_JWS.get_alg("EdDSA").check_key(key)
    return key


def new_client_key() -> bytes:
    """Make a private P-256 key as PKCS#8 PEM."""
    return ECKey.generate_key("P-256").as_pem(private=True)


def load_client_key(pem: bytes) -> ClientKey:
    """Load the private key of a client; else UnfitKeyError."""
    with _unfit(_CLIENT_KEY):
        match load_pem_private_key(pem, password=None):
            case EllipticCurvePrivateKey() as private:
                return _fit(ECKey.import_key(private))
            case RSAPrivateKey(key_size=bits) as private if bits >= _SMALLEST_RSA:
                return _fit(RSAKey.import_key(private))
    raise UnfitKeyError(_CLIENT_KEY)


def import_client_jwk(jwk: Jwk) -> ClientKey:
    """Take the public key of a client; else UnfitKeyError."""
    with _unfit(_CLIENT_KEY):
        match jwk:
            case {"d": _}:
                raise UnfitKeyError(_PRIVATE)
            case {"kty": "EC"}:
                return _fit(ECKey.import_key(dict(jwk)))
            case {"kty": "RSA", "n": str(n)} if _bits(n) >= _SMALLEST_RSA:
                return _fit(RSAKey.import_key(dict(jwk)))
    raise UnfitKeyError(_CLIENT_KEY)


def public_jwk(pem: bytes) -> Jwk:
    """Give what the index may know of a client's private key."""
    return load_client_key(pem).as_dict(private=False)


def _fit(key: ClientKey) -> ClientKey:
    if not ASSERTION_JWS.filter_algorithms(key, ASSERTION_ALGORITHMS):
        raise UnfitKeyError(_CLIENT_KEY)
    return key


def _bits(n: str) -> int:
    return base64_to_int(n).bit_length()


@contextmanager
def _unfit(sentence: str) -> Iterator[None]:
    try:
        yield
    except (JoseError, LookupError, TypeError, ValueError, UnsupportedAlgorithm) as error:
        raise UnfitKeyError(sentence) from error
