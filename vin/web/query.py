"""Query parameters, paging and the ids in a path."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar
from uuid import UUID

from aiohttp import web
from multidict import MultiMapping
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    ValidationError,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from vin.base64url import decode_base64url, encode_base64url
from vin.errors import Fault, InvalidBodyError, NotFoundError
from vin.web.faults import faults_of, member_name
from vin.web.wire import Wire, refusal

MAX_LIMIT = 200
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIME_BYTES = 8
UUID_BYTES = 16

ModelT = TypeVar("ModelT", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page ended: the last item's instant and the ids that break ties."""

    at: datetime
    ids: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class CursorOf:
    """A `Position` with this many ids, in a form that callers only hand back."""

    ids: int

    def __get_pydantic_core_schema__(
        self, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self.read)

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string"}

    def read(self, value: object) -> Position:
        data = decode_base64url(value) if isinstance(value, str) else None
        if data is None or len(data) != TIME_BYTES + self.ids * UUID_BYTES:
            raise _bad_cursor()
        microseconds = int.from_bytes(data[:TIME_BYTES], "big", signed=True)
        try:
            at = EPOCH + timedelta(microseconds=microseconds)
        except OverflowError:
            raise _bad_cursor() from None
        places = range(TIME_BYTES, len(data), UUID_BYTES)
        return Position(at, tuple(UUID(bytes=data[i : i + UUID_BYTES]) for i in places))


def cursor_text(position: Position) -> str:
    """Write a position as a cursor, to the microsecond that the database orders by."""
    microseconds = (position.at - EPOCH) // timedelta(microseconds=1)
    time = microseconds.to_bytes(TIME_BYTES, "big", signed=True)
    return encode_base64url(b"".join([time, *(id_.bytes for id_ in position.ids)]))


def _bad_cursor() -> PydanticCustomError:
    return refusal(code="cursor", reason="This is not a cursor that this list gave.")


def _digits(value: object) -> object:
    # A query is all text, of which pydantic reads too much as a number.
    if isinstance(value, str) and re.fullmatch(r"[1-9][0-9]{0,3}", value):
        return int(value)
    return value


class Page(Wire):
    """The query of a list; a list adds its `cursor` and filters."""

    limit: Annotated[int, Field(ge=1, le=MAX_LIMIT), BeforeValidator(_digits)] = 50


def read_query(request: web.Request, model: type[ModelT]) -> ModelT:
    """Take the query as `model`, or raise InvalidBodyError with all its faults."""
    faults = _duplicates(request.query)
    try:
        value = model.model_validate_strings(dict(request.query), by_alias=True, by_name=False)
    except ValidationError as error:
        raise InvalidBodyError([*faults, *faults_of(error)]) from None
    if faults:
        raise InvalidBodyError(faults)
    return value


def _duplicates(query: MultiMapping[str]) -> list[Fault]:
    return [
        Fault(member_name(name), "duplicate", "This is given more than once.")
        for name in dict.fromkeys(query)
        if len(query.getall(name)) > 1
    ]


def refuse_query(request: web.Request) -> None:
    """Raise InvalidBodyError where a query is given to an operation that has none."""
    if request.query:
        raise InvalidBodyError(
            [
                Fault(member_name(name), "unexpected", "This is not known here.")
                for name in dict.fromkeys(request.query)
            ]
        )


def path_uuid(request: web.Request, name: str) -> UUID:
    """Read an id from the path; what cannot be one names nothing: NotFoundError."""
    text = request.match_info[name]
    try:
        value = UUID(text)
    except ValueError:
        raise NotFoundError from None
    if str(value) != text:
        raise NotFoundError
    return value
