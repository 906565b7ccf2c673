import hmac
import json
from pathlib import Path
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.vin.crypto import reference
from vin.crypto import oprf
from vin.crypto.keyfile import write_secret
from vin.crypto.pseudonym import IndexKeys, Token, domain_key

SEED = bytes([1]) * 32
SECRET = bytes([2]) * 32
KEYS = IndexKeys({1: SEED}, SECRET)
ELEMENT = oprf.hash_to_group(b"message")
CHILD, PARENT = "nhn/child", "nhn/parent"


def sub_key(label: str) -> bytes:
    """HKDF-SHA256 of RFC 5869 for one block, without salt."""
    extracted = hmac.digest(bytes(32), SECRET, "sha256")
    return hmac.digest(extracted, label.encode() + b"\1", "sha256")


def product(domain: str, epoch: int) -> bytes:
    """T, from the textbook."""
    info = bytes.fromhex("000656494e2d7631") + reference.lp(domain.encode())
    info += reference.lp(epoch.to_bytes(4))
    key = reference.Mode(1).derive_key(SEED, info)
    return reference.encode(reference.multiply(key, reference.decode(ELEMENT)))[1:]


def test_the_look_up_is_a_keyed_hash_of_the_product() -> None:
    token = KEYS.token(CHILD, 1, ELEMENT)

    expected = hmac.digest(sub_key("tag"), product(CHILD, 1), "sha256")[:16]
    assert token.lookup.bytes == expected


def test_the_product_can_be_had_back_for_re_keying() -> None:
    token = KEYS.token(CHILD, 7, ELEMENT)

    place = oprf.framed(CHILD.encode(), (7).to_bytes(4), (1).to_bytes(4))
    opened = AESGCMSIV(sub_key("seal")).decrypt(token.sealed[:12], token.sealed[12:], place)
    assert opened == product(CHILD, 1)


def test_a_token_tells_its_epochs_and_does_not_show_what_is_sealed() -> None:
    token = IndexKeys({4: SEED, 9: SEED, 5: SEED}, SECRET).token(CHILD, 7, ELEMENT)

    assert (token.key_epoch, token.index_epoch) == (7, 9)
    assert "sealed" not in repr(token)


def look_up(keys: IndexKeys, domain: str = CHILD) -> UUID:
    return keys.token(domain, 1, ELEMENT).lookup


def test_the_same_element_has_the_same_look_up_each_time() -> None:
    assert look_up(KEYS) == look_up(IndexKeys({1: SEED}, SECRET))
    assert KEYS.token(CHILD, 1, ELEMENT) != KEYS.token(CHILD, 1, ELEMENT)


def test_domains_epochs_seeds_and_secrets_are_unrelated() -> None:
    found = [
        look_up(KEYS),
        look_up(KEYS, PARENT),
        look_up(KEYS, "other/child"),
        look_up(IndexKeys({2: SEED}, SECRET)),
        look_up(IndexKeys({1: SECRET}, SECRET)),
        look_up(IndexKeys({1: SEED}, SEED)),
    ]

    assert len(set(found)) == len(found)


def test_the_sign_of_the_element_does_not_matter() -> None:
    negative = bytes([ELEMENT[0] ^ 1]) + ELEMENT[1:]

    assert KEYS.token(CHILD, 1, negative).lookup == look_up(KEYS)


@pytest.mark.parametrize("element", [b"", b"\0", bytes(33), ELEMENT[1:]])
def test_what_is_no_element_gets_no_token(element: bytes) -> None:
    with pytest.raises(oprf.ElementError):
        KEYS.token(CHILD, 1, element)


def test_keys_are_loaded_from_their_file(tmp_path: Path) -> None:
    path = tmp_path / "index.json"
    secret = {"epochs": [{"epoch": 1, "seed": "A" * 43}], "secret": "A" * 43}
    write_secret(path, json.dumps(secret).encode())

    assert look_up(IndexKeys.load(path)) == look_up(IndexKeys({1: bytes(32)}, bytes(32)))


@settings(max_examples=20)
@given(value=st.text(max_size=50), other=st.text(max_size=50))
def test_persons_are_told_apart_by_their_value_alone(value: str, other: str) -> None:
    assert (KEYS.person(value) == KEYS.person(other)) == (value == other)


def test_a_fingerprint_is_32_bytes_that_need_the_key() -> None:
    other = IndexKeys({1: SEED}, SEED)

    assert len(KEYS.fingerprint(b"body")) == 32
    assert KEYS.fingerprint(b"body") == KEYS.fingerprint(b"body")
    assert KEYS.fingerprint(b"body") != KEYS.fingerprint(b"bodY")
    assert KEYS.fingerprint(b"body") != other.fingerprint(b"body")


def test_a_file_is_named_by_child_and_reference_together() -> None:
    names = {KEYS.file_key(UUID(int=n), text) for n in range(3) for text in ("a", "b", "")}

    assert len(names) == 9


def test_the_uses_of_the_secret_are_unrelated() -> None:
    empty = UUID(bytes=KEYS.fingerprint(bytes(16))[:16])

    assert len({empty, KEYS.person("\0" * 16), KEYS.file_key(UUID(int=0), "")}) == 3


def evaluate(seed: bytes, message: bytes) -> bytes:
    """What a client gets from a key holder with this seed."""
    return oprf.multiply(domain_key(seed, CHILD, 1), oprf.hash_to_group(message))


def found_by(holder: bytes, index: IndexKeys, stored: Token, guesses: list[bytes]) -> list[bytes]:
    """Who has these keys tries every guess against a stored token."""
    return [
        guess
        for guess in guesses
        if index.token(CHILD, 1, evaluate(holder, guess)).lookup == stored.lookup
    ]


def test_guessing_needs_both_keys() -> None:
    holder, thief = bytes([3]) * 32, bytes([4]) * 32
    guesses = [str(number).encode() for number in range(20)]
    stored = KEYS.token(CHILD, 1, evaluate(holder, guesses[7]))
    others_index = IndexKeys({1: thief}, SECRET)

    assert found_by(thief, KEYS, stored, guesses) == []
    assert found_by(holder, others_index, stored, guesses) == []
    assert found_by(holder, KEYS, stored, guesses) == [guesses[7]]
