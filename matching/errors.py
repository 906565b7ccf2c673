"""What is wrong with a noun of matching; no HTTP."""

from uuid import UUID


class MatchingError(Exception):
    """The root of this package's errors."""


class UntokenedSignalError(MatchingError):
    """A signal without any token of its child can never match."""

    def __init__(self, signal: UUID) -> None:
        super().__init__(f"signal {signal} has no token of a child")


class MatchNumberError(MatchingError):
    """The text is no match number, or its check symbol does not fit."""
