"""A running VIN on a region of our own: with a shielded shelter, and a holder."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.running import Up, running
from vin.crypto.signkey import new_client_key, public_jwk

SHELTER, SCHOOL, COLLEGE, INSTITUTE, CITY = range(5)

# Each organisation's reporters match with all others'; only the college has no coordinator.
REGION = """
[region]
code = "nhn"
name = "Region"

[policies]
address_rule = true
excluded_addresses = "excluded.ndjson"
holder = { organisation = "city", unit = "team" }

[[municipalities]]
code = "GM0361"
name = "Alkmaar"

[[municipalities.follow_up_officers]]
code = "officer"
name = "Officer of Alkmaar"
function = "Regievoerder"
email = "officer@city.test"
phone = "072-0000001"

[[categories]]
code = "all"
name = "All"
valid_from = 2015-01-01
"""

ORGANISATION = """
[[organisations]]
code = "{code}"
name = "{name}"
category = "all"
municipality = "GM0361"
quota = {{ reporter_per_day = 20000, organisation_per_day = 100000 }}
agreements = [{{ valid_from = 2020-01-01 }}]
units = [{{ code = "team", name = "Team" }}]
{shielding}

[[organisations.clients]]
id = "{code}"
scopes = ["reporters", "signals", "matches", "evaluations"]

[[organisations.clients.jwks.keys]]
kty = "EC"
crv = "P-256"
x = "{x}"
y = "{y}"
"""

COORDINATOR = """
[[organisations.coordinators]]
code = "coordinator"
name = "Coordinator of {code}"
function = "Coordinator"
email = "coordinator@{code}.test"
phone = "072-0000002"
"""

BROKER = """
shielded = true
broker.name = "Broker of the region"
broker.contact.name = "Somebody"
broker.contact.function = "Broker"
broker.contact.email = "broker@vin.test"
broker.contact.phone = "072-0000003"
"""

NAMES = {
    "shelter": "Hidden House",
    "school": "School",
    "college": "College",
    "institute": "Institute",
    "city": "City of Alkmaar",
}


@contextmanager
def own_region(folder: Path) -> Iterator[Up]:
    """Run VIN on `REGION`; the clients come in the order of `NAMES`."""
    file = folder / "region.toml"
    keys = {code: folder / f"{code}.pem" for code in NAMES}
    for path in keys.values():
        path.write_bytes(new_client_key())
    (folder / "excluded.ndjson").touch()
    file.write_text(REGION + "".join(organisation(code, keys[code]) for code in NAMES))
    with running(folder / "up", "--region", str(file)) as up:
        for entry in up.ready["clients"]:
            entry["privateKeyFile"] = str(keys[entry["clientId"]])
        yield up


def organisation(code: str, key: Path) -> str:
    """The part of the region file on one organisation."""
    jwk: dict[str, Any] = dict(public_jwk(key.read_bytes()))
    text = ORGANISATION.format(
        code=code,
        name=NAMES[code],
        shielding=BROKER if code == "shelter" else "",
        x=jwk["x"],
        y=jwk["y"],
    )
    return text if code == "college" else text + COORDINATOR.format(code=code)
