from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from aiohttp import web
from joserfc.jwk import ECKey

from tests.serving import Service, served
from vin.crypto.sign import Access, make_access_token
from vin.web import bearer
from vin.web.bearer import Bearer
from vin.web.caller import CALLER, Caller
from vin.web.routes import Route, application

KEY = ECKey.generate_key("P-256")
API = "https://api.test"
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
ORGANISATION = UUID(int=5)


class Desk:
    """A clock that can be set, and clients that can be changed."""

    def __init__(self) -> None:
        self.now = NOW
        self.clients = {
            "client-1": Caller(
                client_id="client-1",
                organisation_id=ORGANISATION,
                organisation="school",
                scopes=frozenset({"signals", "matches"}),
            )
        }

    async def look_up(self, client_id: str) -> Caller | None:
        return self.clients.get(client_id)


async def get_caller(request: web.Request) -> web.Response:
    caller = request[CALLER]
    return web.json_response([caller.client_id, str(caller.organisation_id), sorted(caller.scopes)])


ROUTE = Route(
    method="GET",
    path="/v1/caller",
    operation_id="getCaller",
    summary="Toont wie belt",
    scope="signals",
    handler=get_caller,
)


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest_asyncio.fixture
async def service(desk: Desk) -> AsyncIterator[Service]:
    check = Bearer(key=KEY, issuer=API, audience=API, look_up=desk.look_up, utcnow=lambda: desk.now)
    async with served(application([ROUTE], check)) as started:
        yield started


def token(
    *scopes: str,
    client: str = "client-1",
    issuer: str = API,
    audience: str = API,
    key: ECKey = KEY,
) -> str:
    access = Access(
        client_id=client,
        organisation="school",
        scope=frozenset(scopes or {"signals"}),
        id=str(uuid4()),
        expires_at=NOW + timedelta(hours=1),
    )
    return make_access_token(key, access, issuer, [audience, "https://other.test"], NOW)


async def ask(service: Service, *headers: str) -> tuple[int, str]:
    """Tell the status, and what the answer says about authentication."""
    given = [("Authorization", header) for header in headers]
    async with service.http.get("/v1/caller", headers=given) as answer:
        return answer.status, answer.headers.get("WWW-Authenticate", "")


async def test_a_token_shows_who_calls_and_what_he_may(service: Service) -> None:
    headers = {"Authorization": f"bearer {token('signals', 'reporters')}"}

    async with service.http.get("/v1/caller", headers=headers) as answer:
        assert await answer.json() == ["client-1", str(ORGANISATION), ["signals"]]


async def test_without_a_token_nothing_is_said_about_one(service: Service) -> None:
    assert await ask(service) == (401, 'Bearer realm="vin"')


@pytest.mark.parametrize(
    "headers",
    [("Basic eDp5",), ("Bearer",), ("Bearer ",), (f"Bearer {token()}", f"Bearer {token()}")],
    ids=["basic", "bare", "empty", "twice"],
)
async def test_a_header_of_another_form_is_refused(
    service: Service, headers: tuple[str, ...]
) -> None:
    assert await ask(service, *headers) == (401, 'Bearer realm="vin", error="invalid_request"')


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "a.b.c",
        token(issuer="https://other.test"),
        token(audience="https://third.test"),
        token(key=ECKey.generate_key("P-256")),
        token(client="client-2"),
    ],
    ids=["text", "shape", "issuer", "audience", "key", "client"],
)
async def test_a_token_that_does_not_hold_is_refused(service: Service, text: str) -> None:
    assert await ask(service, f"Bearer {text}") == (
        401,
        'Bearer realm="vin", error="invalid_token"',
    )


async def test_a_token_ends_when_it_says_so_also_when_it_was_seen_before(
    service: Service, desk: Desk
) -> None:
    seen, unseen = f"Bearer {token()}", f"Bearer {token()}"
    desk.now = NOW + timedelta(hours=1, seconds=-1)
    assert (await ask(service, seen))[0] == 200

    desk.now += timedelta(seconds=1)

    for header in (seen, unseen):
        headers = {"Authorization": header}
        async with service.http.get("/v1/caller", headers=headers) as answer:
            assert answer.status == 401
            assert (await answer.json())["detail"] == "The access token has expired."


async def test_the_client_is_looked_up_at_every_request(service: Service, desk: Desk) -> None:
    header = f"Bearer {token('signals', 'matches')}"
    assert (await ask(service, header))[0] == 200

    desk.clients["client-1"] = replace(desk.clients["client-1"], scopes=frozenset({"matches"}))
    assert await ask(service, header) == (
        403,
        'Bearer realm="vin", error="insufficient_scope", scope="signals"',
    )

    del desk.clients["client-1"]
    assert (await ask(service, header))[0] == 401


async def test_a_token_for_other_work_is_refused(service: Service) -> None:
    assert (await ask(service, f"Bearer {token('matches')}"))[0] == 403


async def test_only_so_many_tokens_are_remembered(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bearer, "MAX_REMEMBERED", 2)
    check = Bearer(key=KEY, issuer=API, audience=API, look_up=desk.look_up, utcnow=lambda: desk.now)
    tokens = [token() for _ in range(3)]

    async with served(application([ROUTE], check)) as service:
        for each in tokens:
            assert (await ask(service, f"Bearer {each}"))[0] == 200

    assert list(check.remembered) == tokens[1:]
