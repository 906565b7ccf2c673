"""What a caller or an operator can do wrong, and what can be away.

Messages reach the caller word for word: they name no value that anyone sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum


class VinError(Exception):
    """Root of the errors that have an answer; anything else is a bug."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with one input; `name` is its path, as `household.1.element`."""

    name: str
    code: str
    reason: str


class InvalidBodyError(VinError):
    """Input does not have the form that was agreed; tells every fault."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("The request is not valid: see invalidParams.")
        self.faults = tuple(faults)


class TokenFault(Enum):
    """Why an access token is not accepted: RFC 6750's code, and a sentence."""

    ABSENT = None, "This operation needs an access token."
    MALFORMED = "invalid_request", "The Authorization header must hold one bearer token."
    INVALID = "invalid_token", "The access token does not hold."
    EXPIRED = "invalid_token", "The access token has expired."
    INACTIVE = "invalid_token", "The client of the access token is not active."

    def __init__(self, code: str | None, reason: str) -> None:
        self.code = code
        self.reason = reason


class NotAuthenticatedError(VinError):
    """There is no access token that holds."""

    def __init__(self, fault: TokenFault) -> None:
        super().__init__(fault.reason)
        self.code = fault.code


class InsufficientScopeError(VinError):
    """The access token was not given for this operation."""

    def __init__(self, scope: str) -> None:
        super().__init__(f"This operation needs an access token with the scope {scope}.")
        self.scope = scope


class TokenRefusal(Enum):
    """Why no access token is given: the code of RFC 6749, section 5.2, and a sentence."""

    FORM = "invalid_request", "The form needs grant_type and the client assertion, each field once."
    GRANT_TYPE = "unsupported_grant_type", "The grant_type must be client_credentials."
    ASSERTION_TYPE = "invalid_request", "The client_assertion_type must be that of RFC 7523."
    CLIENT = "invalid_client", "The client assertion does not hold."
    SCOPE = "invalid_scope", "The scope holds what this client was not granted."

    def __init__(self, code: str, reason: str) -> None:
        self.code = code
        self.reason = reason


class TokenRequestError(VinError):
    """No access token is given."""

    def __init__(self, refusal: TokenRefusal) -> None:
        super().__init__(refusal.reason)
        self.code = refusal.code


class InvalidClientError(TokenRequestError):
    """The client did not prove who it is; one answer for every cause.

    So nobody learns from it which clients exist.
    """

    def __init__(self) -> None:
        super().__init__(TokenRefusal.CLIENT)


class NotEntitledError(VinError):
    """The organisation may not do this now (W1)."""

    def __init__(self) -> None:
        super().__init__("The organisation may not register at this moment.")


class PermitRefusedError(VinError):
    """The permit does not pay for this registration."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class PermitSpentError(VinError):
    """The permit was used before."""

    def __init__(self) -> None:
        super().__init__("The permit was used before; ask the key holder for another.")


class IdempotencyConflictError(VinError):
    """The Idempotency-Key belongs to another request."""

    def __init__(self) -> None:
        super().__init__("This Idempotency-Key was used with another body.")


class NotFoundError(VinError):
    """There is no such thing, or it is another organisation's."""

    def __init__(self) -> None:
        super().__init__("There is nothing here that this client may see.")


class AmbiguousSideError(VinError):
    """The organisation holds both sides of the match and named neither."""

    def __init__(self) -> None:
        super().__init__("Both sides of this match are yours; name one with signalId.")


class MatchNotOpenError(VinError):
    """The match has ended, so nothing can be said on it any more."""

    def __init__(self) -> None:
        super().__init__("The match is not open any more.")


class HistoryOpenedError(VinError):
    """The history was shown once, or its signal has ended."""

    def __init__(self) -> None:
        super().__init__("This history was opened before; it opens once.")


class SignalEndedError(VinError):
    """The signal is no longer live, so it cannot change."""

    def __init__(self) -> None:
        super().__init__("The signal has ended before.")


class OtherChildError(VinError):
    """The signal has another number already (M11)."""

    def __init__(self) -> None:
        super().__init__("The signal is on another child; a mistake is a new signal.")


class DuplicateSignalError(VinError):
    """The reporter has another live signal on the child (M7)."""

    def __init__(self) -> None:
        super().__init__("The reporter has another live signal on this child; withdraw one.")


class WebhookLimitError(VinError):
    """The organisation has as many webhooks as it may."""

    def __init__(self) -> None:
        super().__init__("Remove a webhook before you add another.")


class WrongEpochError(VinError):
    """Keys of another epoch are in use now."""

    def __init__(self, current: Mapping[str, int]) -> None:
        super().__init__("The key of another epoch is in use now: see currentEpochs.")
        self.current = dict(current)


class QuotaExceededError(VinError):
    """The day's elements are used up, or are too few for this request."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("The quota of today does not allow this many elements.")
        self.retry_after_seconds = retry_after_seconds


class UnavailableError(VinError):
    """Something that the answer needs is away; waiting cures it."""

    def __init__(self) -> None:
        super().__init__("The service cannot answer now; try again later.")


class StartError(VinError):
    """The process cannot start; the message is a sentence for the operator."""
