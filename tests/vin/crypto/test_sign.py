"""Access tokens and permits; `test_assertion.py` has what clients sign."""

import json
from base64 import urlsafe_b64decode
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519

from tests.vin.crypto.forge import (
    Signer,
    base64url,
    es256,
    forge,
    hs256,
    private_pem,
    public_pem,
    seal,
    unsigned,
)
from vin.crypto import sign
from vin.crypto.sign import Access, Permit, Reason, SignatureRefusedError

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
INDEX, KEY_HOLDER = "https://index.test", "https://keys.test"

EC_KEY = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())
ED_KEY = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))
ACCESS_KEY = sign.load_access_key(private_pem(EC_KEY))
ACCESS_PUBLIC = sign.load_access_key(public_pem(EC_KEY))
PERMIT_KEY = sign.load_permit_key(private_pem(ED_KEY))
PERMIT_PUBLIC = sign.load_permit_key(public_pem(ED_KEY))

ACCESS = Access(
    client_id="client-1",
    organisation="school-1",
    scope=frozenset({"signals", "matches"}),
    id="token-1",
    expires_at=NOW + sign.ACCESS_LIFETIME,
)
PERMIT = Permit(
    client_id="client-1",
    reporter_id="p-1",
    elements={"nhn/child/1": 1, "nhn/parent/1": 2},
    id="permit-1",
    expires_at=NOW + sign.PERMIT_LIFETIME,
)


def access_token() -> str:
    return sign.make_access_token(ACCESS_KEY, ACCESS, INDEX, [INDEX, KEY_HOLDER], NOW)


def permit(statement: Permit = PERMIT) -> str:
    return sign.make_permit(PERMIT_KEY, statement, KEY_HOLDER, INDEX, NOW)


def read_access(
    compact: str, *, issuer: str = INDEX, audience: str = INDEX, at: datetime = NOW
) -> Access:
    return sign.verify_access_token(ACCESS_PUBLIC, compact, issuer, audience, at)


def read_permit(
    compact: str, *, issuer: str = KEY_HOLDER, audience: str = INDEX, at: datetime = NOW
) -> Permit:
    return sign.verify_permit(PERMIT_PUBLIC, compact, issuer, audience, at)


def parts(compact: str) -> tuple[dict[str, object], dict[str, object]]:
    header, claims, _ = compact.split(".")
    return tuple(json.loads(urlsafe_b64decode(part + "==")) for part in (header, claims))


def test_an_access_token_serves_index_and_key_holder() -> None:
    assert read_access(access_token()) == ACCESS
    assert read_access(access_token(), audience=KEY_HOLDER) == ACCESS


def test_an_access_token_says_what_the_standard_asks() -> None:
    header, claims = parts(access_token())

    assert header == {"alg": "ES256", "typ": "at+jwt"}
    assert claims == {
        "iss": INDEX,
        "aud": [INDEX, KEY_HOLDER],
        "sub": "client-1",
        "organisation": "school-1",
        "scope": "matches signals",
        "jti": "token-1",
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 3600,
    }


def test_a_permit_says_what_was_paid_for() -> None:
    header, claims = parts(permit())

    assert header == {"alg": "EdDSA", "typ": "vin-permit+jwt"}
    assert claims == {
        "iss": KEY_HOLDER,
        "aud": INDEX,
        "sub": "client-1",
        "reporterId": "p-1",
        "elements": {"nhn/child/1": 1, "nhn/parent/1": 2},
        "jti": "permit-1",
        "iat": int(NOW.timestamp()),
        "exp": int(NOW.timestamp()) + 300,
    }


@pytest.mark.parametrize("given", [PERMIT, replace(PERMIT, bulk=True)])
def test_a_permit_comes_back_as_it_was_given(given: Permit) -> None:
    assert read_permit(permit(given)) == given


@pytest.mark.parametrize("seconds", [-60, 0, 299])
def test_a_permit_is_valid_from_a_minute_before_its_issue(seconds: int) -> None:
    assert read_permit(permit(), at=NOW + timedelta(seconds=seconds)) == PERMIT


@pytest.mark.parametrize(
    ("seconds", "reason"), [(-61, Reason.PREMATURE), (300, Reason.EXPIRED), (301, Reason.EXPIRED)]
)
def test_a_permit_is_not_valid_earlier_or_from_its_end_on(seconds: int, reason: Reason) -> None:
    with pytest.raises(SignatureRefusedError) as refusal:
        read_permit(permit(), at=NOW + timedelta(seconds=seconds))
    assert refusal.value.reason is reason


