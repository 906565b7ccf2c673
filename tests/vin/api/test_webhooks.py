"""Webhooks over HTTP: set, shown, removed by the organisation whose they are."""

import asyncio
import json
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Never
from uuid import UUID, uuid4

import pytest
from joserfc.jwk import ECKey

from notify.targets import Targets
from tests.serving import Service, served
from tests.world import SECRETS, make_region, make_reporters
from vin.api.context import CONTEXT, Context
from vin.api.webhooks import ROUTES, WEBHOOK_TERMS, WebhookTerms
from vin.clock import Clock
from vin.crypto.sign import Access, make_access_token
from vin.crypto.webhook import read_secret_text
from vin.registrar import Registrar
from vin.web.bearer import Bearer
from vin.web.caller import Caller
from vin.web.routes import application
from vin.webhooks import MAX_WEBHOOKS, read_webhook

if TYPE_CHECKING:
    from asyncpg import Pool, Record

Body = dict[str, Any]

API = "https://api.test"
KEY = ECKey.generate_key("P-256")
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
URL = "https://case.school.example/vin?key=7"
SECRET = "whsec_" + b64encode(bytes(range(32))).decode()
OTHER_SECRET = "whsec_" + b64encode(bytes(range(1, 33))).decode()


@dataclass
class Desk:
    """The webhooks' part of the index; a client bears its organisation's id."""

    service: Service
    pool: "Pool[Record]"
    organisations: tuple[UUID, UUID]
    scopes: set[str] = field(default_factory=lambda: {"webhooks"})

    async def call(
        self, method: str, path: str = "/case", body: object = None, organisation: int = 0
    ) -> tuple[int, Body, Mapping[str, str]]:
        headers = {"Authorization": f"Bearer {token(self.organisations[organisation])}"}
        async with self.service.http.request(
            method, f"/v1/webhooks{path}", json=body, headers=headers
        ) as answer:
            return answer.status, json.loads(await answer.read() or "{}"), answer.headers

    async def put(self, body: Body, name: str = "case", organisation: int = 0) -> tuple[int, Body]:
        status, answer, _ = await self.call("PUT", f"/{name}", body, organisation)
        return status, answer

    async def get(self, path: str = "/case", organisation: int = 0) -> tuple[int, Body]:
        status, answer, _ = await self.call("GET", path, organisation=organisation)
        return status, answer

    async def secrets(self, *, at: timedelta = timedelta()) -> list[bytes]:
        """What the webhook's calls are signed with, so long after now."""
        async with self.pool.acquire() as db:
            now = await Clock().now(db)
            kept = await read_webhook(db, self.organisations[0], "case", SECRETS.contact)
        return kept.secrets_at(now + at)

    async def logged(self) -> list[tuple[str, Body]]:
        rows = await self.pool.fetch("SELECT event, detail FROM audit.entry ORDER BY at")
        return [(row["event"], json.loads(row["detail"])) for row in rows]


def token(organisation: UUID) -> str:
    access = Access(
        client_id=str(organisation),
        organisation="organisation",
        scope=frozenset({"webhooks", "signals"}),
        id=str(uuid4()),
        expires_at=NOW + timedelta(hours=1),
    )
    return make_access_token(KEY, access, API, [API], NOW)


async def never(*_: object) -> Never:
    raise AssertionError


def no_permit(_: str) -> Never:
    raise AssertionError


@pytest.fixture
async def desk(pool: "Pool[Record]") -> AsyncIterator[Desk]:
    async with pool.acquire() as db:
        await make_region(db)
        one, other = await make_reporters(db, 2)
    scopes = {"webhooks"}

    async def look_up(client_id: str) -> Caller:
        return Caller(
            client_id=client_id,
            organisation_id=UUID(client_id),
            organisation="organisation",
            scopes=frozenset(scopes),
        )

    bearer = Bearer(key=KEY, issuer=API, audience=API, look_up=look_up, utcnow=lambda: NOW)
    app = application(ROUTES, bearer)
    app[CONTEXT] = Context(
        region="nhn",
        pool=pool,
        clock=Clock(),
        secrets=SECRETS,
        registrar=Registrar(never, never),
        verify_permit=no_permit,
    )
    app[WEBHOOK_TERMS] = WebhookTerms(targets=Targets.parse("10.0.0.0/8"), public_key="whpk_ours")
    async with served(app) as service:
        yield Desk(service, pool, (one.organisation, other.organisation), scopes)


