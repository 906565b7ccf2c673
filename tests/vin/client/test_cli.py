"""`vin client` on the command line, against services of our own."""

import argparse
import asyncio
import json
from pathlib import Path
from uuid import UUID

import pytest

from tests.vin.client.services import Services, config_for
from vin.client import cli

REGISTRATION = {
    "reporter_id": "p-1",
    "reference": "D-1",
    "child": "999990019",
    "parents": ["999990020"],
    "address": {"postcode": "1811AB", "number": 50001},
    "birth_date": "2015-03-01",
    "idempotency_key": "00000000-0000-4000-8000-000000000001",
}
NAMED = """
reporter_id = "p-1"
reference = "D-2"
child = { surname = "Roos", birth_date = 2015-03-01, sex = "F" }
"""


@pytest.fixture
def config(services: Services, tmp_path: Path) -> Path:
    made = config_for(services, tmp_path)
    path = tmp_path / "vin-client.toml"
    path.write_text(
        f'api = "{made.api}"\nkeyholder = "{made.keyholder}"\n'
        f'client_id = "{made.client_id}"\nprivate_key_file = "client.pem"\n'
    )
    return path


async def vin_client(config: Path, *arguments: str | Path) -> int:
    """Run a command in a thread, where it may have a loop of its own."""
    parser = argparse.ArgumentParser()
    cli.add_commands(parser.add_subparsers())
    options = parser.parse_args(["client", "--config", *map(str, (config, *arguments))])
    return await asyncio.to_thread(options.run, options)


async def test_check_tells_the_keys_in_use(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await vin_client(config, "check") == 0

    keys = [f"nhn/{use}/1" for use in ("child", "parent", "address", "weak")]
    assert json.loads(capsys.readouterr().out) == {"keys": keys, "accessToken": True}


async def test_a_signal_is_registered_from_json_and_from_toml_and_listed(
    config: Path, services: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "by-number").write_text(json.dumps(REGISTRATION))
    (tmp_path / "by-name").write_text(NAMED)

    for name in ("by-number", "by-name"):
        assert await vin_client(config, "register", tmp_path / name) == 0
    assert await vin_client(config, "signals", "--reporter", "p-1") == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["reference"] for line in lines] == ["D-1", "D-2", "D-1", "D-2"]
    assert next(iter(services.signals)) == REGISTRATION["idempotency_key"]
    assert UUID(lines[0]["id"])


async def test_matches_are_listed_and_a_signal_is_withdrawn(
    config: Path, services: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "given").write_text(NAMED)
    await vin_client(config, "register", tmp_path / "given")
    signal = json.loads(capsys.readouterr().out)["id"]

    assert await vin_client(config, "withdraw", signal, "--ground", "riskGone") == 0
    assert await vin_client(config, "matches") == 0

    ended, match = map(json.loads, capsys.readouterr().out.splitlines())
    assert (ended["id"], ended["status"], match["number"]) == (signal, "ended", "M-1")
    [body] = services.bodies(f"/v1/signals/{signal}/withdrawal")
    assert body["ground"] == "riskGone"


async def test_standard_input_is_a_file_too(
    config: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, services: Services
) -> None:
    path = tmp_path / "given"
    path.write_text(NAMED)
    with path.open() as file:
        monkeypatch.setattr("sys.stdin", file)
        assert await vin_client(config, "register", "-") == 0

    assert len(services.signals) == 1


async def test_a_reporter_is_made_known(config: Path, services: Services, tmp_path: Path) -> None:
    path = tmp_path / "reporter.toml"
    path.write_text(
        'id = "p-1"\nname = "Reporter 1"\nfunction = "teacher"\nemail = "p1@school.test"\n'
        'phone = "000 000 0001"\nunit = "school"\nregistration_number = "R-1"\n'
    )

    assert await vin_client(config, "reporter", path) == 0

    [body] = services.bodies("/v1/reporters/p-1")
    assert body["registrationNumber"] == "R-1"
    assert "reachable" not in body


@pytest.mark.parametrize(
    ("text", "faults"),
    [
        (
            'reporter_id = 5\nchild = "999990018"\nparents = ["1", 2]\ncolour = "blue"',
            ["reporter_id", "reference", "child.bsn", "parents.0", "parents.1", "colour"],
        ),
        (
            'reporter_id = "p-1"\nreference = "D"\nchild = {surname = "4", sex = "F"}',
            ["child.demographic.birth_date"],
        ),
        ('{"reporter_id": "999990018"', ["it is neither JSON nor TOML"]),
        ("child = 999990018 9", ["it is neither JSON nor TOML"]),
    ],
)
async def test_every_fault_of_a_file_is_told_and_nothing_that_it_holds(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, faults: list[str]
) -> None:
    path = tmp_path / "given"
    path.write_text(text)

    assert await vin_client(config, "register", path) == 1

    told = capsys.readouterr().err
    assert [line.strip().partition(":")[0] for line in told.splitlines()[1:]] == faults
    assert "99999" not in told


async def test_a_file_that_is_not_there_is_told(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await vin_client(config, "register", tmp_path / "nothing") == 1

    assert "No such file" in capsys.readouterr().err


def test_no_command_takes_an_identifier() -> None:
    parser = argparse.ArgumentParser()
    cli.add_commands(parser.add_subparsers())

    with pytest.raises(SystemExit):
        parser.parse_args(["client", "register", "--child", "999990019"])