def refused_access(compact: str) -> Reason:
    with pytest.raises(SignatureRefusedError) as refusal:
        read_access(compact)
    return refusal.value.reason


def refused_permit(compact: str) -> Reason:
    with pytest.raises(SignatureRefusedError) as refusal:
        read_permit(compact)
    return refusal.value.reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": KEY_HOLDER}, Reason.ISSUER),
        ({"iss": [INDEX]}, Reason.ISSUER),
        ({"aud": "https://other.test"}, Reason.AUDIENCE),
        ({"aud": ["https://other.test"]}, Reason.AUDIENCE),
        ({"aud": INDEX + "/"}, Reason.AUDIENCE),
        ({"aud": {INDEX: 1}}, Reason.AUDIENCE),
        ({"aud": None}, Reason.AUDIENCE),
        ({"exp": int(NOW.timestamp())}, Reason.EXPIRED),
        ({"exp": None}, Reason.MALFORMED),
        ({"exp": "2026"}, Reason.MALFORMED),
        ({"exp": float("nan")}, Reason.MALFORMED),
        ({"exp": float("inf")}, Reason.MALFORMED),
        ({"exp": 10**30}, Reason.MALFORMED),
        ({"iat": int(NOW.timestamp()) + 61}, Reason.PREMATURE),
        ({"nbf": int(NOW.timestamp()) + 61}, Reason.PREMATURE),
        ({"nbf": "soon"}, Reason.MALFORMED),
        ({"sub": None}, Reason.MALFORMED),
        ({"sub": ""}, Reason.MALFORMED),
        ({"jti": 7}, Reason.MALFORMED),
        ({"scope": None}, Reason.MALFORMED),
        ({"organisation": ["school-1"]}, Reason.MALFORMED),
    ],
)
def test_an_access_token_with_a_wrong_claim_is_refused(
    change: dict[str, object], reason: Reason
) -> None:
    header, claims = parts(access_token())

    assert refused_access(forge(header, claims | change, es256(EC_KEY))) is reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"iss": INDEX}, Reason.ISSUER),
        ({"aud": KEY_HOLDER}, Reason.AUDIENCE),
        ({"exp": int(NOW.timestamp())}, Reason.EXPIRED),
        ({"reporterId": None}, Reason.MALFORMED),
        ({"elements": None}, Reason.MALFORMED),
        ({"elements": [1]}, Reason.MALFORMED),
        ({"elements": {"nhn/child/1": 0}}, Reason.MALFORMED),
        ({"elements": {"nhn/child/1": "1"}}, Reason.MALFORMED),
        ({"elements": {"nhn/child/1": 1.5}}, Reason.MALFORMED),
    ],
)
def test_a_permit_with_a_wrong_claim_is_refused(change: dict[str, object], reason: Reason) -> None:
    header, claims = parts(permit())

    assert refused_permit(forge(header, claims | change, ED_KEY.sign)) is reason


@pytest.mark.parametrize(
    ("header", "signer", "reason"),
    [
        ({"alg": "none"}, unsigned, Reason.ALGORITHM),
        ({"alg": "HS256"}, hs256(public_pem(EC_KEY)), Reason.ALGORITHM),
        ({"alg": "EdDSA"}, ED_KEY.sign, Reason.ALGORITHM),
        ({"alg": "es256"}, es256(EC_KEY), Reason.ALGORITHM),
        ({"alg": None}, es256(EC_KEY), Reason.ALGORITHM),
        ({"alg": ["ES256"]}, es256(EC_KEY), Reason.ALGORITHM),
        ({"typ": "JWT"}, es256(EC_KEY), Reason.TYPE),
        ({"typ": None}, es256(EC_KEY), Reason.TYPE),
        ({"typ": "vin-permit+jwt"}, es256(EC_KEY), Reason.TYPE),
        ({"crit": ["exp"], "exp": 1}, es256(EC_KEY), Reason.MALFORMED),
        ({"crit": 7}, es256(EC_KEY), Reason.MALFORMED),
        ({"b64": False, "crit": ["b64"]}, es256(EC_KEY), Reason.MALFORMED),
        ({"b64": False}, es256(EC_KEY), Reason.SIGNATURE),
        ({"jwk": {"kty": "EC"}, "x-own": 1}, es256(EC_KEY), Reason.SIGNATURE),
        ({}, es256(ec.derive_private_key(7, ec.SECP256R1())), Reason.SIGNATURE),
        ({}, unsigned, Reason.SIGNATURE),
        ({}, lambda _: bytes(64), Reason.SIGNATURE),
    ],
)
def test_an_access_token_that_is_signed_otherwise_is_refused(
    header: dict[str, object], signer: Signer, reason: Reason
) -> None:
    usual, claims = parts(access_token())

    assert refused_access(forge(usual | header, claims, signer)) is reason