async def test_a_first_put_makes_a_secret_and_shows_it_once(desk: Desk) -> None:
    status, made, headers = await desk.call("PUT", body={"url": URL})
    again, shown = await desk.put({"url": URL})

    assert (status, headers["Location"], again) == (201, "/v1/webhooks/case", 200)
    assert made.keys() - shown.keys() == {"secret"}
    assert [read_secret_text(made["secret"])] == await desk.secrets()
    assert shown == {
        "name": "case",
        "url": URL,
        "form": "standard",
        "publicKey": "whpk_ours",
        "createdAt": made["createdAt"],
        "disabledAt": None,
    }


async def test_a_secret_of_ones_own_is_kept_and_never_shown(desk: Desk) -> None:
    answers = [
        await desk.put({"url": URL, "secret": SECRET, "form": "cloudEvents"}),
        await desk.get(),
        await desk.get(""),
    ]

    assert [status for status, _ in answers] == [201, 200, 200]
    assert "whsec" not in str(answers)
    assert await desk.secrets() == [read_secret_text(SECRET)]
    assert answers[1][1]["form"] == "cloudEvents"


async def test_an_old_secret_stays_good_for_a_day(desk: Desk) -> None:
    await desk.put({"url": URL, "secret": SECRET})
    await desk.put({"url": URL, "secret": OTHER_SECRET})
    new, old = read_secret_text(OTHER_SECRET), read_secret_text(SECRET)

    assert await desk.secrets() == [new, old]
    assert await desk.secrets(at=timedelta(hours=23, minutes=59)) == [new, old]
    assert await desk.secrets(at=timedelta(hours=24)) == [new]


async def test_the_same_again_changes_nothing(desk: Desk) -> None:
    for _ in range(3):
        await desk.put({"url": URL, "secret": SECRET})

    assert await desk.secrets() == [read_secret_text(SECRET)]
    assert [event for event, _ in await desk.logged()] == ["webhook.added"]


async def test_a_put_without_a_secret_keeps_the_secret(desk: Desk) -> None:
    await desk.put({"url": URL, "secret": SECRET})
    status, changed = await desk.put({"url": URL + "1", "form": "cloudEvents"})

    assert (status, changed["url"], changed["form"]) == (200, URL + "1", "cloudEvents")
    assert await desk.secrets() == [read_secret_text(SECRET)]
    assert (await desk.get())[1] == changed


async def test_a_put_enables_what_was_disabled(desk: Desk) -> None:
    await desk.put({"url": URL})
    await desk.pool.execute("UPDATE registry.webhook SET disabled_at = now()")
    _, before = await desk.get()
    _, after = await desk.put({"url": URL})

    assert before["disabledAt"] is not None
    assert after["disabledAt"] is None
    assert [event for event, _ in await desk.logged()] == ["webhook.added", "webhook.changed"]


async def test_each_change_is_logged_without_address_or_secret(desk: Desk) -> None:
    await desk.put({"url": URL, "secret": SECRET})
    await desk.put({"url": URL, "secret": OTHER_SECRET})
    await desk.call("DELETE")

    detail = {"organisation": str(desk.organisations[0])}
    assert await desk.logged() == [
        ("webhook.added", detail),
        ("webhook.changed", detail),
        ("webhook.removed", detail),
    ]


async def test_address_and_secret_are_stored_sealed(desk: Desk) -> None:
    await desk.put({"url": URL, "secret": SECRET})
    (row,) = await desk.pool.fetch("SELECT * FROM registry.webhook")

    stored = b"|".join(str(value).encode() for value in row.values()) + row["address"]
    assert b"school.example" not in stored + row["secrets"]
    assert b64encode(bytes(range(32))) not in stored + row["secrets"]
    assert bytes(range(32)) not in stored + row["secrets"]


