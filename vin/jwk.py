"""Public keys of clients as JWK (RFC 7517, RFC 7518), checked before use."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from vin.crypto.signkey import UnfitKeyError, import_client_jwk
from vin.fields import refuse

PRIVATE_MEMBERS = frozenset({"d", "p", "q", "dp", "dq", "qi", "oth", "k"})

# 8,192 bits at most: a key that is slow to use would stall the token service.
Number = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,1366}$")]


class Jwk(BaseModel):
    """One key that verifies ES256 (EC on P-256), or PS256 and RS256 (RSA)."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, strict=True)

    kty: Literal["EC", "RSA"]
    crv: Literal["P-256"] | None = None
    x: Number | None = None
    y: Number | None = None
    n: Number | None = None
    e: Number | None = None
    kid: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    alg: Literal["ES256", "PS256", "RS256"] | None = None
    use: Literal["sig"] | None = None
    key_ops: list[Literal["verify"]] | None = None

    @model_validator(mode="before")
    @classmethod
    def _public(cls, data: object) -> object:
        if isinstance(data, dict) and PRIVATE_MEMBERS & data.keys():
            refuse("private", "This is a private key; give the public one.")
        return data

    @model_validator(mode="after")
    def _fit(self) -> Self:
        try:
            import_client_jwk(self.model_dump(exclude_none=True))
        except UnfitKeyError:
            refuse(
                "key", "Expected a key for ES256 (P-256), or for PS256 or RS256 (RSA, 2048 bits)."
            )
        return self
