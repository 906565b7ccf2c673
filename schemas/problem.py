"""The problem types of both services; members are only ever added."""

from enum import Enum


class Problem(Enum):
    """What a caller may be told: the last part of its URI, a title, the status."""

    INVALID_INPUT = "invalid-input", "The request is not valid", 400
    MALFORMED_REQUEST = "malformed-request", "The request is not HTTP as agreed", 400
    TOKEN_REQUEST = "token-request", "The token request is refused", 400
    AMBIGUOUS_SIDE = "ambiguous-side", "Both sides of the match are yours", 400
    INVALID_CLIENT = "invalid-client", "The client is not known", 401
    NOT_AUTHENTICATED = "not-authenticated", "A valid access token is needed", 401
    INSUFFICIENT_SCOPE = (
        "insufficient-scope",
        "The token does not cover this",
        403,
    )
    NOT_ENTITLED = "not-entitled", "The organisation may not do this now", 403
    PERMIT_REFUSED = "permit-refused", "The permit does not cover this", 403
    PERMIT_SPENT = "permit-spent", "The permit was used before", 403
    NOT_FOUND = "not-found", "Nothing is found here", 404
    METHOD_NOT_ALLOWED = "method-not-allowed", "The method is not allowed", 405
    NOT_ACCEPTABLE = "not-acceptable", "Only JSON is offered", 406
    IDEMPOTENCY_CONFLICT = (
        "idempotency-conflict",
        "The key was used before",
        409,
    )
    SIGNAL_ENDED = "signal-ended", "The signal has ended", 409
    OTHER_CHILD = "other-child", "The signal is on another child", 409
    DUPLICATE_SIGNAL = "duplicate-signal", "The reporter has another signal on this child", 409
    MATCH_NOT_OPEN = "match-not-open", "The match is not open", 409
    WEBHOOK_LIMIT = "webhook-limit", "There are as many webhooks as there may be", 409
    WRONG_EPOCH = "wrong-epoch", "Keys of another epoch are in use", 409
    HISTORY_OPENED = "history-opened", "The history was opened before", 410
    BODY_TOO_LARGE = "body-too-large", "The body is too large", 413
    UNSUPPORTED_MEDIA_TYPE = (
        "unsupported-media-type",
        "The content type is wrong",
        415,
    )
    QUOTA_EXCEEDED = "quota-exceeded", "The quota of today is used up", 429
    INTERNAL_ERROR = "internal-error", "The service failed", 500
    UNAVAILABLE = "unavailable", "The service cannot answer now", 503

    def __init__(self, slug: str, title: str, status: int) -> None:
        self.slug = slug
        self.title = title
        self.status = status

    @property
    def type(self) -> str:
        """The URI that programs compare."""
        return f"urn:problem-type:vin:{self.slug}"