async def test_another_organisation_sees_and_removes_nothing(desk: Desk) -> None:
    await desk.put({"url": URL})

    assert (await desk.get(organisation=1))[0] == 404
    assert (await desk.get("", organisation=1))[1] == {"items": [], "nextCursor": None}
    assert (await desk.call("DELETE", organisation=1))[0] == 404
    assert (await desk.put({"url": URL}, organisation=1))[0] == 201
    assert (await desk.get())[0] == 200


async def test_webhooks_are_listed_page_by_page(desk: Desk) -> None:
    names = [f"system-{number}" for number in range(3)]
    for name in names:
        await desk.put({"url": URL}, name)

    _, first = await desk.get("?limit=2")
    _, second = await desk.get(f"?limit=2&cursor={first['nextCursor']}")

    assert [item["name"] for item in first["items"] + second["items"]] == names
    assert second["nextCursor"] is None


async def test_what_is_removed_is_gone(desk: Desk) -> None:
    await desk.put({"url": URL})

    assert (await desk.call("DELETE"))[0] == 204
    assert (await desk.call("DELETE"))[0] == 404
    assert (await desk.get())[0] == 404
    assert (await desk.put({"url": URL}))[0] == 201


async def test_there_is_an_end_to_webhooks(desk: Desk) -> None:
    wanted = [desk.put({"url": URL}, f"system-{number}") for number in range(MAX_WEBHOOKS + 2)]
    statuses = [status for status, _ in await asyncio.gather(*wanted)]
    _, refused = await desk.put({"url": URL}, "one-more")

    assert sorted(statuses) == [201] * MAX_WEBHOOKS + [409] * 2
    assert refused["type"] == "urn:problem-type:vin:webhook-limit"
    assert (await desk.put({"url": URL + "1"}, "system-0"))[0] == 200


async def test_two_at_once_make_one_webhook(desk: Desk) -> None:
    answers = await asyncio.gather(*[desk.put({"url": URL}) for _ in range(8)])

    assert sorted(status for status, _ in answers) == [200] * 7 + [201]
    assert sum("secret" in answer for _, answer in answers) == 1


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({}, {("url", "required")}),
        ({"url": "http://a.example/"}, {("url", "scheme")}),
        ({"url": "https://a.example:8443/"}, {("url", "port")}),
        ({"url": "https://[::ffff:127.0.0.1]/"}, {("url", "address")}),
        ({"url": "nonsense"}, {("url", "url")}),
        ({"url": URL, "secret": "whsec_AAAA"}, {("secret", "secret")}),
        ({"url": URL, "form": "xml"}, {("form", "choice")}),
        (
            {"url": "ftp://a", "secret": "secret", "more": 1},
            {("url", "url"), ("secret", "secret"), ("more", "unexpected")},
        ),
    ],
)
async def test_what_does_not_fit_is_refused_with_all_its_faults(
    desk: Desk, body: Body, faults: set[tuple[str, str]]
) -> None:
    status, answer = await desk.put(body)

    assert status == 400
    assert {(fault["name"], fault["code"]) for fault in answer["invalidParams"]} == faults
    assert "a.example" not in str(answer)
    assert (await desk.get())[0] == 404


async def test_a_null_secret_is_none_at_all(desk: Desk) -> None:
    status, made = await desk.put({"url": URL, "secret": None})

    assert status == 201
    assert "secret" in made


async def test_the_operators_list_decides(desk: Desk) -> None:
    assert (await desk.put({"url": "http://10.1.2.3:8080/hook"}))[0] == 201


@pytest.mark.parametrize("name", ["a%20b", "a" * 65, "%C3%A9%C3%A9n"])
async def test_a_name_is_short_and_plain(desk: Desk, name: str) -> None:
    status, answer = await desk.put({}, name)

    assert status == 400
    assert {fault["name"] for fault in answer["invalidParams"]} == {"name", "url"}
    assert (await desk.get(f"/{name}"))[0] == 404
    assert (await desk.call("DELETE", f"/{name}"))[0] == 404


async def test_the_scope_is_needed(desk: Desk) -> None:
    desk.scopes.clear()

    for method in ("PUT", "GET", "DELETE"):
        assert (await desk.call(method, body={"url": URL}))[0] == 403
