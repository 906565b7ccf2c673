import asyncio
import json
from collections.abc import AsyncIterator
from copy import deepcopy
from datetime import UTC, date, datetime
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from schemas.database import Db
from tests.dump import dumped
from tests.keys import EC_JWK
from vin.contacts import Contact, officer_binding, open_contact, reporter_binding
from vin.crypto.seal import DataKeys, Sealed
from vin.crypto.signkey import new_client_key, public_jwk
from vin.errors import StartError
from vin.onboard import onboard, onboard_keyholder
from vin.region import Region
from vin.region_file import parse_region, read_region_data, with_client_keys

if TYPE_CHECKING:
    from asyncpg import Pool, Record

Data = dict[str, Any]

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
KEYS = DataKeys({1: bytes(32)})


def officer(number: int) -> Data:
    return {
        "code": f"officer-{number}",
        "name": f"Medewerker {number}",
        "function": "Aandachtsfunctionaris",
        "email": f"medewerker{number}@contact.example",
        "phone": f"072-000000{number}",
        "reachable": f"reachable on day {number}",
    }


def region_data() -> Data:
    """A region with one row of everything, and a second organisation with nothing extra."""
    quota = {"reporter_per_day": 10, "organisation_per_day": 100}
    return {
        "region": {"code": "nhn", "name": "Noord-Holland Noord"},
        "municipalities": [
            {"code": "GM0361", "name": "Alkmaar", "follow_up_officers": [officer(1)]}
        ],
        "categories": [{"code": "education", "name": "Onderwijs", "valid_from": date(2015, 1, 1)}],
        "auditors": [officer(2)],
        "organisations": [
            {
                "code": "school",
                "name": "School",
                "category": "education",
                "municipality": "GM0361",
                "quota": quota,
                "agreements": [{"valid_from": date(2024, 1, 1)}],
                "units": [{"code": "team", "name": "Team"}],
                "clients": [
                    {
                        "id": "school",
                        "scopes": ["signals", "evaluations"],
                        "jwks": {"keys": [EC_JWK]},
                    }
                ],
                "coordinators": [officer(3)],
            },
            {
                "code": "college",
                "name": "College",
                "category": "education",
                "quota": quota,
                "agreements": [],
                "units": [{"code": "team", "name": "Team"}],
            },
        ],
    }


def region_of(data: Data) -> Region:
    return parse_region(data, "region.toml")


@cache
def demo_region() -> Region:
    with resources.as_file(resources.files("vin") / "demo_region.toml") as path:
        data: Data = read_region_data(path)
    keys = {
        client["id"]: public_jwk(new_client_key())
        for organisation in data["organisations"]
        for client in organisation["clients"]
    }
    return region_of(with_client_keys(data, keys))


async def apply(db: Db, data: Data | Region) -> list[str]:
    region = data if isinstance(data, Region) else region_of(data)
    async with db.transaction():
        return (await onboard(db, region, KEYS, "operator", NOW)).lines()


async def test_a_region_file_fills_the_registry(db: Db) -> None:
    assert await apply(db, region_data()) == [
        "agreement 1",
        "category 1",
        "client 1",
        "municipality 1",
        "officer 3",
        "organisation 2",
        "region 1",
        "unit 2",
    ]


async def test_applying_the_demo_region_twice_changes_nothing(db: Db, db_url: str) -> None:
    changed = await apply(db, demo_region())
    before = await dumped(db_url)

    assert "organisation 14" in changed
    assert "officer 32" in changed
    assert await apply(db, demo_region()) == []
    assert await dumped(db_url) == before


async def test_a3_the_role_of_a_category_follows_the_file(db: Db) -> None:
    data = region_data()
    for role in (None, "local_team", "zvh", None):
        data["categories"][0].pop("role", None)
        data["categories"][0] |= {"role": role} if role else {}
        await apply(db, data)
        assert await db.fetchval("SELECT role FROM registry.category") == role
        assert await apply(db, data) == []


async def test_each_change_of_the_file_reaches_its_table_alone(db: Db) -> None:
    changes: dict[str, tuple[tuple[str | int, ...], object]] = {
        "region 1": (("policies", "hub_limit"), 20),
        "channel 1": (("policies", "mail_ambiguous"), "hold"),
        "municipality 1": (("municipalities", 0, "name"), "Another name"),
        "category 1": (("categories", 0, "valid_to"), date(2030, 1, 1)),
        "organisation 1": (("organisations", 0, "language"), "en"),
        "agreement 1": (("organisations", 0, "agreements", 0, "valid_to"), date(2030, 1, 1)),
        "unit 1": (("organisations", 0, "units", 0, "match_unit"), "shared"),
        "client 1": (("organisations", 0, "clients", 0, "active"), False),
        "officer 1": (("auditors", 0, "phone"), "072-0000009"),
    }
    data = region_data()
    data["policies"] = {"holder": {"organisation": "school", "unit": "team"}}
    await apply(db, data)

    for told, (path, value) in changes.items():
        node: Any = data
        for step in path[:-1]:
            node = node[step]
        node[path[-1]] = value
        assert await apply(db, data) == [told]

    assert await apply(db, data) == []


