"""What clients sign to get an access token, and the keys they may sign with."""

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from tests.vin.crypto.forge import (
    Signer,
    ec_jwk,
    encrypted_pem,
    es256,
    forge,
    hs256,
    private_pem,
    ps256,
    public_pem,
    rs256,
    rsa_jwk,
    unsigned,
)
from vin.crypto import sign
from vin.crypto.sign import Assertion, Jwk, Reason, SignatureRefusedError, UnfitKeyError
from vin.crypto.signkey import import_client_jwk

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
AT = int(NOW.timestamp())
AUDIENCE = "https://index.test/v1/token"

EC_KEY = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)
SMALL_RSA_KEY = rsa.generate_private_key(65537, 1024)  # noqa: S505, too small on purpose
EC_JWK, RSA_JWK = ec_jwk(EC_KEY), rsa_jwk(RSA_KEY)

CLAIMS: dict[str, object] = {
    "iss": "client-1",
    "sub": "client-1",
    "aud": AUDIENCE,
    "jti": "assertion-1",
    "exp": AT + 300,
}
ASSERTION = Assertion(
    client_id="client-1", id="assertion-1", expires_at=NOW + sign.ASSERTION_LIFETIME
)


def verify(compact: str, keys: Sequence[Jwk] = (EC_JWK,)) -> Assertion:
    return sign.verify_client_assertion(keys, compact, "client-1", AUDIENCE, NOW)


def refused(compact: str, keys: Sequence[Jwk] = (EC_JWK,)) -> Reason:
    with pytest.raises(SignatureRefusedError) as refusal:
        verify(compact, keys)
    return refusal.value.reason


@pytest.mark.parametrize(
    ("algorithm", "signer", "jwk"),
    [
        ("ES256", es256(EC_KEY), EC_JWK),
        ("PS256", ps256(RSA_KEY), RSA_JWK),
        ("RS256", rs256(RSA_KEY), RSA_JWK),
    ],
)
def test_three_algorithms_are_taken(algorithm: str, signer: Signer, jwk: Jwk) -> None:
    assert verify(forge({"alg": algorithm}, CLAIMS, signer), [jwk]) == ASSERTION


@pytest.mark.parametrize("key", [EC_KEY, RSA_KEY], ids=["EC", "RSA"])
def test_what_the_client_library_signs_is_taken(
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
) -> None:
    pem = private_pem(key)

    compact = sign.make_client_assertion(sign.load_client_key(pem), ASSERTION, AUDIENCE, NOW)

    assert verify(compact, [sign.public_jwk(pem)]) == ASSERTION


def test_a_new_client_key_can_sign() -> None:
    pem = sign.new_client_key()

    compact = sign.make_client_assertion(sign.load_client_key(pem), ASSERTION, AUDIENCE, NOW)

    assert verify(compact, [sign.public_jwk(pem)]) == ASSERTION


def test_the_client_is_named_before_its_key_is_known() -> None:
    assert sign.claimed_client(forge({"alg": "ES256"}, CLAIMS, unsigned)) == "client-1"


@pytest.mark.parametrize("sub", [None, "", 7, ["client-1"]])
def test_a_statement_that_names_no_client_is_refused(sub: object) -> None:
    with pytest.raises(SignatureRefusedError):
        sign.claimed_client(forge({"alg": "ES256"}, CLAIMS | {"sub": sub}, unsigned))


@pytest.mark.parametrize(
    "change",
    [
        {"aud": [AUDIENCE]},
        {"exp": AT - 59},
        {"exp": AT + 360},
        {"exp": AT + 0.5},
        {"iat": AT + 60, "nbf": AT + 60},
        {"iat": AT - 86400},
        {"jti": "a" * 128},
        {"other": {"member": 1}},
    ],
)
def test_what_the_contract_leaves_open_is_taken(change: dict[str, object]) -> None:
    verify(forge({"alg": "ES256"}, CLAIMS | change, es256(EC_KEY)))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": "client-2"}, Reason.ISSUER),
        ({"iss": None}, Reason.ISSUER),
        ({"sub": "client-2"}, Reason.SUBJECT),
        ({"aud": "https://index.test"}, Reason.AUDIENCE),
        ({"aud": [AUDIENCE, "https://other.test"]}, Reason.AUDIENCE),
        ({"aud": []}, Reason.AUDIENCE),
        ({"exp": AT - 60}, Reason.EXPIRED),
        ({"exp": AT + 361}, Reason.LIFETIME),
        ({"exp": None}, Reason.MALFORMED),
        ({"exp": str(AT)}, Reason.MALFORMED),
        ({"iat": AT + 61}, Reason.PREMATURE),
        ({"nbf": AT + 61}, Reason.PREMATURE),
        ({"jti": ""}, Reason.MALFORMED),
        ({"jti": None}, Reason.MALFORMED),
        ({"jti": "a" * 129}, Reason.MALFORMED),
    ],
)
def test_a_wrong_claim_is_refused(change: dict[str, object], reason: Reason) -> None:
    assert refused(forge({"alg": "ES256"}, CLAIMS | change, es256(EC_KEY))) is reason


