"""One HTTP request: sent until it is answered, its answer read as the contract has it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from pydantic import TypeAdapter

from vin.client.answers import read_answer
from vin.client.errors import AnswerError, Problem, ProblemError, UnreachableError
from vin.client.retry import AGAIN, Retry

JsonValue = str | float | Sequence["JsonValue"] | Mapping[str, "JsonValue"] | None
Json = Mapping[str, JsonValue]
Form = Mapping[str, str]

PROBLEM = TypeAdapter(Problem)

# A ConnectionError is what writing to a connection says that the other side has closed.
LOST = (
    aiohttp.ClientConnectionError,
    aiohttp.ClientPayloadError,
    ConnectionError,
    TimeoutError,
)


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

    session: aiohttp.ClientSession
    retry: Retry

    async def send(self, request: Request) -> Json:
        """Return the answer, or raise ProblemError, AnswerError or UnreachableError."""
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._send_once(request)
            except (ProblemError, UnreachableError) as error:
                wait = self._wait_seconds(error, attempt)
                if wait is None:
                    raise
            await asyncio.sleep(wait)

    def _wait_seconds(self, error: ProblemError | UnreachableError, attempt: int) -> float | None:
        if isinstance(error, UnreachableError):
            return self.retry.wait_seconds(attempt)
        if error.problem.status in AGAIN:
            return self.retry.wait_seconds(attempt, error.problem.retry_after_seconds)
        return None

    async def _send_once(self, request: Request) -> Json:
        what = f"{request.method} {request.url}"
        try:
            response, document = await self._exchange(request)
        except LOST as error:
            message = f"{what} got no answer."
            raise UnreachableError(message) from error
        except aiohttp.ClientError as error:
            message = f"{what} was answered in no known way."
            raise AnswerError(message) from error
        if response.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise ProblemError(_problem(response, document or {}))
        if document is None:
            message = f"{what} was answered without a JSON object."
            raise AnswerError(message)
        return document

    async def _exchange(self, request: Request) -> tuple[aiohttp.ClientResponse, Json | None]:
        async with self.session.request(
            request.method,
            request.url,
            json=request.json,
            data=request.form() if request.form else None,
            params=request.query,
            headers=request.headers,
            allow_redirects=False,
        ) as response:
            return response, await _read_json(response)


async def _read_json(response: aiohttp.ClientResponse) -> Json | None:
    try:
        document = await response.json(content_type=None)
    except ValueError:
        return None
    return document if isinstance(document, dict) else None


def _problem(response: aiohttp.ClientResponse, document: Json) -> Problem:
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
