"""The client: what an organisation's own system calls."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from http import HTTPStatus
from typing import Self, TypeVar
from urllib.parse import quote
from uuid import UUID

from aiohttp import ClientSession, ClientTimeout, DummyCookieJar
from pydantic import TypeAdapter

from schemas.dates import local_date
from vin.client import blinding
from vin.client.access import Access
from vin.client.answers import MATCH, SIGNAL, Ground, Match, Outcome, Signal, read_answer
from vin.client.config import Config
from vin.client.errors import (
    AnswerError,
    ConfigError,
    OwnNumberError,
    Problem,
    ProblemError,
    TooOldError,
)
from vin.client.identifiers import destroy_by
from vin.client.keys import KeyRing
from vin.client.registration import Demographic, Registration, Reporter
from vin.client.retry import Retry
from vin.client.transport import Json, Request, Transport
from vin.crypto.keyfile import KeyFileError, read_secret
from vin.crypto.sign import ClientKey, UnfitKeyError, load_client_key

TIMEOUT = ClientTimeout(total=30, sock_connect=5)
PAGE = 200
EVALUATED_AT_ONCE = 256
RETRY = Retry()

T = TypeVar("T")


def today_here() -> date:
    """The date in the Netherlands now."""
    return local_date(datetime.fromtimestamp(time.time(), UTC))


class Client:
    """A connection in the name of one organisation; `connect` opens it."""

    def __init__(
        self, config: Config, access: Access, keys: KeyRing, today: Callable[[], date]
    ) -> None:
        self._config = config
        self._access = access
        self._keys = keys
        self._today = today

    @classmethod
    @asynccontextmanager
    async def connect(
        cls, config: Config, *, retry: Retry = RETRY, today: Callable[[], date] = today_here
    ) -> AsyncIterator[Self]:
        """Open a client; it sends nothing before it is asked something."""
        key = _private_key(config)
        async with ClientSession(timeout=TIMEOUT, cookie_jar=DummyCookieJar()) as session:
            transport = Transport(session, retry)
            access = Access(transport, f"{config.api}/v1/token", config.client_id, key)
            keys = KeyRing(transport, f"{config.keyholder}/v1/keys", config.pins)
            yield cls(config, access, keys, today)

    async def check(self) -> list[str]:
        """Ask for the keys and an access token; return the names of the keys in use."""
        keys = await self._keys.current()
        await self._access.token()
        return [key.name for key in keys.values()]

    async def register_reporter(self, reporter: Reporter) -> None:
        """Make a reporter known, or change his contact data."""
        body = {
            "name": reporter.name,
            "function": reporter.function,
            "email": reporter.email,
            "phone": reporter.phone,
            "unit": reporter.unit,
            "reachable": reporter.reachable,
            "registrationNumber": reporter.registration_number,
        }
        given = {name: text for name, text in body.items() if text is not None}
        await self._ask("PUT", f"/v1/reporters/{quote(reporter.id, safe='')}", given)

    async def register(self, registration: Registration) -> Signal:
        """Register a signal; the reporter's live one on the same child is returned instead."""
        self._refuse_own_family(registration)
        dates = self._dates_of(registration)
        try:
            return await self._register(registration, dates)
        except ProblemError as error:
            if not _is_wrong_epoch(error.problem):
                raise
        self._keys.forget()
        return await self._register(registration, dates)

    async def signal(self, signal_id: UUID) -> Signal:
        """Read one of the organisation's own signals."""
        return read_answer(SIGNAL, await self._ask("GET", f"/v1/signals/{signal_id}"))

    def signals(self, reporter_id: str | None = None) -> AsyncIterator[Signal]:
        """Read the own signals, of one reporter or all, in order of registration."""
        return self._items("/v1/signals", SIGNAL, reporter_id)

    async def withdraw(self, signal_id: UUID, ground: Ground) -> Signal:
        """End a signal and its matches."""
        path = f"/v1/signals/{signal_id}/withdrawal"
        return read_answer(SIGNAL, await self._ask("POST", path, {"ground": ground}))

    def matches(self, reporter_id: str | None = None) -> AsyncIterator[Match]:
        """Read the own sides of matches, of one reporter or all, oldest first."""
        return self._items("/v1/matches", MATCH, reporter_id)

    async def match(self, number: str, signal_id: UUID | None = None) -> Match:
        """Read one match; who holds both sides says which signal is meant."""
        query = {} if signal_id is None else {"signalId": str(signal_id)}
        path = f"/v1/matches/{quote(number, safe='')}"
        return read_answer(MATCH, await self._ask("GET", path, query=query))

    async def say(
        self, number: str, outcome: Outcome, *, new_to_me: bool, signal_id: UUID | None = None
    ) -> Match:
        """Tell what happened after a match; said again it replaces what was said before."""
        query = {} if signal_id is None else {"signalId": str(signal_id)}
        path = f"/v1/matches/{quote(number, safe='')}/outcome"
        body: Json = {"outcome": outcome, "newToMe": new_to_me}
        return read_answer(MATCH, await self._ask("POST", path, body, query))

    async def elements(self, addresses: Sequence[str], reporter_id: str) -> AsyncIterator[Json]:
        """Make elements of normalised addresses, in order; they are counted for the reporter."""
        for start in range(0, len(addresses), EVALUATED_AT_ONCE):
            values = blinding.address_values(addresses[start : start + EVALUATED_AT_ONCE])
            members, _ = await self._evaluate(values, reporter_id)
            for member in members:
                yield member

    async def _register(self, registration: Registration, dates: Json) -> Signal:
        values = blinding.values_of(registration)
        members, permit = await self._evaluate(values, registration.reporter_id)
        child, *household = members
        body = {
            "reporterId": registration.reporter_id,
            "reference": registration.reference,
            "child": child,
            "household": household,
            **dates,
            "permit": permit,
        }
        request = Request(
            method="POST",
            url=f"{self._config.api}/v1/signals",
            json=body,
            headers={"Idempotency-Key": str(registration.idempotency_key)},
        )
        return read_answer(SIGNAL, await self._access.send(request))

    async def _evaluate(
        self, values: Sequence[blinding.Value], reporter_id: str
    ) -> tuple[list[Json], str]:
        keys = await self._keys.current()
        batches = blinding.blind(values, keys)
        body = blinding.evaluation_body(reporter_id, batches)
        url = f"{self._config.keyholder}/v1/evaluations"
        answer = await self._access.send(Request(method="POST", url=url, json=body))
        return blinding.unblind(batches, answer)

    def _refuse_own_family(self, registration: Registration) -> None:
        own = self._config.own_numbers.get(registration.reporter_id)
        family = [registration.child, *registration.parents]
        if own is not None and own in family:
            raise OwnNumberError(self._config.coordinator)

    def _dates_of(self, registration: Registration) -> Json:
        """Say only what differs from the index's own dates, which go by its own clock (L1, L4)."""
        dates = {}
        if registration.remove_on is not None:
            dates["removeOn"] = registration.remove_on.isoformat()
        birth_date, today = registration.birth_date, self._today()
        if birth_date is None and isinstance(registration.child, Demographic):
            birth_date = registration.child.birth_date
        last_day = destroy_by(birth_date, today)
        if last_day <= today:
            raise TooOldError
        if last_day < destroy_by(None, today):
            dates["destroyBy"] = last_day.isoformat()
        return dates

    async def _items(
        self, path: str, kind: TypeAdapter[T], reporter_id: str | None
    ) -> AsyncIterator[T]:
        query = {"limit": str(PAGE)}
        if reporter_id is not None:
            query["reporterId"] = reporter_id
        while True:
            page = await self._ask("GET", path, query=query)
            items, cursor = page.get("items"), page.get("nextCursor")
            if not isinstance(items, list):
                message = f"GET {path} was answered without a list."
                raise AnswerError(message)
            for item in items:
                yield read_answer(kind, item)
            if not isinstance(cursor, str):
                return
            query["cursor"] = cursor

    async def _ask(
        self, method: str, path: str, body: Json | None = None, query: dict[str, str] | None = None
    ) -> Json:
        return await self._access.send(
            Request(method=method, url=self._config.api + path, json=body, query=query or {})
        )


def _private_key(config: Config) -> ClientKey:
    try:
        return load_client_key(read_secret(config.private_key_file))
    except (KeyFileError, UnfitKeyError) as error:
        raise ConfigError(config.private_key_file, [str(error)]) from error


def _is_wrong_epoch(problem: Problem) -> bool:
    return problem.status == HTTPStatus.CONFLICT and bool(problem.current_epochs)
