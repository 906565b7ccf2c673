"""The register of excluded addresses: from a region's file to signals that do not match (M4)."""

import json
from pathlib import Path

import pytest

from schemas.database import Db
from tests.changing import rehouse
from tests.region_files import parse, region_data
from tests.steps import NOW, match_all, register
from tests.world import SECRETS, Somebody, make_region, make_reporters, registration, token
from vin.base64url import encode_base64url
from vin.crypto import oprf
from vin.crypto.seal import DataKeys
from vin.errors import StartError
from vin.excluded import excluded_tokens, read_excluded
from vin.onboard import onboard
from vin.region import Region

KEYS = DataKeys({1: bytes(32)})


@pytest.fixture
async def reporters(db: Db) -> list[Somebody]:
    await make_region(db, hub_limit=2, address_rule=True)
    await db.execute("INSERT INTO matching.excluded_address VALUES ($1)", token(4, 9).lookup)
    return await make_reporters(db, 4)


async def kinds(db: Db) -> list[tuple[str, str]]:
    rows = await db.fetch("SELECT kind, status FROM matching.match")
    return sorted((row["kind"], row["status"]) for row in rows)


async def test_s08_unrelated_children_in_a_shelter_do_not_match_and_no_hub_is_made_of_it(
    db: Db, reporters: list[Somebody]
) -> None:
    for child, by in enumerate(reporters, 1):
        await register(db, registration(by, child, address=9))
        await match_all(db)

    assert await kinds(db) == []
    assert await db.fetchval("SELECT count(*) FROM matching.hub") == 0


async def test_m4_an_address_that_is_not_excluded_matches_beside_it(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    await register(db, registration(a, 1, address=8), registration(b, 2, address=8))
    await match_all(db)

    assert await kinds(db) == [("household", "open")]


async def test_m4_an_excluded_address_is_no_second_key_and_upholds_no_match(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, c, d = reporters
    for child, by in enumerate((a, b), 1):
        await register(db, registration(by, child, parents=[1], address=9))
    await match_all(db)
    assert await kinds(db) == [("household", "open")]
    for child, by in enumerate((c, d), 3):
        await register(
            db, registration(by, child, parents=[1], address=9), now=NOW.replace(hour=12)
        )
        await match_all(db)
    assert await kinds(db) == [("household", "open")]

    (signal,) = await db.fetch("SELECT id FROM matching.signal WHERE reporter_id = $1", a.id)
    await rehouse(db, signal["id"], a, [2], 9)

    assert await kinds(db) == [("household", "void")]


def element(number: int) -> str:
    return encode_base64url(oprf.hash_to_group(str(number).encode()))


def line(number: int, **changes: object) -> str:
    return json.dumps({"domain": "nhn/address", "epoch": 1, "element": element(number)} | changes)


def region_with(file: Path | None) -> Region:
    data = region_data()
    return parse(data | {"policies": {"excluded_addresses": str(file)}} if file else data)


def written(folder: Path, *lines: str) -> Path:
    file = folder / "excluded.ndjson"
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return file


async def apply(db: Db, region: Region, folder: Path) -> list[str]:
    tokens = excluded_tokens(read_excluded(region, folder), SECRETS.index)
    async with db.transaction():
        return (await onboard(db, region, KEYS, "operator", NOW, tokens)).lines()


async def stored(db: Db) -> set[object]:
    return {row["token"] for row in await db.fetch("SELECT token FROM matching.excluded_address")}


def lookup(number: int) -> object:
    point = oprf.hash_to_group(str(number).encode())
    return SECRETS.index.token("nhn/address", 1, point).lookup


async def test_m4_onboarding_makes_the_register_equal_to_the_file(db: Db, tmp_path: Path) -> None:
    written(tmp_path, line(1), line(2), "", line(2))
    region = region_with(Path("excluded.ndjson"))

    assert "excluded_address 2" in await apply(db, region, tmp_path)
    assert await stored(db) == {lookup(1), lookup(2)}
    assert await apply(db, region, tmp_path) == []

    written(tmp_path, line(2), line(3))
    assert await apply(db, region, tmp_path) == ["excluded_address 2"]
    assert await stored(db) == {lookup(2), lookup(3)}

    assert await apply(db, region_with(None), tmp_path) == ["excluded_address 2"]
    assert await stored(db) == set()


def test_a_region_without_a_file_excludes_nothing(tmp_path: Path) -> None:
    assert read_excluded(region_with(None), tmp_path) == []


def test_all_faulty_lines_are_named_and_none_of_their_values(tmp_path: Path) -> None:
    off = "A" + "g" + "A" * 41 + "E"
    file = written(
        tmp_path,
        line(1),
        "no json",
        line(2, element=off),
        line(3, domain="nhn/parent"),
        line(4, postcode="1811AB"),
        line(5, epoch=0),
    )

    with pytest.raises(StartError) as caught:
        read_excluded(region_with(file), tmp_path)

    places = [each.strip().split(":")[0] for each in str(caught.value).splitlines()[1:]]
    assert places == ["line 2", "line 3", "line 4", "line 5", "line 6"]
    for value in (off, element(3), "1811AB", "no json"):
        assert value not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"Cannot read .*missing"):
        read_excluded(region_with(Path("missing.ndjson")), tmp_path)
