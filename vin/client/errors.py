"""What can go wrong for a client; no message holds an identifier.

ClientError
├── ConfigError            the configuration cannot be used
├── OwnNumberError         the reporter is the child or a parent of it
├── TooOldError            the young person has turned 23
├── KeyHolderError         the key holder's keys or proof are not to be trusted
├── ProblemError           a service refused the request, and says why
├── AnswerError            a service answered something else than was agreed
└── UnreachableError       a service gave no answer, however often it was asked

An IdentifierError (identifiers.py) comes before all of these, when a number or name is made.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ConfigDict
from pydantic.alias_generators import to_camel

CAMEL = ConfigDict(alias_generator=to_camel)


class ClientError(Exception):
    """Root of all errors of this package."""


class ConfigError(ClientError):
    """The configuration cannot be used; `faults` are sentences, without the values."""

    def __init__(self, source: str | Path, faults: Sequence[str]) -> None:
        lines = "".join(f"\n  {fault}" for fault in faults)
        super().__init__(f"{source} cannot be used:{lines}")
        self.faults = tuple(faults)


class OwnNumberError(ClientError):
    """The reporter would register his own family; someone else has to."""

    def __init__(self, coordinator: str) -> None:
        super().__init__(
            f"A reporter cannot register himself or his own child. Hand this over to {coordinator}."
        )


class TooOldError(ClientError):
    """Nothing may be kept on someone who has turned 23."""

    def __init__(self) -> None:
        super().__init__("This young person has turned 23 and cannot be registered.")


class KeyHolderError(ClientError):
    """The key holder's keys or proof do not hold; nothing was sent to the index."""


class AnswerError(ClientError):
    """A service, or something in front of it, answered something else than was agreed."""


class UnreachableError(ClientError):
    """A service gave no answer. Sending the same `Registration` again is safe."""


@dataclass(frozen=True, slots=True)
class InvalidParam:
    """One fault in what was sent; `name` is its place, as in `household.1.element`."""

    name: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a service says is wrong (RFC 9457), and how many seconds it asks to wait."""

    __pydantic_config__ = CAMEL

    type: str
    title: str
    status: int
    detail: str = ""
    instance: str = ""
    invalid_params: tuple[InvalidParam, ...] = ()
    current_epochs: Mapping[str, int] = field(default_factory=dict)
    retry_after_seconds: int | None = None


class ProblemError(ClientError):
    """A service refused the request; `problem` is what it says."""

    def __init__(self, problem: Problem) -> None:
        faults = "".join(f"\n  {each.name}: {each.reason}" for each in problem.invalid_params)
        super().__init__(f"{problem.status} {problem.title}. {problem.detail}{faults}".strip())
        self.problem = problem
