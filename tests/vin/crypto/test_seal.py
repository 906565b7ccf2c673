import json
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vin.crypto.keyfile import KeyFileError, write_secret
from vin.crypto.seal import Binding, DataKeys, FileKek, Sealed, SealError, new_data_key

KEYS = {1: bytes([1]) * 32, 2: bytes([2]) * 32}
PLACE = Binding("reporter", "email", UUID(int=1), UUID(int=2))


@given(plain=st.binary(max_size=200))
def test_what_is_sealed_opens_at_its_place(plain: bytes) -> None:
    keys = DataKeys(KEYS)

    sealed = keys.seal(plain, PLACE)

    assert keys.open(sealed, PLACE) == plain


def test_the_same_text_is_sealed_differently_each_time() -> None:
    keys = DataKeys(KEYS)

    assert keys.seal(b"text", PLACE) != keys.seal(b"text", PLACE)


def test_a_box_is_a_nonce_the_text_and_a_tag() -> None:
    assert len(DataKeys(KEYS).seal(b"text", PLACE).box) == 12 + 4 + 16


@pytest.mark.parametrize(
    "elsewhere",
    [
        replace(PLACE, table="coordinator"),
        replace(PLACE, column="phone"),
        replace(PLACE, row=UUID(int=3)),
        replace(PLACE, organisation=UUID(int=3)),
        replace(PLACE, organisation=None),
        replace(PLACE, table="reportere", column="mail"),
    ],
)
def test_a_box_opens_nowhere_else(elsewhere: Binding) -> None:
    keys = DataKeys(KEYS)
    sealed = keys.seal(b"secret text", PLACE)

    with pytest.raises(SealError) as refusal:
        keys.open(sealed, elsewhere)
    assert "secret" not in str(refusal.value)


def test_the_highest_epoch_seals_and_the_others_still_open() -> None:
    old = DataKeys({1: KEYS[1]}).seal(b"text", PLACE)
    keys = DataKeys(KEYS)

    assert keys.seal(b"text", PLACE).epoch == 2
    assert keys.open(old, PLACE) == b"text"


def test_a_box_is_of_its_own_epoch() -> None:
    same = DataKeys({1: KEYS[1], 2: KEYS[1]})
    sealed = same.seal(b"text", PLACE)

    with pytest.raises(SealError):
        same.open(replace(sealed, epoch=1), PLACE)


def test_an_epoch_without_a_key_does_not_open() -> None:
    sealed = DataKeys(KEYS).seal(b"text", PLACE)

    with pytest.raises(SealError, match="epoch 2"):
        DataKeys({1: KEYS[1]}).open(sealed, PLACE)


@given(position=st.integers(0, 31), bit=st.integers(0, 7))
def test_no_bit_of_a_box_may_change(position: int, bit: int) -> None:
    keys = DataKeys(KEYS)
    box = bytearray(keys.seal(b"text", PLACE).box)
    box[position] ^= 1 << bit

    with pytest.raises(SealError):
        keys.open(Sealed(2, bytes(box)), PLACE)


@pytest.mark.parametrize("size", [0, 11, 12, 27])
def test_a_box_that_is_cut_short_does_not_open(size: int) -> None:
    keys = DataKeys(KEYS)

    with pytest.raises(SealError):
        keys.open(Sealed(2, keys.seal(b"text", PLACE).box[:size]), PLACE)


def test_a_wrapped_data_key_comes_back_with_the_same_key_alone(tmp_path: Path) -> None:
    path = tmp_path / "kek.json"
    write_secret(path, json.dumps({"key": "A" * 43}).encode())
    data_key = new_data_key()
    kek, other = FileKek.load(path), FileKek(bytes([1]) * 32)

    wrapped = kek.wrap(data_key)

    assert kek.unwrap(wrapped) == data_key
    for broken in (wrapped[:-8], wrapped[:-1] + b"\0", b""):
        with pytest.raises(SealError):
            kek.unwrap(broken)
    with pytest.raises(SealError):
        other.unwrap(wrapped)


def test_a_kek_file_without_its_key_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kek.json"
    write_secret(path, b"{}")

    with pytest.raises(KeyFileError):
        FileKek.load(path)


def test_keys_do_not_show_themselves() -> None:
    assert "\\x01" not in repr(FileKek(KEYS[1])) + repr(DataKeys(KEYS))