async def test_what_leaves_the_file_leaves_the_registry(db: Db) -> None:
    data = region_data()
    await apply(db, data)
    smaller = deepcopy(data)
    del smaller["organisations"][0]
    del smaller["municipalities"][0]

    assert await apply(db, smaller) == [
        "agreement 1",
        "client 1",
        "municipality 1",
        "officer 2",
        "organisation 1",
        "unit 1",
    ]
    assert await db.fetchval("SELECT count(*) FROM registry.client") == 0


async def designate(db: Db) -> None:
    await db.execute(
        """
        INSERT INTO registry.reporter
        SELECT gen_random_uuid(), organisation_id, 'p-1', id, 1, '', now() FROM registry.unit
        """
    )


HOLDER = {"holder": {"organisation": "school", "unit": "team"}}


async def read_holder(db: Db) -> tuple[str, str, Contact] | None:
    """The holder's organisation, unit and contact data, as the region names him."""
    row = await db.fetchrow(
        """
        SELECT organisation.code, unit.code AS unit, reporter.id, reporter.organisation_id,
               reporter.reporter_id, reporter.contact_epoch, reporter.contact
          FROM registry.region
          JOIN registry.reporter ON reporter.id = holder_reporter_id
          JOIN registry.unit ON unit.id = reporter.unit_id
          JOIN registry.organisation ON organisation.id = holder_organisation_id
         WHERE reporter.organisation_id = organisation.id
           AND reporter.reporter_id = 'holder'
           AND reporter.ended_at IS NULL
        """,
    )
    if row is None:
        return None
    contact = open_contact(
        KEYS,
        Sealed(row["contact_epoch"], row["contact"]),
        reporter_binding(row["id"], row["organisation_id"]),
    )
    return row["code"], row["unit"], contact


async def test_w2_the_holder_is_a_reporter_with_the_first_coordinators_contact_data(
    db: Db, db_url: str
) -> None:
    data = region_data()
    await apply(db, data)

    assert await apply(db, data | {"policies": HOLDER}) == ["holder 1"]
    before = await dumped(db_url)
    assert await apply(db, data | {"policies": HOLDER}) == []
    assert await dumped(db_url) == before

    holder = await read_holder(db)
    assert holder
    assert holder[:2] == ("school", "team")
    assert holder[2].email == "medewerker3@contact.example"


async def test_w2_the_holder_follows_the_file(db: Db) -> None:
    data = region_data() | {"policies": HOLDER}
    await apply(db, data)

    data["organisations"][0]["units"].append({"code": "desk", "name": "Desk"})
    data["policies"] = {"holder": {"organisation": "school", "unit": "desk"}}
    assert await apply(db, data) == ["holder 1", "unit 1"]
    data["organisations"][0]["coordinators"] = [officer(4)]
    assert await apply(db, data) == ["holder 1", "officer 2"]
    await db.execute("UPDATE registry.reporter SET ended_at = now()")
    assert await apply(db, data) == ["holder 1"]

    holder = await read_holder(db)
    assert holder
    assert holder[:2] == ("school", "desk")
    assert holder[2].email == "medewerker4@contact.example"

    data["policies"] = {}
    assert await apply(db, data) == ["holder 1"]
    assert await read_holder(db) is None
    assert await db.fetchval("SELECT count(*) FROM registry.reporter") == 1


async def test_w2_another_holder_is_another_reporter(db: Db) -> None:
    data = region_data() | {"policies": HOLDER}
    await apply(db, data)
    data["organisations"][1]["coordinators"] = [officer(5)]
    data["policies"] = {"holder": {"organisation": "college", "unit": "team"}}

    assert await apply(db, data) == ["holder 1", "officer 1"]

    holder = await read_holder(db)
    assert holder
    assert (holder[0], holder[2].email) == ("college", "medewerker5@contact.example")


async def test_a5_a_shielded_organisation_comes_with_its_broker(db: Db) -> None:
    data = region_data()
    await apply(db, data)
    person = {name: value for name, value in officer(6).items() if name != "code"}
    data["organisations"][0] |= {
        "shielded": True,
        "broker": {"name": "Broker", "contact": person},
    }

    assert await apply(db, data) == ["officer 1", "organisation 1"]
    assert await apply(db, data) == []

    row = await db.fetchrow(
        """
        SELECT shielded, broker_name, officer.id, organisation_id, contact_epoch, contact
          FROM registry.officer
          JOIN registry.organisation ON organisation.id = organisation_id
         WHERE role = 'broker'
        """
    )
    assert row
    assert (row["shielded"], row["broker_name"]) == (True, "Broker")
    sealed = Sealed(row["contact_epoch"], row["contact"])
    contact = open_contact(KEYS, sealed, officer_binding(row["id"], row["organisation_id"]))
    assert contact.email == "medewerker6@contact.example"

    del data["organisations"][0]["broker"]
    data["organisations"][0]["shielded"] = False
    assert await apply(db, data) == ["officer 1", "organisation 1"]
    assert await db.fetchval("SELECT count(*) FROM registry.organisation WHERE shielded") == 0


