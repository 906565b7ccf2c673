import json
import re
import tomllib
from collections.abc import Callable
from copy import deepcopy
from datetime import date, datetime
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.keys import EC_JWK, RSA_JWK
from tests.region_files import OFFICER, Data, organisation, parse, region_data
from vin.errors import StartError
from vin.fields import is_email
from vin.region_file import parse_region, read_region_data, with_client_keys


def faults(data: Data) -> list[str]:
    with pytest.raises(StartError) as error:
        parse(data)
    first, *rest = str(error.value).splitlines()
    assert first == "region.toml cannot be used:"
    return [line.strip() for line in rest]


def change(*path: str | int, to: object) -> Callable[[Data], None]:
    def apply(data: Data) -> None:
        node: Any = data
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = to

    return apply


SCHOOL = ("organisations", 0)
PERSON = {name: value for name, value in OFFICER.items() if name != "code"}
BROKEN: dict[str, tuple[Callable[[Data], None], str]] = {
    "unknown name": (
        change(*SCHOOL, "colour", to="red"),
        "organisations[0].colour: is not known here",
    ),
    "missing name": (change("region", to={"code": "nhn"}), "region.name: is missing"),
    "wrong type": (change(*SCHOOL, "name", to=7), "organisations[0].name: Input should be a valid"),
    "bad code": (
        change(*SCHOOL, "units", 0, "code", to="Team 1"),
        "organisations[0].units[0].code:",
    ),
    "bad CBS code": (change("municipalities", 0, "code", to="0361"), "municipalities[0].code:"),
    "yes for true": (change("policies", to={"address_rule": "yes"}), "policies.address_rule:"),
    "one for true": (change("policies", to={"parent_rule": 1}), "policies.parent_rule:"),
    "digest of two days": (
        change("policies", to={"digest_seconds": 172_800}),
        "policies.digest_seconds: Input should be less than or equal to 86400",
    ),
    "policy of dropping": (
        change("policies", to={"mail_ambiguous": "drop"}),
        "policies.mail_ambiguous:",
    ),
    "hub limit of one": (change("policies", to={"hub_limit": 1}), "policies.hub_limit:"),
    "clock out of order": (
        change("policies", to={"contact_clock": {"remind_after_days": 5}}),
        "policies.contact_clock: Must go up",
    ),
    "instant for a day": (
        change("categories", 0, "valid_from", to=datetime(2015, 1, 1)),  # noqa: DTZ001
        "categories[0].valid_from:",
    ),
    "unknown role": (
        change("categories", 0, "role", to="school_team"),
        "categories[0].role:",
    ),
    "period that ends first": (
        change(*SCHOOL, "agreements", 0, "valid_to", to=date(2023, 12, 31)),
        "organisations[0].agreements[0]: The last day lies before the first.",
    ),
    "W2: an end without a holder": (
        change(*SCHOOL, "agreements", 0, "valid_to", to=date(2030, 1, 1)),
        ": An agreement has a last day: name who takes over",
    ),
    "overlapping agreements": (
        change(
            *SCHOOL,
            "agreements",
            to=[
                {"valid_from": date(2025, 1, 1)},
                {"valid_from": date(2024, 1, 1), "valid_to": date(2025, 1, 1)},
            ],
        ),
        "organisations[0].agreements: Two of the periods overlap.",
    ),
    "agreement after one without end": (
        change(
            *SCHOOL,
            "agreements",
            to=[{"valid_from": date(2024, 1, 1)}, {"valid_from": date(2025, 1, 1)}],
        ),
        "organisations[0].agreements: Two of the periods overlap.",
    ),
    "no units": (change(*SCHOOL, "units", to=[]), "organisations[0].units:"),
    "no quota": (change(*SCHOOL, "quota", to={"reporter_per_day": 1}), "organisations[0].quota."),
    "language": (change(*SCHOOL, "language", to="de"), "organisations[0].language:"),
    "mail mode": (change(*SCHOOL, "mail_mode", to="fax"), "organisations[0].mail_mode:"),
    "sealed without certificate": (
        change(*SCHOOL, "mail_mode", to="smime"),
        "organisations[0]: Mail mode smime has an smime_certificate, and only that.",
    ),
    "certificate without seal": (
        change(*SCHOOL, "smime_certificate", to="school.pem"),
        "organisations[0]: Mail mode smime has an smime_certificate, and only that.",
    ),
    "link in full mails": (
        change(*SCHOOL, "match_url", to="https://school.example/{number}"),
        "organisations[0]: Only mail mode link_only has a match_url.",
    ),
    "link without number": (
        change(*SCHOOL, "match_url", to="https://school.example/"),
        "organisations[0].match_url: Expected an https URL with {number} in it, once.",
    ),
    "link in clear": (
        change(*SCHOOL, "match_url", to="http://school.example/{number}"),
        "organisations[0].match_url: Expected an https URL",
    ),
    "link with other fields": (
        change(*SCHOOL, "match_url", to="https://school.example/{number}/{name}"),
        "organisations[0].match_url: Expected an https URL",
    ),
    "link with a blank": (
        change(*SCHOOL, "match_url", to="https://school.example/{number} x"),
        "organisations[0].match_url: Expected an https URL",
    ),
    "scope": (
        change(*SCHOOL, "clients", 0, "scopes", to=["all"]),
        "organisations[0].clients[0].sc",
    ),
    "client without key": (
        change(*SCHOOL, "clients", 0, "id", to="client-9"),
        "organisations[0].clients[0].jwks: is missing",
    ),
    "number for a category": (change(*SCHOOL, "category", to=7), "organisations[0].category:"),
    "unknown category": (
        change(*SCHOOL, "category", to="shops"),
        "organisations[0].category: 'shops' is not in categories",
    ),
    "unknown municipality": (
        change(*SCHOOL, "municipality", to="GM9999"),
        "organisations[0].municipality: 'GM9999' is not in municipalities",
    ),
    "organisation twice": (
        change("organisations", 1, "code", to="school-0"),
        "organisations[1].code: is the same as organisations[0].code",
    ),
    "unit twice": (
        change(*SCHOOL, "units", to=[{"code": "team", "name": "A"}, {"code": "team", "name": "B"}]),
        "organisations[0].units[1].code: is the same as organisations[0].units[0].code",
    ),
    "officer's address": (
        change("auditors", 0, "email", to="a@x.test, b@x.test"),
        "auditors[0].email: Expected one e-mail address.",
    ),
    "holder elsewhere": (
        change("policies", to={"holder": {"organisation": "school-9", "unit": "team"}}),
        "policies.holder.organisation: 'school-9' is not in organisations",
    ),
    "holder's unit elsewhere": (
        change("policies", to={"holder": {"organisation": "school-1", "unit": "desk"}}),
        "policies.holder.unit: 'desk' is not in organisations[1].units",
    ),
    "holder in half": (
        change("policies", to={"holder": {"organisation": "school-1"}}),
        "policies.holder.unit: is missing",
    ),
    "broker without shield": (
        change(*SCHOOL, "broker", to={"name": "Broker", "contact": PERSON}),
        "organisations[0]: What is shielded has a broker, and only that.",
    ),
    "shield without broker": (
        change(*SCHOOL, "shielded", to=True),
        "organisations[0]: What is shielded has a broker, and only that.",
    ),
    "list for a table": (change("organisations", to={"code": "x"}), "organisations:"),
    "not even tables": (change("organisations", to=["x", 7]), "organisations[1]:"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_fault_is_told_with_its_place(name: str) -> None:
    break_it, told = BROKEN[name]
    data = {**region_data(), "auditors": [dict(OFFICER)]}

    break_it(data)

    assert any(line.startswith(told) for line in faults(data))


def test_w2_a_holder_needs_a_coordinator() -> None:
    data = region_data()
    change("policies", to={"holder": {"organisation": "school-1", "unit": "team"}})(data)
    assert parse(data).holder() == (
        parse(data).organisations[1],
        parse(data).organisations[1].units[0],
    )

    change("organisations", 1, "coordinators", to=[])(data)

    assert faults(data) == ["organisations[1].coordinators: the region's holder needs one"]


def test_a5_a_broker_may_not_bear_the_name_that_he_hides() -> None:
    data = region_data()
    change(*SCHOOL, "shielded", to=True)(data)
    change(*SCHOOL, "broker", to={"name": "School 0", "contact": PERSON})(data)

    assert faults(data) == ["organisations[0]: The broker bears the name that must not be seen."]


def test_all_faults_of_a_file_are_told_at_once() -> None:
    data = region_data()
    data["organisations"].append({**organisation(1), "category": "shops", "quota": {}})
    for name in ("unknown name", "unit twice", "hub limit of one"):
        BROKEN[name][0](data)

    told = [line.partition(":")[0] for line in faults(data)]

    assert told == [
        "policies.hub_limit",
        "organisations[0].colour",
        "organisations[2].quota.reporter_per_day",
        "organisations[2].quota.organisation_per_day",
        "organisations[2].clients[0].jwks",
        "organisations[2].code",
        "organisations[0].units[1].code",
        "organisations[2].category",
    ]


def jwks(*keys: object) -> Callable[[Data], None]:
    return change(
        *SCHOOL, "clients", 0, to={"id": "c", "scopes": ["signals"], "jwks": {"keys": list(keys)}}
    )


KEYS = "organisations[0].clients[0].jwks"


def test_a_private_key_is_refused_at_its_place() -> None:
    data = region_data()
    jwks({**EC_JWK, "d": "c2VjcmV0"})(data)

    assert faults(data) == [f"{KEYS}.keys[0]: This is a private key; give the public one."]


def test_of_several_keys_each_needs_a_name_of_its_own() -> None:
    nameless, same = region_data(), region_data()
    jwks(EC_JWK, {**RSA_JWK, "kid": "1"})(nameless)
    jwks({**EC_JWK, "kid": "1"}, {**RSA_JWK, "kid": "1"})(same)

    assert faults(nameless) == [f"{KEYS}: Each of several keys needs a kid."]
    assert faults(same) == [f"{KEYS}.keys[1].kid: is the same as {KEYS}.keys[0].kid"]


def test_two_clients_cannot_share_a_key() -> None:
    data = region_data()
    data["organisations"][1]["clients"] = [
        {"id": "other", "scopes": ["signals"], "jwks": {"keys": [EC_JWK]}}
    ]

    told = f"{KEYS.replace('0', '1', 1)}.keys[0].x: is the same as {KEYS}.keys[0].x"
    assert faults(data) == [told]


def test_nothing_secret_stands_in_a_message() -> None:
    data = region_data()
    data["auditors"] = [{**OFFICER, "email": "private-address", "phone": "private-number"}]
    jwks({**EC_JWK, "d": "private-key", "x": "private key"})(data)

    assert "private-" not in json.dumps(faults(data))


def test_client_keys_go_into_a_copy() -> None:
    data = region_data()
    before = deepcopy(data)

    with_keys: Any = with_client_keys(data, {"client-0": EC_JWK, "stranger": EC_JWK})

    assert data == before
    assert with_keys["organisations"][0]["clients"][0]["jwks"] == {"keys": [EC_JWK]}


def test_the_demo_region_is_complete() -> None:
    with resources.as_file(resources.files("vin") / "demo_region.toml") as path:
        data = read_region_data(path)
    clients = [each["clients"][0]["id"] for each in data["organisations"]]  # type: ignore[attr-defined]
    told = [f"organisations[{position}].clients[0].jwks: is missing" for position in range(14)]

    with pytest.raises(StartError) as error:
        parse_region(data, "demo")
    keyless = str(error.value).splitlines()

    assert len(clients) == 14
    assert [line.strip() for line in keyless[1:]] == told
    assert len(data["municipalities"]) == 17  # type: ignore[arg-type]


def test_the_example_that_operators_read_is_a_region() -> None:
    text = Path(__file__).parents[2].joinpath("docs/region.md").read_text()
    example = text.split("```toml\n")[1].partition("```")[0]

    region = parse_region(tomllib.loads(example), "docs/region.md")

    assert region.policies == parse(region_data()).policies
    assert region.organisations[0].clients[0].jwks.keys[0].x == EC_JWK["x"]


def test_the_demo_region_names_nobody_who_could_be_reached() -> None:
    text = resources.files("vin").joinpath("demo_region.toml").read_text()

    addresses = re.findall(r'email = "(.*)"', text)
    numbers = re.findall(r'phone = "(.*)"', text)

    assert addresses
    assert all(each.endswith((".example", ".test")) and is_email(each) for each in addresses)
    assert all(re.fullmatch(r"072-0000[0-9]{3}", each) for each in numbers)


@pytest.mark.parametrize(
    ("content", "told"),
    [(b"[region", "is no TOML file: "), (b"name = '\xff'", "is no TOML file: ")],
)
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "region.toml"
    path.write_bytes(content)

    with pytest.raises(StartError, match=told):
        read_region_data(path)


def test_a_missing_file_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"^Cannot read .*: No such file or directory\.$"):
        read_region_data(tmp_path / "region.toml")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(["code", "jwks", "keys", "clients", "units", "category", "kid", "x"]),
            children,
            max_size=3,
        )
    ),
    max_leaves=10,
)


@given(
    name=st.sampled_from([*region_data(), "policies"]),
    value=JSON,
)
def test_whatever_a_file_holds_it_is_a_region_or_told_why_not(name: str, value: object) -> None:
    try:
        parse({**region_data(), name: value})
    except StartError as error:
        assert len(str(error).splitlines()) > 1  # noqa: PT017
