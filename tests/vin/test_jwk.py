import pytest
from pydantic import ValidationError

from tests.keys import EC_JWK, RSA_1024_JWK, RSA_JWK
from vin.jwk import Jwk

REFUSED: dict[str, tuple[dict[str, object], str]] = {
    "private": ({**EC_JWK, "d": "c2VjcmV0"}, "private"),
    "private RSA": ({**RSA_JWK, "p": "c2VjcmV0"}, "private"),
    "symmetric": ({"kty": "oct", "k": "c2VjcmV0"}, "private"),
    "other curve": ({**EC_JWK, "crv": "P-384"}, "literal_error"),
    "off the curve": ({**EC_JWK, "y": EC_JWK["x"]}, "key"),
    "short": (dict(RSA_1024_JWK), "key"),
    "half": ({"kty": "EC", "crv": "P-256", "x": EC_JWK["x"]}, "key"),
    "no numbers": ({"kty": "RSA"}, "key"),
    "wrong alg": ({**EC_JWK, "alg": "RS256"}, "key"),
    "for encryption": ({**RSA_JWK, "use": "enc"}, "literal_error"),
    "too long": ({**RSA_JWK, "n": "A" * 1367}, "string_pattern_mismatch"),
    "foreign member": ({**EC_JWK, "x5u": "https://x.test"}, "extra_forbidden"),
    "nameless": ({**EC_JWK, "kid": ""}, "string_too_short"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_an_unfit_key_is_refused(name: str) -> None:
    key, kind = REFUSED[name]

    with pytest.raises(ValidationError) as error:
        Jwk.model_validate(key)

    assert [fault["type"] for fault in error.value.errors()] == [kind]


@pytest.mark.parametrize(
    "key",
    [
        EC_JWK,
        RSA_JWK,
        {**EC_JWK, "alg": "ES256", "use": "sig"},
        {**RSA_JWK, "alg": "PS256", "kid": "2026", "key_ops": ["verify"]},
    ],
)
def test_keys_for_each_algorithm_are_taken(key: dict[str, object]) -> None:
    assert Jwk.model_validate(key).model_dump(exclude_none=True) == key


def test_what_is_no_table_is_no_key() -> None:
    with pytest.raises(ValidationError):
        Jwk.model_validate("key")
