"""One HTTP request: sent until it is answered, its answer read as the contract has it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import ClientConnectionError, ClientPayloadError, ClientResponse, ClientSession
from pydantic import TypeAdapter

from vin.client.answers import read_answer
from vin.client.errors import AnswerError, Problem, ProblemError, UnreachableError
from vin.client.retry import AGAIN, Retry

JsonValue = str | float | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None
Json = Mapping[str, JsonValue]
Form = Mapping[str, str]

PROBLEM = TypeAdapter(Problem)

# A ConnectionError is what writing to a connection says that the other side has closed.
LOST = (ClientConnectionError, ClientPayloadError, ConnectionError, TimeoutError)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked; sent twice it must do the same as sent once. A form is made anew each time."""

    method: str
    url: str
    json: Json | None = field(default=None, repr=False)
    form: Callable[[], Form] | None = field(default=None, repr=False)
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Transport:
    """Sends requests over a session, again where waiting helps."""

    session: ClientSession
    retry: Retry

    async def send(self, request: Request) -> Json:
        """Return the answer, or raise ProblemError, AnswerError or UnreachableError."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._send_once(request)
            except ProblemError as error:
                wait = self._wait_seconds(error.problem, attempt)
                if wait is None:
                    raise
            except LOST as error:
                wait = self.retry.wait_seconds(attempt)
                if wait is None:
                    message = f"{request.method} {request.url} got no answer."
                    raise UnreachableError(message) from error
            await asyncio.sleep(wait)

    def _wait_seconds(self, problem: Problem, attempt: int) -> float | None:
        if problem.status not in AGAIN:
            return None
        return self.retry.wait_seconds(attempt, problem.retry_after_seconds)

    async def _send_once(self, request: Request) -> Json:
        async with self.session.request(
            request.method,
            request.url,
            json=request.json,
            data=request.form() if request.form else None,
            params=request.query,
            headers=request.headers,
            allow_redirects=False,
        ) as response:
            document = await _read_json(response)
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise ProblemError(_problem(response, document or {}))
        if document is None:
            message = f"{request.method} {request.url} was answered without a JSON object."
            raise AnswerError(message)
        return document


async def _read_json(response: ClientResponse) -> Json | None:
    try:
        document = await response.json(content_type=None)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _problem(response: ClientResponse, document: Json) -> Problem:
    """Take the problem from the answer; what stands in front of a service sends none."""
    seconds = response.headers.get("Retry-After", "")
    bare: Json = {"type": "about:blank", "title": response.reason or "Refused"}
    certain: Json = {
        "status": response.status,
        "retryAfterSeconds": int(seconds) if seconds.isdecimal() else None,
    }
    with suppress(AnswerError):
        return read_answer(PROBLEM, {**bare, **document, **certain})
    return read_answer(PROBLEM, {**bare, **certain})
