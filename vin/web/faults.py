"""From pydantic's errors to ours: every fault, and no value that was sent."""

import re

from pydantic import ValidationError

from vin.errors import Fault

# A caller may put an identifier where a member's name belongs; that is not sent back.
MEMBER_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}", re.ASCII)

NOT_JSON = Fault("body", "json", "The body is not JSON in UTF-8.")

CODES = {
    "bool_type": "type",
    "bytes_type": "type",
    "date_type": "type",
    "datetime_type": "type",
    "dict_type": "type",
    "int_type": "type",
    "list_type": "type",
    "model_type": "type",
    "string_type": "type",
    "tuple_type": "type",
    "uuid_type": "type",
    "enum": "choice",
    "extra_forbidden": "unexpected",
    "greater_than_equal": "range",
    "less_than_equal": "range",
    "literal_error": "choice",
    "missing": "required",
    "string_pattern_mismatch": "pattern",
    "string_too_long": "length",
    "string_too_short": "length",
    "too_long": "length",
    "too_short": "length",
}
REASONS = {
    "extra_forbidden": "This member is not known here.",
    "missing": "This member is required.",
}


def faults_of(error: ValidationError) -> list[Fault]:
    """Tell each fault by its path in the body, a code and a reason."""
    return [
        _fault(detail["type"], detail["loc"], detail["msg"])
        for detail in error.errors(include_url=False, include_context=False, include_input=False)
    ]


def member_name(name: str) -> str:
    """Keep a name that can be a member's; for any other stands a star."""
    return name if MEMBER_NAME.fullmatch(name) else "*"


def _fault(kind: str, place: tuple[str | int, ...], message: str) -> Fault:
    if kind == "json_invalid":
        return NOT_JSON
    name = ".".join(map(_step, place)) or "body"
    if kind in CODES:
        return Fault(name, CODES[kind], REASONS.get(kind, f"{message}."))
    if "_" in kind:
        # One of pydantic's own, whose message may hold a piece of the value.
        return Fault(name, "format", "This is not written as agreed.")
    return Fault(name, kind, message)


def _step(step: str | int) -> str:
    return member_name(step) if isinstance(step, str) else str(step)
