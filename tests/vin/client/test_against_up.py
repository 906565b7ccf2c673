"""The client and its command line against a running `vin up`."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from datetime import date
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from tests.running import Up
from vin.client import (
    Bsn,
    Client,
    Config,
    Demographic,
    Ground,
    Match,
    Outcome,
    OwnNumberError,
    ProblemError,
    Registration,
    Reporter,
)

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "docs" / "examples" / "connect.py"
PARENT, CHILD, SIBLING, NEPHEW = "999990081", "999990093", "999990159", "999990111"
OWN = "999990044"
SECONDS = 20


@pytest_asyncio.fixture
async def clients(up: Up) -> AsyncIterator[Sequence[Client]]:
    """Three organisations, each with a reporter whose id no other test has."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(Client.connect(config_of(up, place)))
            for place in range(3)
        ]


def config_of(up: Up, place: int, **own: object) -> Config:
    entry = up.ready["clients"][place]
    return Config.model_validate(
        {
            "api": up.ready["api"],
            "keyholder": up.ready["keyholder"],
            "client_id": entry["clientId"],
            "private_key_file": Path(entry["privateKeyFile"]),
            **own,
        }
    )


async def designate(up: Up, client: Client, place: int) -> str:
    reporter = f"client-{uuid4().hex}"
    await client.register_reporter(
        Reporter(
            id=reporter,
            name=f"Reporter {place}",
            function="teacher",
            email=f"{reporter}@school.example",
            phone="000 000 0001",
            unit=up.ready["clients"][place]["unit"],
            reachable="office hours",
        )
    )
    return reporter


async def matches_of(client: Client, reporter: str, count: int) -> list[Match]:
    """Wait for so many matches of a reporter."""
    found: list[Match] = []
    async with asyncio.timeout(SECONDS):
        while len(found) < count:
            await asyncio.sleep(0.05)
            found = [match async for match in client.matches(reporter)]
    return found


async def test_two_organisations_find_each_other_and_lose_sight_after_a_withdrawal(
    up: Up, clients: Sequence[Client]
) -> None:
    one, other, _ = clients
    first, second = await designate(up, one, 0), await designate(up, other, 1)
    signal = await one.register(
        Registration(reporter_id=first, reference="A/1", child=Bsn(CHILD), parents=[Bsn(PARENT)])
    )
    await other.register(
        Registration(
            reporter_id=second,
            reference="B.2",
            child=Bsn(CHILD),
            birth_date=date(2010, 1, 1),
            remove_on=date.fromordinal(signal.remove_on.toordinal() - 300),
        )
    )

    [mine], [theirs] = await matches_of(one, first, 1), await matches_of(other, second, 1)

    assert mine.number == theirs.number
    assert (mine.kind, mine.reference, mine.signal_id) == ("child", "A/1", signal.id)
    assert mine.contact is not None
    assert mine.contact.email == f"{second}@school.example"
    assert mine.contact.reachable == "office hours"
    assert await one.match(mine.number) == mine
    assert await one.match(mine.number, signal.id) == mine
    said = await one.say(mine.number, Outcome.SPOKEN, new_to_me=False)
    assert said.outcomes.own
    assert (said.outcomes.own.outcome, said.outcomes.own.new_to_me) == (Outcome.SPOKEN, False)
    heard = (await other.match(mine.number, theirs.signal_id)).outcomes
    assert (heard.own, heard.other and heard.other.outcome) == (None, Outcome.SPOKEN)
    assert (await one.signal(signal.id)).processed_at is not None
    assert [each.id async for each in one.signals(first)] == [signal.id]

    ended = await one.withdraw(signal.id, Ground.UNJUSTIFIED)

    assert ended.status == "ended"
    theirs = await other.match(theirs.number)
    assert (theirs.status, theirs.contact) == ("void", None)


