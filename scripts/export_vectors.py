#!/usr/bin/env python3
"""Write schemas/vectors.json: what a client in any language must compute alike.

With --check nothing is written; a difference ends with 1.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from vin.client import identifiers
from vin.crypto.oprf import hash_to_group

TARGET = Path(__file__).resolve().parent.parent / "schemas" / "vectors.json"

NORMALISERS: dict[str, Callable[..., str]] = {
    identifiers.BSN: identifiers.normalise_bsn,
    identifiers.ADDRESS: identifiers.normalise_address,
    identifiers.DEMOGRAPHIC: identifiers.normalise_demographic,
    identifiers.TEST: identifiers.normalise_test,
}
MEMBERS: dict[str, tuple[str, ...]] = {
    identifiers.BSN: ("bsn",),
    identifiers.ADDRESS: ("postcode", "number", "letter", "addition"),
    identifiers.DEMOGRAPHIC: ("birthSurname", "birthDate", "sex"),
    identifiers.TEST: ("digits",),
}

TAKEN: dict[str, list[tuple[str, ...]]] = {
    identifiers.BSN: [
        ("999900006",),
        ("999999990",),
        ("9999.00.018",),
        (" 9999 000-31 ",),
        ("00000012",),  # as low as this no number was ever issued
    ],
    identifiers.ADDRESS: [
        ("1811AB", "12", "A", "BIS"),
        ("1811 ab", "0012", "a", "bis"),
        ("1811AB", "12", "", ""),
        ("1811AB", "12", "", "- 2 hoog -"),
        ("1811AB", "3", "", "0072"),
        ("1811AB", "3", "", "00-72"),
        ("1811AB", "30072", "", ""),
        ("9999ZZ", "99999", "Z", "1-TRAF"),
    ],
    identifiers.DEMOGRAPHIC: [
        ("Voorbeeld", "2016-02-29", "F"),
        ("van de Voorbeeld", "2016-02-29", "M"),
        ("Van Der Voorbeeld", "2016-12-31", "X"),
        ("in 't Voorbeeld", "2016-12-31", "X"),
        ("in\u2019t Voorbeeld", "2016-12-31", "X"),
        ("'s-Voorbeeld", "2016-12-31", "X"),
        ("d'Atlas", "2016-12-31", "X"),
        ("op den Test-van Voorbeeld", "2016-12-31", "X"),
        ("De", "2016-12-31", "X"),
        ("Re\u00ebel", "2016-12-31", "F"),
        ("Ree\u0308el", "2016-12-31", "F"),
        ("\u0132svogel", "2016-12-31", "F"),
        ("\u00d8l \u00f8l \u01feL", "2016-12-31", "F"),
        ("\u0141\u00f3d\u017a \u0142\u00f3d\u017a", "2016-12-31", "F"),
        ("\u0110akovo \u0111akovo", "2016-12-31", "F"),
        ("\u00c6ther \u00e6ther", "2016-12-31", "F"),
        ("\u0152uvre \u0153uvre", "2016-12-31", "F"),
        ("Stra\u00dfe STRA\u1e9eE", "2016-12-31", "F"),
        ("\u00deing \u00feing", "2016-12-31", "F"),
        ("\u0130s\u0131", "2016-12-31", "F"),
    ],
    identifiers.TEST: [("0",), ("00012",), ("9" * 40,)],
}
REFUSED: dict[str, list[tuple[str, ...]]] = {
    identifiers.BSN: [
        ("9999000",),
        ("9999000061",),
        ("999900007",),
        ("000000000",),
        ("999900\u00a0006",),
        ("\u0669\u0669\u0669\u0669\u0660\u0660\u0660\u0660\u0666",),
        ("\uff19\uff19\uff19\uff19\uff10\uff10\uff10\uff10\uff16",),
    ],
    identifiers.ADDRESS: [
        ("0811AB", "12", "", ""),
        ("1811", "12", "", ""),
        ("1811AB", "0", "", ""),
        ("1811AB", "100000", "", ""),
        ("1811AB", "12A", "", ""),
        ("1811AB", "12", "AB", ""),
        ("1811AB", "12", "", "2|3"),
        ("1811AB", "12", "", "2/3"),
    ],
    identifiers.DEMOGRAPHIC: [
        ("", "2016-02-29", "F"),
        ("van \u674e", "2016-02-29", "F"),
        ("Voorbeeld", "2015-02-29", "F"),
        ("Voorbeeld", "2016-00-00", "F"),
        ("Voorbeeld", "20160229", "F"),
        ("Voorbeeld", "2016-02-29", "V"),
    ],
    identifiers.TEST: [("",), ("12a",), ("\u0661",)],
}


def main() -> int:
    text = json.dumps(document(), indent=2) + "\n"
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text)
        return 0
    if TARGET.exists() and TARGET.read_text() == text:
        return 0
    print(f"{TARGET.name} is not what scripts/export_vectors.py writes; run it")
    return 1


def document() -> dict[str, object]:
    return {
        "suite": "P256-SHA256",
        "hashToGroup": {
            "name": "P256_XMD:SHA-256_SSWU_RO_",
            "dst": b"HashToGroup-OPRFV1-\x01-P256-SHA256".hex(),
        },
        "vectors": [vector(kind, parts) for kind, rows in TAKEN.items() for parts in rows],
        "refused": [refusal(kind, parts) for kind, rows in REFUSED.items() for parts in rows],
    }


def vector(kind: str, parts: tuple[str, ...]) -> dict[str, object]:
    value = NORMALISERS[kind](*parts)
    frame = identifiers.frame(kind, value)
    return {
        "kind": kind,
        "input": named(kind, parts),
        "value": value,
        "frame": frame.hex(),
        "element": hash_to_group(frame).hex(),
    }


def refusal(kind: str, parts: tuple[str, ...]) -> dict[str, object]:
    try:
        value = NORMALISERS[kind](*parts)
    except identifiers.IdentifierError as error:
        return {"kind": kind, "input": named(kind, parts), "why": str(error)}
    message = f"{kind} takes {parts} as {value}"
    raise SystemExit(message)


def named(kind: str, parts: tuple[str, ...]) -> dict[str, str]:
    return dict(zip(MEMBERS[kind], parts, strict=True))


if __name__ == "__main__":
    sys.exit(main())
