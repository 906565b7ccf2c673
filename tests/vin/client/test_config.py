"""The configuration: read whole, refused with every fault, quoting nothing that is secret."""

from pathlib import Path

import pytest

from vin.client import Bsn, Config, ConfigError, load_config
from vin.client.keys import encode

GOOD = """
api = "https://index.example"
keyholder = "https://keyholder.example:8443"
client_id = "school-1"
private_key_file = "keys/school-1.pem"
coordinator = "Coordinator 1, 000 000 0009"

[own_numbers]
p-1 = "9999.90.019"

[pins]
"nhn/child/1" = "AgEC"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "vin-client.toml"
    path.write_text(text)
    return path


def test_a_file_is_read_and_its_key_sought_beside_it(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, GOOD))

    assert config.private_key_file == tmp_path / "keys" / "school-1.pem"
    assert config.own_numbers == {"p-1": Bsn("999990019")}
    assert config.pins == {"nhn/child/1": bytes([2, 1, 2])}
    assert "9001" not in repr(config)


def test_a_configuration_made_in_python_takes_what_a_file_becomes(tmp_path: Path) -> None:
    read = load_config(write(tmp_path, GOOD))

    made = Config(
        api=read.api,
        keyholder=read.keyholder,
        client_id=read.client_id,
        private_key_file=read.private_key_file,
        coordinator=read.coordinator,
        own_numbers={"p-1": Bsn("999990019")},
        pins={"nhn/child/1": bytes([2, 1, 2])},
    )

    assert made == read


def test_all_faults_are_told_at_once_without_what_was_written(tmp_path: Path) -> None:
    text = """
    api = "http://index.example"
    keyholder = "https://keyholder.example/v1"
    client_id = ""
    colour = "blue"
    [own_numbers]
    p-1 = "999990018"
    p-2 = 999990019
    [pins]
    "nhn/child/1" = "A?"
    "nhn/parent/1" = 5
    """
    with pytest.raises(ConfigError) as caught:
        load_config(write(tmp_path, text))

    assert [fault.partition(":")[0] for fault in caught.value.faults] == [
        "api",
        "keyholder",
        "client_id",
        "private_key_file",
        "pins.nhn/child/1",
        "pins.nhn/parent/1",
        "own_numbers.p-1",
        "own_numbers.p-2",
        "colour",
    ]
    for secret in ("99999", "9001", "A?"):
        assert secret not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1:8080", "localhost:8080", "[::1]:8080"])
def test_plain_http_is_for_this_machine_alone(tmp_path: Path, host: str) -> None:
    text = GOOD.replace("https://index.example", f"http://{host}")

    assert load_config(write(tmp_path, text)).api == f"http://{host}"


@pytest.mark.parametrize("text", ["api =", "\ufeff"])
def test_what_is_no_toml_is_told_without_its_words(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="no TOML"):
        load_config(write(tmp_path, text))


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_config(tmp_path / "vin-client.toml")


def test_keys_are_written_as_the_contract_has_them() -> None:
    assert encode(bytes([255, 254])) == "__4"
