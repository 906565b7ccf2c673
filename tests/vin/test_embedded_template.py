"""The cached cluster: quicker than initdb, and used only when it is whole."""

import asyncio
import stat
from pathlib import Path

import pytest

from vin.embedded import postgres, template


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vin"


async def start(folder: Path) -> None:
    async with postgres(folder, durable=False):
        pass


async def test_the_first_start_leaves_a_private_template_that_the_next_one_uses(
    tmp_path: Path, cache: Path
) -> None:
    await start(tmp_path / "first")
    (kept,) = cache.iterdir()
    written = kept.stat().st_mtime_ns

    await start(tmp_path / "second")

    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert list(cache.iterdir()) == [kept]
    assert kept.stat().st_mtime_ns == written
    assert "initdb" not in (tmp_path / "second/log/postgres.log").read_text()


@pytest.mark.parametrize("damage", ["cut off", "changed", "empty"])
def test_a_damaged_template_makes_nothing(tmp_path: Path, damage: str) -> None:
    (tmp_path / "cluster").mkdir()
    (tmp_path / "cluster/PG_VERSION").write_text("18\n")
    packed = tmp_path / "packed"
    template.pack(tmp_path / "cluster", packed)
    whole = packed.read_bytes()
    assert template.unpack(packed, tmp_path / "whole")

    packed.write_bytes(
        {"cut off": whole[:-1], "changed": whole.replace(b"18\n", b"15\n"), "empty": b""}[damage]
    )

    assert not template.unpack(packed, tmp_path / "made")
    assert not (tmp_path / "made").exists()


async def test_a_damaged_template_is_replaced(tmp_path: Path, cache: Path) -> None:
    cache.mkdir(parents=True)
    await start(tmp_path / "first")
    (kept,) = cache.iterdir()
    kept.write_bytes(kept.read_bytes()[:-512])

    await start(tmp_path / "second")

    assert template.unpack(kept, tmp_path / "made")


async def test_starts_at_the_same_time_share_one_template(tmp_path: Path, cache: Path) -> None:
    await asyncio.gather(start(tmp_path / "a"), start(tmp_path / "b"))

    (kept,) = cache.iterdir()
    assert template.unpack(kept, tmp_path / "made")


@pytest.mark.parametrize("variable", ["XDG_CACHE_HOME", "HOME"])
async def test_a_user_without_a_cache_can_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv(variable, "/dev/null")

    assert template.template_path("18") is None
    await start(tmp_path)