@pytest.mark.parametrize(
    ("header", "signer", "reason"),
    [
        ({"alg": "none"}, unsigned, Reason.ALGORITHM),
        ({"alg": "ES256"}, es256(EC_KEY), Reason.ALGORITHM),
        ({"alg": "Ed25519"}, ED_KEY.sign, Reason.ALGORITHM),
        ({"typ": "at+jwt"}, ED_KEY.sign, Reason.TYPE),
        ({"crit": []}, ED_KEY.sign, Reason.MALFORMED),
        ({}, unsigned, Reason.SIGNATURE),
        ({}, es256(EC_KEY), Reason.SIGNATURE),
    ],
)
def test_a_permit_that_is_signed_otherwise_is_refused(
    header: dict[str, object], signer: Signer, reason: Reason
) -> None:
    usual, claims = parts(permit())

    assert refused_permit(forge(usual | header, claims, signer)) is reason


def test_neither_statement_passes_for_the_other() -> None:
    assert refused_access(permit()) is Reason.TYPE
    assert refused_permit(access_token()) is Reason.TYPE


HEADER = b'{"alg":"ES256","typ":"at+jwt"}'


@pytest.mark.parametrize(
    "compact",
    [
        pytest.param("", id="nothing"),
        pytest.param("..", id="three empty parts"),
        pytest.param("a.b", id="two parts"),
        pytest.param("a.b.c.d", id="four parts"),
        pytest.param("\u00e9.\u00e9.\u00e9", id="no ASCII"),
        pytest.param("\ud800.b.c", id="no Unicode"),
        pytest.param(f"{base64url(HEADER)}=.e30.", id="padded"),
        pytest.param(seal(b"7", b"{}", unsigned), id="header a number"),
        pytest.param(seal(b'"alg"', b"{}", unsigned), id="header a text"),
        pytest.param(seal(b"[]", b"{}", unsigned), id="header a list"),
        pytest.param(seal(HEADER, b"[]", unsigned), id="claims a list"),
        pytest.param(seal(HEADER, b"null", unsigned), id="claims null"),
        pytest.param(seal(HEADER, b"\xff", unsigned), id="claims no JSON"),
        pytest.param(seal(HEADER, b"[" * 5000, unsigned), id="nested too deep"),
        pytest.param(seal(HEADER, b'{"sub":"%s"}' % (b"a" * 9000), es256(EC_KEY)), id="too long"),
    ],
)
def test_what_is_no_statement_is_refused(compact: str) -> None:
    assert refused_access(compact) is Reason.MALFORMED


@pytest.mark.parametrize("position", range(0, 400, 29))
def test_no_character_of_an_access_token_may_change(position: int) -> None:
    compact = access_token()
    other = "A" if compact[position] != "A" else "B"

    refused_access(compact[:position] + other + compact[position + 1 :])


def test_a_refusal_does_not_repeat_the_statement() -> None:
    with pytest.raises(SignatureRefusedError) as refusal:
        read_access(access_token(), issuer="https://other.test")
    assert str(refusal.value) == "signed statement refused: issuer"


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(private_pem(EC_KEY).replace(b"M", b"N"), id="broken"),
        pytest.param(private_pem(ED_KEY), id="Ed25519"),
        pytest.param(private_pem(ec.generate_private_key(ec.SECP384R1())), id="P-384"),
        pytest.param(private_pem(ec.generate_private_key(ec.BrainpoolP256R1())), id="Brainpool"),
    ],
)
def test_only_a_p_256_key_signs_access_tokens(pem: bytes) -> None:
    with pytest.raises(sign.UnfitKeyError):
        sign.load_access_key(pem)


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(private_pem(EC_KEY), id="P-256"),
        pytest.param(private_pem(ed448.Ed448PrivateKey.generate()), id="Ed448"),
    ],
)
def test_only_an_ed25519_key_signs_permits(pem: bytes) -> None:
    with pytest.raises(sign.UnfitKeyError):
        sign.load_permit_key(pem)
