"""What travels as JSON: the base of all request and response types, and their fields.

Validators here never quote the value in a message: it goes to the caller and to logs.
"""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
)
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from schemas.dates import instant_text
from vin.base64url import decode_base64url, encode_base64url
from vin.crypto.oprf import ELEMENT_BYTES, ElementError, check_element

PLAIN_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class Wire(BaseModel):
    """The base of bodies: lowerCamelCase outside, nothing unknown or guessed."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        from_attributes=True,
        frozen=True,
        hide_input_in_errors=True,
        strict=True,
        validate_by_name=True,
    )


@dataclass(frozen=True, slots=True)
class Base64Url:
    """Bytes of one length as base64url without padding, in the one valid spelling."""

    size: int

    def __get_pydantic_core_schema__(
        self, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self.decode,
            serialization=core_schema.plain_serializer_function_ser_schema(
                encode_base64url, when_used="json"
            ),
        )

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        length = (self.size * 8 + 5) // 6
        return {
            "type": "string",
            "pattern": "^[A-Za-z0-9_-]*$",
            "minLength": length,
            "maxLength": length,
        }

    def decode(self, value: object) -> bytes:
        decoded = decode_base64url(value) if isinstance(value, str) else value
        if not isinstance(decoded, bytes) or len(decoded) != self.size:
            raise refusal(
                code="encoding", reason=f"Expected {self.size} bytes, base64url, no padding."
            )
        return decoded


def refusal(*, code: str, reason: str) -> PydanticCustomError:
    """Make the error that a validator raises; the reason must not quote the value."""
    return PydanticCustomError(code, "{reason}", {"reason": reason})


def _plain_date(value: object) -> object:
    """Let only YYYY-MM-DD through: pydantic also reads numbers as dates."""
    is_text = isinstance(value, str) and PLAIN_DATE.fullmatch(value)
    if not is_text and type(value) is not date:
        raise refusal(code="date", reason="Expected a date as in 2026-11-22.")
    return value


def _in_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


def _on_curve(element: bytes) -> bytes:
    try:
        check_element(element)
    except ElementError:
        raise refusal(code="element", reason="Not a point of the group.") from None
    return element


Element = Annotated[bytes, Base64Url(ELEMENT_BYTES)]
# An element from outside, which must be on the curve and not the identity.
Point = Annotated[Element, AfterValidator(_on_curve)]
Domain = Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,32}/[a-z]{1,16}$")]
Epoch = Annotated[int, Field(ge=1, le=2**31 - 1)]
Instant = Annotated[
    AwareDatetime,
    AfterValidator(_in_utc),
    PlainSerializer(instant_text, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
LocalDate = Annotated[date, Field(strict=False), BeforeValidator(_plain_date)]
ReporterCode = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._~-]{1,64}$")]
