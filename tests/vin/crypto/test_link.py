from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vin.crypto import keyfile
from vin.crypto.link import TAG_BYTES, LinkKey

KEY = LinkKey(bytes(32))


@given(purpose=st.text(max_size=20), data=st.binary(max_size=100))
def test_what_was_signed_fits(purpose: str, data: bytes) -> None:
    tag = KEY.sign(purpose, data)

    assert len(tag) == TAG_BYTES
    assert KEY.fits(purpose, data, tag)


@pytest.mark.parametrize(
    ("key", "purpose", "data"),
    [
        (LinkKey(bytes(31) + b"\1"), "answer", b"data"),
        (KEY, "other", b"data"),
        (KEY, "answer", b"date"),
        (KEY, "answ", b"erdata"),
    ],
)
def test_another_key_purpose_or_content_does_not_fit(
    key: LinkKey, purpose: str, data: bytes
) -> None:
    assert not key.fits(purpose, data, KEY.sign("answer", b"data"))


@pytest.mark.parametrize("tag", [b"", bytes(16), KEY.sign("answer", b"data")[:-1]])
def test_a_made_up_tag_does_not_fit(tag: bytes) -> None:
    assert not KEY.fits("answer", b"data", tag)


def test_the_key_is_read_from_its_file_and_never_shown(tmp_path: Path) -> None:
    keyfile.generate_index(tmp_path / "keys")

    key = LinkKey.load(tmp_path / "keys" / keyfile.LINK)

    assert key.fits("answer", b"data", key.sign("answer", b"data"))
    assert repr(key.key) not in repr(key)
