"""Key files: read only where nobody else can, written once and never over another."""

import json
import os
import secrets
import shutil
import stat
import tempfile
from base64 import b64decode
from contextlib import suppress
from pathlib import Path
from typing import Final

from joserfc.jwk import ECKey, OKPKey

ACCESS_SIGNING: Final = "token-signing.pem"
ACCESS_PUBLIC: Final = "token-public.pem"
PERMIT_SIGNING: Final = "permit-signing.pem"
PERMIT_PUBLIC: Final = "permit-public.pem"
KEYHOLDER: Final = "keyholder.json"
INDEX: Final = "index.json"
CONTACT_KEK: Final = "contact-kek.json"
LINK: Final = "link.json"
WEBHOOK_SIGNING: Final = "webhook-signing.pem"

KEY_BYTES: Final = 32

_WIDER_THAN_0600: Final = 0o177


class KeyFileError(Exception):
    """A sentence for the operator, without anything that the file holds."""


def read_secret(path: Path) -> bytes:
    """Read a file that belongs to this user and is closed to all others."""
    try:
        with path.open("rb") as file:
            _check_access(path, os.fstat(file.fileno()))
            return file.read()
    except OSError as error:
        message = f"The key file {path} cannot be read: {error.strerror}."
        raise KeyFileError(message) from error


def _check_access(path: Path, status: os.stat_result) -> None:
    rights = stat.S_IMODE(status.st_mode)
    if rights & _WIDER_THAN_0600:
        message = f"The key file {path} has rights {rights:04o}: make them 0600."
        raise KeyFileError(message)
    if status.st_uid != os.geteuid():
        message = f"The key file {path} belongs to another user, {status.st_uid}."
        raise KeyFileError(message)


def read_key(path: Path, name: str) -> bytes:
    """Read one named key of a JSON key file."""
    return _key(path, _read_object(path).get(name))


def read_epochs(path: Path) -> dict[int, bytes]:
    """Read the seeds of a JSON key file by epoch, at least one."""
    entries = _read_object(path).get("epochs")
    pairs = [_epoch(path, each) for each in entries] if isinstance(entries, list) else []
    seeds = dict(pairs)
    if not seeds or len(seeds) != len(pairs):
        message = f"The key file {path} needs epochs, each with a number of its own."
        raise KeyFileError(message)
    return seeds


def _epoch(path: Path, entry: object) -> tuple[int, bytes]:
    match entry:
        case {"epoch": int(epoch), "seed": seed} if epoch > 0:
            return epoch, _key(path, seed)
    message = f"An epoch in the key file {path} is not a number above 0 with a seed."
    raise KeyFileError(message)


def _read_object(path: Path) -> dict[str, object]:
    document = None
    with suppress(ValueError):  # the error would remember the content
        document = json.loads(read_secret(path))
    if not isinstance(document, dict):
        message = f"The key file {path} holds no JSON object."
        raise KeyFileError(message)
    return document


def _key(path: Path, text: object) -> bytes:
    key = b""
    if isinstance(text, str):
        with suppress(ValueError):
            key = b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
    if len(key) != KEY_BYTES:
        message = f"A key in the key file {path} is not {KEY_BYTES} bytes of base64url."
        raise KeyFileError(message)
    return key


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file of rights 0600, on disk when this returns."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(handle)
    except OSError as error:
        message = f"The key file {path} cannot be written: {error.strerror}."
        raise KeyFileError(message) from error


def generate_all(folder: Path) -> None:
    """Make all key files in a folder that is new or empty; if that fails, none."""
    _generate(folder, {**_index_files(), **_keyholder_files()})


def generate_index(folder: Path) -> None:
    """Make the key files that the index's administrator keeps, in a new folder."""
    _generate(folder, _index_files())


def generate_keyholder(folder: Path) -> None:
    """Make the key files that the key holder's administrator keeps, in a new folder."""
    _generate(folder, _keyholder_files())


def complete_index(folder: Path) -> None:
    """Make the key files that an older version did not know of; what is there stays."""
    for name, content in _later_files().items():
        if not (folder / name).exists():
            write_secret(folder / name, content)


def _generate(folder: Path, files: dict[str, bytes]) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".keys-"))
    try:
        for name, content in files.items():
            write_secret(fresh / name, content)
        fresh.rename(folder)
    except OSError as error:
        message = f"Keys cannot be put into {folder}: {error.strerror}."
        raise KeyFileError(message) from error
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _index_files() -> dict[str, bytes]:
    access = ECKey.generate_key("P-256")
    return {
        ACCESS_SIGNING: access.as_pem(private=True),
        ACCESS_PUBLIC: access.as_pem(),
        INDEX: _json({"epochs": _first_epoch(), "secret": _new_key()}),
        CONTACT_KEK: _json({"key": _new_key()}),
        **_later_files(),
    }


def _later_files() -> dict[str, bytes]:
    """What the first release did not have."""
    return {
        LINK: _json({"key": _new_key()}),
        WEBHOOK_SIGNING: OKPKey.generate_key("Ed25519").as_pem(private=True),
    }


def _keyholder_files() -> dict[str, bytes]:
    permit = OKPKey.generate_key("Ed25519")
    return {
        PERMIT_SIGNING: permit.as_pem(private=True),
        PERMIT_PUBLIC: permit.as_pem(),
        KEYHOLDER: _json({"epochs": _first_epoch()}),
    }


def _first_epoch() -> list[dict[str, object]]:
    return [{"epoch": 1, "seed": _new_key()}]


def _new_key() -> str:
    return secrets.token_urlsafe(KEY_BYTES)


def _json(document: dict[str, object]) -> bytes:
    return json.dumps(document, indent=2).encode() + b"\n"
