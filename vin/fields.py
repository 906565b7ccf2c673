"""Texts that both the HTTP edge and the region file take, and the rules for them."""

import re
import unicodedata
from typing import Annotated, LiteralString, Never

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

EMAIL_CHARACTERS = 254
_LOCAL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_LAST_LABEL = rf"(?=[^.]*[A-Za-z]){_LABEL}"
_EMAIL = re.compile(rf"(?=[^@]{{1,64}}@){_LOCAL}(?:\.{_LOCAL})*@(?:{_LABEL}\.)+{_LAST_LABEL}")
_PHONE = re.compile(r"(?=.*[0-9])[0-9 +()-]{5,25}")
# What could forge a line of a mail, and what can make a name read as another.
_HIDDEN_CATEGORIES = {"Cc", "Cf", "Cs", "Zl", "Zp"}
_JOINERS = {"\u200c", "\u200d"}  # some scripts need these to spell a name
_HIDDEN_DIRECTIONS = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def refuse(code: LiteralString, reason: LiteralString) -> Never:
    """Fail a validator; the reason goes to the caller, so it quotes no value."""
    raise PydanticCustomError(code, reason)


def is_email(text: str) -> bool:
    """Tell whether the text is one address (RFC 5321, unquoted, ASCII)."""
    return len(text) <= EMAIL_CHARACTERS and _EMAIL.fullmatch(text) is not None


def _email(text: str) -> str:
    if not is_email(text):
        refuse("email", "Expected one e-mail address.")
    return text


def _phone(text: str) -> str:
    if not _PHONE.fullmatch(text):
        refuse("phone", "Expected 5 to 25 digits, spaces and + - ( ).")
    return text


def _is_hidden(character: str) -> bool:
    return (
        unicodedata.category(character) in _HIDDEN_CATEGORIES and character not in _JOINERS
    ) or unicodedata.bidirectional(character) in _HIDDEN_DIRECTIONS


def _line(text: str) -> str:
    if not text.strip() or any(map(_is_hidden, text)):
        refuse("text", "Expected one line of visible text.")
    return text


Line = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_line)]
Email = Annotated[
    str,
    Field(json_schema_extra={"format": "email", "maxLength": EMAIL_CHARACTERS}),
    AfterValidator(_email),
]
Phone = Annotated[
    str,
    Field(json_schema_extra={"pattern": "^[0-9 +()-]{5,25}$"}),
    AfterValidator(_phone),
]
