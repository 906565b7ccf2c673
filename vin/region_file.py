"""Reads a region file and tells everything that is wrong with it at once."""

import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from vin.errors import StartError
from vin.region import Region


def read_region_data(path: Path) -> dict[str, object]:
    """Read a region file without checking it, or raise StartError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"Cannot read {path}: {error.strerror}."
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        reason = f"{path} is no TOML file: {error}."
    raise StartError(reason)


def with_client_keys(
    data: Mapping[str, object],
    jwks: Mapping[str, Mapping[str, object]],
) -> dict[str, object]:
    """Give each client that `jwks` names its one public key; nothing else changes."""
    copy: dict[str, object] = deepcopy(dict(data))
    for _, client in _walk(copy, ["organisations", "*", "clients", "*"]):
        if isinstance(client, dict) and client.get("id") in jwks:
            client["jwks"] = {"keys": [dict(jwks[client["id"]])]}
    return copy


def parse_region(data: Mapping[str, object], source: str) -> Region:
    """Check the contents of a file, or raise StartError with every fault's place."""
    faults: list[str] = []
    region = None
    try:
        region = Region.model_validate(dict(data))
    except ValidationError as error:
        faults += [_sentence(fault) for fault in error.errors(include_input=False)]
    faults += [*_repeated(data), *_dangling(data), *_unable(data)]
    if region is None or faults:
        raise StartError("\n  ".join([f"{source} cannot be used:", *faults]))
    return region


def _sentence(fault: ErrorDetails) -> str:
    place = ""
    for step in fault["loc"]:
        place += f"[{step}]" if isinstance(step, int) else f".{step}"
    words = {"missing": "is missing", "extra_forbidden": "is not known here"}
    return f"{place.removeprefix('.')}: {words.get(fault['type'], fault['msg'])}"


# What must be unique in the list that it stands in, and what in the whole file.
_UNIQUE_IN_LIST = (
    "municipalities.*.code",
    "municipalities.*.follow_up_officers.*.code",
    "categories.*.code",
    "organisations.*.code",
    "organisations.*.units.*.code",
    "organisations.*.coordinators.*.code",
    "organisations.*.clients.*.jwks.keys.*.kid",
    "auditors.*.code",
)
_UNIQUE_IN_FILE = (
    "organisations.*.clients.*.id",
    "organisations.*.clients.*.jwks.keys.*.x",
    "organisations.*.clients.*.jwks.keys.*.n",
)
_REFERENCES = (
    ("organisations.*.category", "categories.*.code"),
    ("organisations.*.municipality", "municipalities.*.code"),
    ("policies.holder.organisation", "organisations.*.code"),
)


def _repeated(data: object) -> Iterator[str]:
    seen: dict[tuple[str, str, object], list[str]] = defaultdict(list)
    for path in (*_UNIQUE_IN_LIST, *_UNIQUE_IN_FILE):
        for place, value in _texts(data, path):
            owner = place.rpartition("[")[0] if path in _UNIQUE_IN_LIST else ""
            seen[path, owner, value].append(place)
    for first, *others in seen.values():
        yield from (f"{other}: is the same as {first}" for other in others)


def _dangling(data: object) -> Iterator[str]:
    for path, target in _REFERENCES:
        known = {value for _, value in _texts(data, target)}
        for place, value in _texts(data, path):
            if value not in known:
                yield f"{place}: {value!r} is not in {target.partition('.')[0]}"


def _unable(data: object) -> Iterator[str]:
    """W2: the holder needs the unit that is named, and a coordinator whom notices go to."""
    holders = {code for _, code in _texts(data, "policies.holder.organisation")}
    for place, organisation in _walk(data, ["organisations", "*"]):
        if holders.isdisjoint(code for _, code in _texts(organisation, "code")):
            continue
        units = {unit for _, unit in _texts(organisation, "units.*.code")}
        for named, unit in _texts(data, "policies.holder.unit"):
            if unit not in units:
                yield f"{named}: {unit!r} is not in {place.removeprefix('.')}.units"
        if not any(_walk(organisation, ["coordinators", "*"])):
            yield f"{place.removeprefix('.')}.coordinators: the region's holder needs one"


def _texts(data: object, path: str) -> Iterator[tuple[str, str]]:
    for place, value in _walk(data, path.split(".")):
        if isinstance(value, str):
            yield place.removeprefix("."), value


def _walk(node: object, path: Sequence[str], place: str = "") -> Iterator[tuple[str, object]]:
    """Find what stands under a path, "*" for any item; the data may have any shape."""
    match path, node:
        case [], _:
            yield place, node
        case ["*", *rest], list():
            for position, item in enumerate(node):
                yield from _walk(item, rest, f"{place}[{position}]")
        case [name, *rest], dict() if name in node:
            yield from _walk(node[name], rest, f"{place}.{name}")
