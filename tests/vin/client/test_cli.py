"""`vin client` on the command line, against services of our own."""

import argparse
import asyncio
import json
from pathlib import Path
from uuid import UUID

import pytest

from tests.vin.client.services import Services, config_for
from vin.client import cli
from vin.client.identifiers import ADDRESS, frame
from vin.client.keys import decode
from vin.crypto import oprf
from vin.crypto.oprf import multiply

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


HEADING = b"postcode,number,letter,addition\n"
ADDRESSES = "postcode,number,letter,addition\n1811 AB,12,a,bis\n1811ab,012,A,BIS\n1812AB,7,,\n"


async def test_elements_are_made_of_a_file_of_addresses_each_once(
    config: Path, services: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "addresses.csv"
    path.write_text(ADDRESSES)

    assert await vin_client(config, "elements", path, "--reporter", "region-1") == 0

    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line.keys() for line in lines] == [{"domain", "epoch", "element"}] * 2
    assert {line["domain"] for line in lines} == {"nhn/address"}
    [body] = services.bodies("/v1/evaluations")
    assert body["reporterId"] == "region-1"
    key = services.keys["nhn/address"]
    point = oprf.hash_to_group(frame(ADDRESS, "1811AB|12|A|BIS"))
    assert decode(lines[0]["element"]) == multiply(key, point)


async def test_many_addresses_go_to_the_key_holder_in_parts(
    config: Path, services: Services, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "addresses.csv"
    rows = "".join(f"1811AB,{number},,\n" for number in range(1, 258))
    path.write_text("postcode,number,letter,addition\n" + rows)

    assert await vin_client(config, "elements", path) == 0

    asked = [len(body["batches"][0]["blinded"]) for body in services.bodies("/v1/evaluations")]
    assert asked == [256, 1]
    assert len(set(capsys.readouterr().out.splitlines())) == 257


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        (b"street,number\n", ["its first line must be postcode,number,letter,addition"]),
        (b"\xff\n", ["it is not UTF-8"]),
        (
            HEADING + b"0811AB,1,,\n1811AB,1,,\n1811AB,0,,\n1811AB,1\n1811AB,1,,,\n",
            [
                "line 2: a postcode is four digits, the first not 0, and two letters",
                "line 4: a house number is from 1 to 99999",
                "line 5: it must have 4 values",
                "line 6: it must have 4 values",
            ],
        ),
    ],
)
async def test_all_faulty_addresses_are_named_and_nothing_is_sent(
    config: Path,
    services: Services,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    content: bytes,
    faults: list[str],
) -> None:
    path = tmp_path / "addresses.csv"
    path.write_bytes(content)

    assert await vin_client(config, "elements", path) == 1
    assert await vin_client(config, "elements", tmp_path / "missing") == 1

    told = capsys.readouterr().err.splitlines()
    assert [line.strip() for line in told[1 : len(faults) + 1]] == faults
    assert "cannot be read" in told[-1]
    assert services.asked == []
