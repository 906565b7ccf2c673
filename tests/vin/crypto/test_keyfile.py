import json
import os
from pathlib import Path

import pytest

from vin.crypto import keyfile
from vin.crypto.keyfile import KeyFileError, read_epochs, read_key, read_secret, write_secret
from vin.crypto.pseudonym import IndexKeys
from vin.crypto.seal import FileKek
from vin.crypto.sign import load_access_key, load_permit_key

KEY = "A" * 43


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "key"


def rights(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_what_is_written_is_closed_to_others_and_reads_back(file: Path) -> None:
    write_secret(file, b"secret")

    assert rights(file) == 0o600
    assert read_secret(file) == b"secret"


def test_a_key_file_is_never_overwritten(file: Path) -> None:
    write_secret(file, b"first")

    with pytest.raises(KeyFileError, match="File exists"):
        write_secret(file, b"second")
    assert read_secret(file) == b"first"


@pytest.mark.parametrize("mode", [0o601, 0o604, 0o610, 0o640, 0o644, 0o660, 0o700, 0o666])
def test_wider_rights_are_refused_with_a_sentence(file: Path, mode: int) -> None:
    write_secret(file, b"secret")
    file.chmod(mode)

    with pytest.raises(KeyFileError) as refusal:
        read_secret(file)
    assert str(refusal.value) == f"The key file {file} has rights {mode:04o}: make them 0600."


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_the_owner_may_read(file: Path, mode: int) -> None:
    write_secret(file, b"secret")
    file.chmod(mode)

    assert read_secret(file) == b"secret"


def test_a_file_of_another_user_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_secret(file, b"secret")
    owner = file.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)

    with pytest.raises(KeyFileError, match="another user"):
        read_secret(file)


def test_a_file_that_is_absent_or_a_folder_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        read_secret(tmp_path / "absent")
    with pytest.raises(KeyFileError, match="Is a directory"):
        read_secret(tmp_path)


def test_a_named_key_is_read(file: Path) -> None:
    write_secret(file, json.dumps({"key": KEY}).encode())

    assert read_key(file, "key") == bytes(32)


def test_epochs_are_read(file: Path) -> None:
    epochs = [{"epoch": 1, "seed": KEY}, {"epoch": 3, "seed": "_" * 42 + "8"}]
    write_secret(file, json.dumps({"epochs": epochs}).encode())

    assert read_epochs(file) == {1: bytes(32), 3: b"\xff" * 32}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"null",
        b"{}",
        b'{"key": null}',
        b'{"key": 7}',
        b'{"key": ""}',
        json.dumps({"key": KEY[:-1]}).encode(),
        json.dumps({"key": KEY + "AA"}).encode(),
        json.dumps({"key": "?" + KEY[1:]}).encode(),
        json.dumps({"key": "\u00e9" + KEY[1:]}).encode(),
    ],
)
def test_a_file_without_the_key_is_refused(file: Path, content: bytes) -> None:
    write_secret(file, content)

    with pytest.raises(KeyFileError):
        read_key(file, "key")


@pytest.mark.parametrize(
    "epochs",
    [
        None,
        [],
        {"epoch": 1, "seed": KEY},
        [1],
        [{"epoch": 1}],
        [{"seed": KEY}],
        [{"epoch": 0, "seed": KEY}],
        [{"epoch": "1", "seed": KEY}],
        [{"epoch": 1, "seed": KEY[:-1]}],
        [{"epoch": 1, "seed": KEY}, {"epoch": 1, "seed": "B" * 42 + "A"}],
    ],
)
def test_a_file_without_sound_epochs_is_refused(file: Path, epochs: object) -> None:
    write_secret(file, json.dumps({"epochs": epochs}).encode())

    with pytest.raises(KeyFileError):
        read_epochs(file)


def test_a_refusal_does_not_remember_the_content(file: Path) -> None:
    for content in (b'{"key": "hush"}', b'{"key": "hush'):
        file.unlink(missing_ok=True)
        write_secret(file, content)
        with pytest.raises(KeyFileError) as refusal:
            read_key(file, "key")
        assert "hush" not in str(refusal.value)
        assert refusal.value.__context__ is None


def test_all_key_files_are_made_and_fit_their_purpose(tmp_path: Path) -> None:
    folder = tmp_path / "data" / "keys"

    keyfile.generate_all(folder)

    assert rights(folder) == 0o700
    assert {path.name: rights(path) for path in folder.iterdir()} == dict.fromkeys(
        (
            "token-signing.pem",
            "token-public.pem",
            "permit-signing.pem",
            "permit-public.pem",
            "keyholder.json",
            "index.json",
            "contact-kek.json",
            "link.json",
            "webhook-signing.pem",
        ),
        0o600,
    )
    assert load_access_key(read_secret(folder / keyfile.ACCESS_SIGNING)).is_private
    assert not load_access_key(read_secret(folder / keyfile.ACCESS_PUBLIC)).is_private
    assert load_permit_key(read_secret(folder / keyfile.PERMIT_SIGNING)).is_private
    assert not load_permit_key(read_secret(folder / keyfile.PERMIT_PUBLIC)).is_private
    IndexKeys.load(folder / keyfile.INDEX)
    FileKek.load(folder / keyfile.CONTACT_KEK)
    seeds = read_epochs(folder / keyfile.KEYHOLDER), read_epochs(folder / keyfile.INDEX)
    assert [list(each) for each in seeds] == [[1], [1]]
    assert seeds[0] != seeds[1]


def test_keys_may_go_into_an_empty_folder(tmp_path: Path) -> None:
    keyfile.generate_all(tmp_path)

    assert (tmp_path / keyfile.INDEX).exists()


def test_a_folder_that_holds_anything_is_left_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    folder.mkdir()
    write_secret(folder / keyfile.INDEX, b"old")

    with pytest.raises(KeyFileError, match="not empty"):
        keyfile.generate_all(folder)
    assert [path.name for path in tmp_path.rglob("*")] == ["keys", keyfile.INDEX]
    assert read_secret(folder / keyfile.INDEX) == b"old"


def test_an_older_folder_gets_the_files_that_it_lacks_and_keeps_the_others(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    keyfile.generate_all(folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / keyfile.LINK).unlink()

    keyfile.complete_index(folder)

    after = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {keyfile.LINK}
    assert rights(folder / keyfile.LINK) == 0o600
