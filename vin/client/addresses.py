"""A file of addresses, as a region keeps them for its register of excluded ones."""

import csv
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from vin.client.errors import ConfigError
from vin.client.identifiers import IdentifierError, normalise_address

COLUMNS = ("postcode", "number", "letter", "addition")
STANDARD_INPUT = Path("-")


def read_addresses(path: Path) -> list[str]:
    """Normalise the addresses of a CSV file, each once; ConfigError names every faulty line."""
    try:
        text = sys.stdin.read() if path == STANDARD_INPUT else path.read_text("utf-8-sig")
    except OSError as error:
        raise ConfigError(path, [f"it cannot be read: {error.strerror}"]) from error
    except UnicodeDecodeError:
        raise ConfigError(path, ["it is not UTF-8"]) from None
    rows = csv.DictReader(text.splitlines())
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise ConfigError(path, [f"its first line must be {','.join(COLUMNS)}"])
    return _normalised(path, rows)


def _normalised(path: Path, rows: Iterable[Mapping[str | None, str | None]]) -> list[str]:
    found: dict[str, None] = {}
    faults: list[str] = []
    for number, row in enumerate(rows, start=2):
        cells = [row.get(name) for name in COLUMNS]
        try:
            if None in row or None in cells:
                faults.append(f"line {number}: it must have {len(COLUMNS)} values")
            else:
                found[normalise_address(*(cell or "" for cell in cells))] = None
        except IdentifierError as error:
            faults.append(f"line {number}: {error}")
    if faults:
        raise ConfigError(path, faults)
    return list(found)
