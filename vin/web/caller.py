"""Who makes a request."""

from dataclasses import dataclass
from uuid import UUID

from aiohttp import web


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """A client with a valid access token, and the organisation it acts for."""

    client_id: str
    organisation_id: UUID
    organisation: str
    scopes: frozenset[str]


CALLER = web.RequestKey("caller", Caller)