async def test_a_unit_with_reporters_must_stay(db: Db) -> None:
    data = region_data()
    await apply(db, data)
    await designate(db)
    data["organisations"][0]["units"] = [{"code": "other", "name": "Other"}]
    del data["organisations"][1]

    with pytest.raises(StartError, match=r"must stay in the file: college/team, school/team\."):
        await apply(db, data)

    assert await db.fetchval("SELECT count(*) FROM registry.unit") == 2


async def test_the_file_of_another_region_is_refused(db: Db) -> None:
    await apply(db, region_data())
    other = {**region_data(), "region": {"code": "zhz", "name": "Another region"}}

    with pytest.raises(StartError, match="belongs to region 'nhn'"):
        await apply(db, other)


async def test_two_operators_at_once_apply_one_after_the_other(
    pool: "Pool[Record]",
) -> None:
    async def once() -> list[str]:
        async with pool.acquire() as db:
            return await apply(db, demo_region())

    told = await asyncio.gather(*(once() for _ in range(4)))

    assert [bool(each) for each in sorted(told)] == [False, False, False, True]


async def test_contact_data_open_in_their_own_row_only_and_stand_nowhere_in_clear(
    db: Db, db_url: str
) -> None:
    await apply(db, region_data())
    rows = await db.fetch("SELECT * FROM registry.officer")

    names = {
        open_contact(
            KEYS,
            Sealed(row["contact_epoch"], row["contact"]),
            officer_binding(row["id"], row["organisation_id"]),
        ).name
        for row in rows
    }
    dump = await dumped(db_url)

    assert names == {"Medewerker 1", "Medewerker 2", "Medewerker 3"}
    assert b"Noord-Holland" in dump
    for clear in (b"Medewerker", b"contact.example", b"072-000", b"reachable on"):
        assert clear not in dump
        assert clear.hex().encode() not in dump


async def test_applying_is_logged_with_what_changed_and_who_did_it(db: Db) -> None:
    await apply(db, region_data())
    await apply(db, region_data())

    (entry,) = await db.fetch("SELECT * FROM audit.entry")

    assert (entry["event"], entry["actor_kind"], entry["actor"]) == (
        "region.onboarded",
        "operator",
        "operator",
    )
    assert "client 1" in json.loads(entry["detail"])["changes"]


@pytest.fixture
async def keyholder_db(keyholder_db_url: str) -> AsyncIterator[Db]:
    connection = await asyncpg.connect(keyholder_db_url)
    yield connection
    await connection.close()


async def test_the_key_holder_learns_clients_and_quotas(keyholder_db: Db) -> None:
    region = region_of(region_data())

    assert await onboard_keyholder(keyholder_db, region) == ["keyholder_client 1"]
    assert await onboard_keyholder(keyholder_db, region) == []
    row = await keyholder_db.fetchrow("SELECT * FROM keyholder.client")
    assert row is not None
    assert dict(row) == {
        "id": "school",
        "organisation_id": region.organisation_id(region.organisations[0]),
        "organisation": "school",
        "active": True,
        "domains": ["nhn/address", "nhn/child", "nhn/parent", "nhn/weak"],
        "reporter_quota": 10,
        "organisation_quota": 100,
    }


@pytest.mark.parametrize(
    ("name", "value"), [("active", False), ("scopes", ["signals"]), ("id", "another")]
)
async def test_the_key_holder_shuts_out_who_may_not_evaluate_any_more(
    keyholder_db: Db, name: str, value: object
) -> None:
    data = region_data()
    await onboard_keyholder(keyholder_db, region_of(data))
    data["organisations"][0]["clients"][0][name] = value

    await onboard_keyholder(keyholder_db, region_of(data))

    assert not await keyholder_db.fetchval(
        "SELECT active FROM keyholder.client WHERE id = 'school'"
    )


async def test_w2_an_organisations_own_reporter_is_not_made_the_holder(db: Db) -> None:
    data = region_data()
    await apply(db, data)
    await db.execute(
        """
        INSERT INTO registry.reporter
        SELECT gen_random_uuid(), organisation.id, 'holder', unit.id, 1, ''::bytea, now()
          FROM registry.organisation
          JOIN registry.unit ON unit.organisation_id = organisation.id
         WHERE organisation.code = 'school'
        """
    )
    data["policies"] = {"holder": {"organisation": "school", "unit": "team"}}

    with pytest.raises(StartError, match="of its own"):
        await apply(db, data)