@pytest.mark.parametrize(
    ("header", "signer", "jwk", "reason"),
    [
        ({"alg": "none"}, unsigned, EC_JWK, Reason.ALGORITHM),
        ({"alg": "HS256"}, hs256(public_pem(EC_KEY)), EC_JWK, Reason.ALGORITHM),
        ({"alg": "ES384"}, es256(EC_KEY), EC_JWK, Reason.ALGORITHM),
        ({"alg": "PS512"}, ps256(RSA_KEY), RSA_JWK, Reason.ALGORITHM),
        ({"alg": "ES256"}, es256(EC_KEY), RSA_JWK, Reason.SIGNATURE),
        ({"alg": "RS256"}, rs256(RSA_KEY), EC_JWK, Reason.SIGNATURE),
        ({"alg": "PS256"}, rs256(RSA_KEY), RSA_JWK, Reason.SIGNATURE),
        ({"alg": "PS256"}, ps256(RSA_KEY), RSA_JWK | {"alg": "RS256"}, Reason.SIGNATURE),
        ({"alg": "ES256"}, unsigned, EC_JWK, Reason.SIGNATURE),
        ({"alg": "ES256", "crit": ["kid"]}, es256(EC_KEY), EC_JWK, Reason.MALFORMED),
        ({"alg": "ES256", "b64": False}, es256(EC_KEY), EC_JWK, Reason.SIGNATURE),
        ({"alg": "ES256", "kid": 7}, es256(EC_KEY), EC_JWK, Reason.SIGNATURE),
    ],
)
def test_another_algorithm_or_key_is_refused(
    header: dict[str, object], signer: Signer, jwk: Jwk, reason: Reason
) -> None:
    assert refused(forge(header, CLAIMS, signer), [jwk]) is reason


def test_the_key_in_the_header_is_not_believed() -> None:
    thief = ec.derive_private_key(7, ec.SECP256R1())
    header = {"alg": "ES256", "jwk": ec_jwk(thief), "x5u": "https://thief.test/key"}

    assert refused(forge(header, CLAIMS, es256(thief))) is Reason.SIGNATURE
    verify(forge(header, CLAIMS, es256(EC_KEY)))


FIRST, SECOND = EC_JWK | {"kid": "first"}, RSA_JWK | {"kid": "second"}


@pytest.mark.parametrize(
    ("header", "keys"),
    [
        ({}, [FIRST]),
        ({"kid": "first"}, [FIRST]),
        ({"kid": "any"}, [EC_JWK]),
        ({"kid": "first"}, [FIRST, SECOND]),
        ({"kid": "first"}, [SECOND, FIRST]),
    ],
)
def test_the_key_is_found_by_its_id_where_there_is_a_choice(
    header: dict[str, object], keys: list[Jwk]
) -> None:
    verify(forge({"alg": "ES256"} | header, CLAIMS, es256(EC_KEY)), keys)


@pytest.mark.parametrize(
    ("header", "keys"),
    [
        ({}, []),
        ({}, [FIRST, SECOND]),
        ({"kid": "other"}, [FIRST]),
        ({"kid": "first"}, [FIRST, FIRST]),
        ({"kid": "first"}, [FIRST, RSA_JWK]),
        ({}, [rsa_jwk(SMALL_RSA_KEY)]),
        ({}, [EC_JWK | {"x": ""}]),
    ],
)
def test_no_key_or_more_than_one_or_a_weak_one_is_refused(
    header: dict[str, object], keys: list[Jwk]
) -> None:
    compact = forge({"alg": "ES256"} | header, CLAIMS, es256(EC_KEY))

    assert refused(compact, keys) is Reason.KEY


@pytest.mark.parametrize(
    "jwk",
    [
        {},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "OKP", "crv": "Ed25519", "x": "A" * 43},
        {"kty": "EC"},
        EC_JWK | {"crv": "P-384"},
        EC_JWK | {"crv": "none"},
        EC_JWK | {"y": EC_JWK["x"]},
        EC_JWK | {"x": "?"},
        EC_JWK | {"x": ["A"]},
        EC_JWK | {"use": "enc"},
        EC_JWK | {"alg": "ES512"},
        EC_JWK | {"d": "A" * 43},
        {"kty": "RSA"},
        RSA_JWK | {"n": ""},
        RSA_JWK | {"e": "AQ"},
        RSA_JWK | {"d": "AQAB"},
        rsa_jwk(SMALL_RSA_KEY),
    ],
)
def test_what_is_no_public_key_of_a_client_is_unfit(jwk: Jwk) -> None:
    with pytest.raises(UnfitKeyError):
        import_client_jwk(jwk)


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(public_pem(EC_KEY), id="public"),
        pytest.param(private_pem(SMALL_RSA_KEY), id="RSA of 1024 bits"),
        pytest.param(private_pem(ed25519.Ed25519PrivateKey.generate()), id="Ed25519"),
        pytest.param(private_pem(ec.generate_private_key(ec.SECP384R1())), id="P-384"),
        pytest.param(encrypted_pem(EC_KEY), id="encrypted"),
    ],
)
def test_what_is_no_private_key_of_a_client_is_unfit(pem: bytes) -> None:
    with pytest.raises(UnfitKeyError):
        sign.load_client_key(pem)


def test_the_public_jwk_holds_nothing_private() -> None:
    for pem in (sign.new_client_key(), private_pem(RSA_KEY)):
        assert not {"d", "p", "q", "dp", "dq", "qi"} & sign.public_jwk(pem).keys()
