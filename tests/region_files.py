"""A region file of two schools, and ways to change it."""

from datetime import date
from typing import Any

from tests.keys import EC_JWK
from vin.region import Region
from vin.region_file import parse_region, with_client_keys

Data = dict[str, Any]

OFFICER = {
    "code": "officer-1",
    "name": "Medewerker 1",
    "function": "Coordinator",
    "email": "medewerker1@school.example",
    "phone": "072-0000001",
}


def organisation(number: int) -> Data:
    return {
        "code": f"school-{number}",
        "name": f"School {number}",
        "category": "education",
        "municipality": "GM0361",
        "quota": {"reporter_per_day": 10, "organisation_per_day": 100},
        "agreements": [{"valid_from": date(2024, 1, 1)}],
        "units": [{"code": "team", "name": "Team"}],
        "clients": [{"id": f"client-{number}", "scopes": ["signals"]}],
        "coordinators": [OFFICER],
    }


def region_data() -> Data:
    """A region with two schools, and a key for the first one's client only."""
    return {
        "region": {"code": "nhn", "name": "Noord-Holland Noord"},
        "municipalities": [{"code": "GM0361", "name": "Alkmaar"}],
        "categories": [{"code": "education", "name": "Onderwijs", "valid_from": date(2015, 1, 1)}],
        "organisations": [organisation(0), {**organisation(1), "clients": []}],
    } | {"auditors": [OFFICER]}


def parse(data: Data) -> Region:
    return parse_region(with_client_keys(data, {"client-0": EC_JWK}), "region.toml")
