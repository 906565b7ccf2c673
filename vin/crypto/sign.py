"""Signed statements in compact JWS: access tokens, client assertions and permits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from joserfc.jwk import ECKey

from vin.crypto import statement
from vin.crypto.signkey import (
    ACCESS_JWS,
    ASSERTION_ALGORITHMS,
    ASSERTION_JWS,
    PERMIT_JWS,
    AccessKey,
    ClientKey,
    Jwk,
    PermitKey,
    UnfitKeyError,
    import_client_jwk,
    load_access_key,
    load_client_key,
    load_permit_key,
    new_client_key,
    public_jwk,
)
from vin.crypto.statement import Reason, SignatureRefusedError

__all__ = [
    "ACCESS_LIFETIME",
    "ASSERTION_LIFETIME",
    "BULK_PERMIT_LIFETIME",
    "PERMIT_LIFETIME",
    "Access",
    "AccessKey",
    "Assertion",
    "ClientKey",
    "Jwk",
    "Permit",
    "PermitKey",
    "Reason",
    "SignatureRefusedError",
    "UnfitKeyError",
    "claimed_client",
    "load_access_key",
    "load_client_key",
    "load_permit_key",
    "make_access_token",
    "make_client_assertion",
    "make_permit",
    "new_client_key",
    "public_jwk",
    "verify_access_token",
    "verify_client_assertion",
    "verify_permit",
]

ACCESS_LIFETIME: Final = timedelta(hours=1)
ASSERTION_LIFETIME: Final = timedelta(minutes=5)
PERMIT_LIFETIME: Final = timedelta(minutes=5)
BULK_PERMIT_LIFETIME: Final = timedelta(hours=1)

_ACCESS_TYPE: Final = "at+jwt"
_PERMIT_TYPE: Final = "vin-permit+jwt"
_LONGEST_ID: Final = 128


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a client may do, and for which organisation."""

    client_id: str
    organisation: str
    scope: frozenset[str]
    id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Assertion:
    """A client's proof that it holds its key; the id serves once."""

    client_id: str
    id: str
    expires_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Permit:
    """How many elements, by `domain/epoch`, a client has evaluated for a reporter."""

    client_id: str
    reporter_id: str
    elements: Mapping[str, int]
    id: str
    expires_at: datetime
    bulk: bool = False


def make_access_token(
    key: AccessKey, access: Access, issuer: str, audience: Sequence[str], now: datetime
) -> str:
    claims = {
        "iss": issuer,
        "aud": list(audience),
        "sub": access.client_id,
        "organisation": access.organisation,
        "scope": " ".join(sorted(access.scope)),
        "jti": access.id,
        "iat": statement.seconds(now),
        "exp": statement.seconds(access.expires_at),
    }
    return statement.sign({"alg": "ES256", "typ": _ACCESS_TYPE}, claims, key, ACCESS_JWS)


def verify_access_token(
    key: AccessKey, compact: str, issuer: str, audience: str, now: datetime
) -> Access:
    """Read an access token; SignatureRefusedError unless all of it holds now."""
    claims = statement.verify_own(compact, _ACCESS_TYPE, key, ACCESS_JWS)
    statement.check_claims(claims, issuer, audience, now)
    return Access(
        client_id=statement.text(claims, "sub"),
        organisation=statement.text(claims, "organisation"),
        scope=frozenset(statement.text(claims, "scope").split()),
        id=statement.text(claims, "jti"),
        expires_at=statement.instant(claims, "exp"),
    )


def make_permit(key: PermitKey, permit: Permit, issuer: str, audience: str, now: datetime) -> str:
    claims = {
        "iss": issuer,
        "aud": audience,
        "sub": permit.client_id,
        "reporterId": permit.reporter_id,
        "elements": dict(permit.elements),
        "jti": permit.id,
        "iat": statement.seconds(now),
        "exp": statement.seconds(permit.expires_at),
    }
    if permit.bulk:
        claims["bulk"] = True
    return statement.sign({"alg": "EdDSA", "typ": _PERMIT_TYPE}, claims, key, PERMIT_JWS)


def verify_permit(
    key: PermitKey, compact: str, issuer: str, audience: str, now: datetime
) -> Permit:
    """Read a permit; SignatureRefusedError unless all of it holds now."""
    claims = statement.verify_own(compact, _PERMIT_TYPE, key, PERMIT_JWS)
    statement.check_claims(claims, issuer, audience, now)
    return Permit(
        client_id=statement.text(claims, "sub"),
        reporter_id=statement.text(claims, "reporterId"),
        elements=_elements(claims),
        id=statement.text(claims, "jti"),
        expires_at=statement.instant(claims, "exp"),
        bulk=claims.get("bulk") is True,
    )


def make_client_assertion(
    key: ClientKey, assertion: Assertion, audience: str, now: datetime
) -> str:
    claims = {
        "iss": assertion.client_id,
        "sub": assertion.client_id,
        "aud": audience,
        "jti": assertion.id,
        "iat": statement.seconds(now),
        "exp": statement.seconds(assertion.expires_at),
    }
    algorithm = "ES256" if isinstance(key, ECKey) else "PS256"
    return statement.sign({"alg": algorithm, "typ": "JWT"}, claims, key, ASSERTION_JWS)


def claimed_client(compact: str) -> str:
    """Tell which client an assertion says it is of, to find that client's keys."""
    _, claims = statement.read(compact)
    return statement.text(claims, "sub")


def verify_client_assertion(
    keys: Sequence[Jwk], compact: str, client_id: str, audience: str, now: datetime
) -> Assertion:
    """Read an assertion of the client that has these public keys."""
    header, claims = statement.read(compact)
    statement.require(header["alg"] in ASSERTION_ALGORITHMS, Reason.ALGORITHM)
    statement.verify(compact, _choose(keys, header.get("kid")), ASSERTION_JWS)
    statement.require(claims.get("iss") == client_id, Reason.ISSUER)
    statement.require(claims.get("sub") == client_id, Reason.SUBJECT)
    statement.require(claims.get("aud") in (audience, [audience]), Reason.AUDIENCE)
    statement.check_times(claims, now, statement.SKEW)
    expires_at = statement.instant(claims, "exp")
    statement.require(expires_at <= now + ASSERTION_LIFETIME + statement.SKEW, Reason.LIFETIME)
    identifier = statement.text(claims, "jti")
    statement.require(len(identifier) <= _LONGEST_ID, Reason.MALFORMED)
    return Assertion(client_id=client_id, id=identifier, expires_at=expires_at)


def _choose(keys: Sequence[Jwk], key_id: object) -> ClientKey:
    """Find the one key that is meant; where only one can be, no `kid` is needed."""
    meant = [key for key in keys if key_id is None or key.get("kid", key_id) == key_id]
    statement.require(len(meant) == 1, Reason.KEY)
    try:
        return import_client_jwk(meant[0])
    except UnfitKeyError as error:
        raise SignatureRefusedError(Reason.KEY) from error


def _elements(claims: statement.Claims) -> dict[str, int]:
    counts = claims.get("elements")
    if isinstance(counts, dict) and all(map(_is_count, counts.values())):
        return counts
    raise SignatureRefusedError(Reason.MALFORMED)


def _is_count(value: object) -> bool:
    return isinstance(value, int) and value > 0
