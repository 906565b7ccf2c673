"""Access tokens in, callers out."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from aiohttp import hdrs, web

from vin.crypto.sign import Access, Reason, SignatureRefusedError, verify_access_token
from vin.crypto.signkey import AccessKey
from vin.errors import InsufficientScopeError, NotAuthenticatedError, TokenFault
from vin.web.caller import CALLER, Caller

MAX_REMEMBERED = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Bearer:
    """Checks access tokens, and at every request the state of the client that shows one.

    `key` is the issuer's public key, `issuer` and `audience` are base URLs. `look_up` finds
    the client while it is active, with the scopes that it has at this moment.
    """

    key: AccessKey
    issuer: str
    audience: str
    look_up: Callable[[str], Awaitable[Caller | None]]
    utcnow: Callable[[], datetime]
    # A signature that held once holds for as long as the token does.
    remembered: dict[str, Access] = field(default_factory=dict, repr=False)

    async def authorise(self, request: web.Request, scope: str) -> None:
        """Put the caller on the request; NotAuthenticatedError, InsufficientScopeError."""
        access = self._read(_token(request))
        client = await self.look_up(access.client_id)
        if client is None:
            raise NotAuthenticatedError(TokenFault.INACTIVE)
        request[CALLER] = replace(client, scopes=client.scopes & access.scope)
        if scope not in request[CALLER].scopes:
            raise InsufficientScopeError(scope)

    def _read(self, token: str) -> Access:
        now = self.utcnow()
        access = self.remembered.get(token)
        if access is None:
            access = self._verify(token, now)
            if len(self.remembered) >= MAX_REMEMBERED:
                self.remembered.pop(next(iter(self.remembered)))
            self.remembered[token] = access
        if access.expires_at <= now:
            raise NotAuthenticatedError(TokenFault.EXPIRED)
        return access

    def _verify(self, token: str, now: datetime) -> Access:
        try:
            return verify_access_token(self.key, token, self.issuer, self.audience, now)
        except SignatureRefusedError as error:
            expired = error.reason is Reason.EXPIRED
            fault = TokenFault.EXPIRED if expired else TokenFault.INVALID
            raise NotAuthenticatedError(fault) from error


BEARER = web.AppKey("bearer", Bearer)


def _token(request: web.Request) -> str:
    headers = request.headers.getall(hdrs.AUTHORIZATION, [])
    if not headers:
        raise NotAuthenticatedError(TokenFault.ABSENT)
    scheme, _, token = headers[0].partition(" ")
    if len(headers) > 1 or scheme.lower() != "bearer" or not token:
        raise NotAuthenticatedError(TokenFault.MALFORMED)
    return token
