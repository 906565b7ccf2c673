"""Request bodies in, responses out."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Never, TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from vin.errors import Fault, InvalidBodyError
from vin.web.faults import NOT_JSON, faults_of, member_name

MAX_BODY_BYTES = 1024 * 1024
MAX_DRAINED_BYTES = 8 * MAX_BODY_BYTES

JSON = "application/json"

BODY = web.RequestKey("body", bytes)

ModelT = TypeVar("ModelT", bound=BaseModel)


async def receive(request: web.Request) -> bytes:
    """Read the whole body, or refuse it for its size before anything else is looked at.

    Too large a body is read to its end, within reason: a caller that is still sending
    would otherwise meet a closed connection instead of the answer.
    """
    chunks: list[bytes] = []
    size = 0
    too_large = (request.content_length or 0) > MAX_BODY_BYTES
    try:
        async for chunk in request.content.iter_any():
            size += len(chunk)
            too_large = too_large or size > MAX_BODY_BYTES
            if size > MAX_DRAINED_BYTES:
                break
            if not too_large:
                chunks.append(chunk)
    except (web.RequestPayloadError, ConnectionError) as error:
        raise web.HTTPBadRequest from error
    if too_large:
        raise web.HTTPRequestEntityTooLarge(MAX_BODY_BYTES, size)
    return b"".join(chunks)


def read(request: web.Request, model: type[ModelT]) -> ModelT:
    """Take the JSON body as `model`, or raise InvalidBodyError with all its faults."""
    return parse(request[BODY], model)


def parse(body: bytes, model: type[ModelT]) -> ModelT:
    """Take JSON as `model`, or raise InvalidBodyError with all its faults."""
    faults = _duplicates(body)
    try:
        # The bytes again: strict types know dates and ids from JSON alone.
        value = model.model_validate_json(body, by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidBodyError([*faults, *faults_of(error)]) from None
    if faults:
        raise InvalidBodyError(faults)
    return value


def reply(
    model: BaseModel, status: int = 200, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Answer with a model as JSON."""
    return web.Response(
        body=model.model_dump_json(by_alias=True).encode(),
        status=status,
        headers=headers,
        content_type=JSON,
    )


def _duplicates(body: bytes) -> list[Fault]:
    """Find members that occur twice, of which parsers would keep any."""
    faults: list[Fault] = []

    def look(members: list[tuple[str, object]]) -> None:
        if len(dict(members)) < len(members):
            counts = Counter(name for name, _ in members)
            faults.extend(
                Fault(member_name(name), "duplicate", "This member occurs twice.")
                for name, count in counts.items()
                if count > 1
            )

    try:
        json.loads(body.decode(), object_pairs_hook=look, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise InvalidBodyError([NOT_JSON]) from None
    return faults


def _refuse(_constant: str) -> Never:
    """Python's reader knows NaN and Infinity, JSON does not."""
    raise ValueError
