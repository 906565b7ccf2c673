"""A signed statement: taken apart, verified, and its claims read one by one."""

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry
from joserfc.util import urlsafe_b64decode

from vin.crypto.signkey import AccessKey, ClientKey, PermitKey

Claims = Mapping[str, object]

SKEW: Final = timedelta(seconds=60)

_LONGEST: Final = 8192
_PARTS: Final = 3


class Reason(StrEnum):
    """Why a statement is refused."""

    MALFORMED = "malformed"
    TYPE = "type"
    ALGORITHM = "algorithm"
    KEY = "key"
    SIGNATURE = "signature"
    ISSUER = "issuer"
    SUBJECT = "subject"
    AUDIENCE = "audience"
    PREMATURE = "premature"
    EXPIRED = "expired"
    LIFETIME = "lifetime"


class SignatureRefusedError(Exception):
    """The statement is not to be believed."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(f"signed statement refused: {reason}")
        self.reason = reason


def verify_own(
    compact: str, kind: str, key: AccessKey | PermitKey, registry: JWSRegistry
) -> Claims:
    header, claims = read(compact)
    require(header.get("typ") == kind, Reason.TYPE)
    require(header["alg"] in (registry.allowed or ()), Reason.ALGORITHM)
    verify(compact, key, registry)
    return claims


def read(compact: str) -> tuple[Claims, Claims]:
    """Take a statement apart, believing nothing of it yet."""
    parts = compact.split(".")
    require(len(parts) == _PARTS and len(compact) <= _LONGEST, Reason.MALFORMED)
    try:
        header, claims = (json.loads(urlsafe_b64decode(p.encode())) for p in parts[:2])
    except (RecursionError, ValueError):
        raise SignatureRefusedError(Reason.MALFORMED) from None
    require(isinstance(header, dict) and isinstance(claims, dict), Reason.MALFORMED)
    require(isinstance(header.get("alg"), str), Reason.ALGORITHM)
    require("crit" not in header, Reason.MALFORMED)  # no extension is understood here
    return header, claims


def verify(compact: str, key: AccessKey | PermitKey | ClientKey, registry: JWSRegistry) -> None:
    try:
        jws.deserialize_compact(compact, key, registry=registry)
    except JoseError as error:
        raise SignatureRefusedError(Reason.SIGNATURE) from error


def sign(
    header: dict[str, object],
    claims: Claims,
    key: AccessKey | PermitKey | ClientKey,
    registry: JWSRegistry,
) -> str:
    payload = json.dumps(claims, separators=(",", ":"))
    return jws.serialize_compact(header, payload, key, registry=registry)


def check_claims(claims: Claims, issuer: str, audience: str, now: datetime) -> None:
    require(claims.get("iss") == issuer, Reason.ISSUER)
    meant = claims.get("aud")
    hit = audience in meant if isinstance(meant, list) else audience == meant
    require(hit, Reason.AUDIENCE)
    check_times(claims, now, timedelta(0))


def check_times(claims: Claims, now: datetime, late: timedelta) -> None:
    for name in {"iat", "nbf"} & claims.keys():
        require(instant(claims, name) <= now + SKEW, Reason.PREMATURE)
    require(now < instant(claims, "exp") + late, Reason.EXPIRED)


def instant(claims: Claims, name: str) -> datetime:
    value = claims.get(name)
    if isinstance(value, int | float):
        with suppress(OSError, OverflowError, ValueError):
            return datetime.fromtimestamp(value, UTC)
    raise SignatureRefusedError(Reason.MALFORMED)


def seconds(instant: datetime) -> int:
    return int(instant.timestamp())


def text(claims: Claims, name: str) -> str:
    value = claims.get(name)
    if isinstance(value, str) and value:
        return value
    raise SignatureRefusedError(Reason.MALFORMED)


def require(holds: object, reason: Reason) -> None:
    if not holds:
        raise SignatureRefusedError(reason)