async def test_a_family_matches_by_parent_and_a_child_without_number_possibly(
    up: Up, clients: Sequence[Client]
) -> None:
    reporters = [await designate(up, client, place) for place, client in enumerate(clients)]
    children: list[Bsn | Demographic] = [
        Bsn(SIBLING),
        Bsn(NEPHEW),
        Demographic("Roos-een", date(2016, 5, 1), "F"),
    ]
    for client, reporter, child in zip(clients, reporters, children, strict=True):
        await client.register(
            Registration(
                reporter_id=reporter, reference="D-1", child=child, parents=[Bsn("9999 90123")]
            )
        )

    found = await matches_of(clients[0], reporters[0], 2)

    assert sorted(match.kind for match in found) == ["household", "possible"]


async def test_the_same_registration_again_gives_the_same_signal(
    up: Up, clients: Sequence[Client]
) -> None:
    reporter = await designate(up, clients[0], 0)
    given = Registration(reporter_id=reporter, reference="D-1", child=Bsn("999990135"))

    first = await clients[0].register(given)

    assert await clients[0].register(given) == first


@pytest.mark.parametrize(
    "family", [{"child": Bsn(OWN)}, {"child": Bsn(CHILD), "parents": [Bsn(OWN)]}]
)
async def test_s17_of_a_reporters_own_family_nothing_reaches_the_index(
    up: Up, clients: Sequence[Client], family: dict[str, Any]
) -> None:
    reporter = await designate(up, clients[0], 0)
    config = config_of(up, 0, own_numbers={reporter: OWN}, coordinator="Coordinator 1")

    async with Client.connect(config) as client:
        with pytest.raises(OwnNumberError, match="Coordinator 1"):
            await client.register(Registration(reporter_id=reporter, reference="D-17", **family))

    assert [each async for each in clients[0].signals(reporter)] == []


async def test_faults_come_back_with_their_places(clients: Sequence[Client]) -> None:
    given = Registration(reporter_id="nobody", reference="D-1", child=Bsn(CHILD))

    with pytest.raises(ProblemError) as caught:
        await clients[0].register(given)

    assert [each.name for each in caught.value.problem.invalid_params] == ["reporterId"]


async def test_the_pinned_keys_are_those_of_the_first_contact(up: Up) -> None:
    async with Client.connect(config_of(up, 0)) as client:
        assert set(await client.check()) == {
            f"nhn/{use}/1" for use in ("child", "parent", "address", "weak")
        }


def test_the_example_of_the_documentation_ends_with_a_match(up: Up, tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to(up.data)

    told = subprocess.run(
        [sys.executable, EXAMPLE], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert " child Contact(" in told.stdout
    assert told.stderr == ""


def test_the_example_is_twenty_lines_and_stands_in_the_page() -> None:
    code = EXAMPLE.read_text()
    page = (ROOT / "docs" / "connect.md").read_text()

    assert sum(bool(line) for line in code.splitlines()) == 20
    assert f"```python\n{code}```" in page


def test_the_command_line_registers_and_withdraws(up: Up, tmp_path: Path) -> None:
    entry = up.ready["clients"][3]
    reporter = f"client-{uuid4().hex}"
    (tmp_path / "vin-client.toml").write_text(
        f'api = "{up.ready["api"]}"\nkeyholder = "{up.ready["keyholder"]}"\n'
        f'client_id = "{entry["clientId"]}"\nprivate_key_file = "{entry["privateKeyFile"]}"\n'
    )
    (tmp_path / "reporter.toml").write_text(
        f'id = "{reporter}"\nname = "Reporter 1"\nfunction = "teacher"\n'
        f'email = "{reporter}@school.example"\nphone = "000 000 0001"\nunit = "{entry["unit"]}"\n'
    )
    (tmp_path / "signal.json").write_text(
        json.dumps({"reporter_id": reporter, "reference": "D-1", "child": "999990147"})
    )

    def vin_client(*arguments: str) -> dict[str, object]:
        command = [sys.executable, "-m", "vin", "client", *arguments]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        answer: dict[str, object] = json.loads(done.stdout)
        return answer

    assert vin_client("reporter", "reporter.toml") == {"reporterId": reporter}
    signal = vin_client("register", "signal.json")
    ended = vin_client("withdraw", str(signal["id"]), "--ground", "riskGone")
    assert ended["status"] == "ended"
