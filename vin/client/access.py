"""The access token: asked for once, used until shortly before it ends."""

import asyncio
import secrets
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus

from pydantic import TypeAdapter

from vin.client.answers import read_answer
from vin.client.errors import ProblemError
from vin.client.transport import Json, Request, Transport
from vin.crypto.sign import ASSERTION_LIFETIME, Assertion, ClientKey, make_client_assertion

JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
RENEW_SECONDS = 60
ASSERTION_ID_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessToken:
    """What the token endpoint answers."""

    access_token: str = field(repr=False)
    expires_in: int


ACCESS_TOKEN = TypeAdapter(AccessToken)


class Access:
    """Sends requests in the name of a client, to the index and to the key holder alike."""

    def __init__(
        self, transport: Transport, token_url: str, client_id: str, key: ClientKey
    ) -> None:
        self._transport = transport
        self._token_url = token_url
        self._client_id = client_id
        self._key = key
        self._token = ""
        self._renew_at = 0.0
        self._renewing = asyncio.Lock()

    async def send(self, request: Request) -> Json:
        """Send a request with an access token; with a new one if that is refused."""
        token = await self.token()
        try:
            return await self._send_with(token, request)
        except ProblemError as error:
            if error.problem.status != HTTPStatus.UNAUTHORIZED:
                raise
        if token == self._token:
            self._renew_at = 0
        return await self._send_with(await self.token(), request)

    async def token(self) -> str:
        """Return an access token that lives a minute more; many callers lead to one request."""
        async with self._renewing:
            if time.monotonic() >= self._renew_at:
                await self._renew()
            return self._token

    async def _send_with(self, token: str, request: Request) -> Json:
        headers = {**request.headers, "Authorization": f"Bearer {token}"}
        return await self._transport.send(replace(request, headers=headers))

    async def _renew(self) -> None:
        asked_at = time.monotonic()
        document = await self._transport.send(
            Request(method="POST", url=self._token_url, form=self._form)
        )
        answer = read_answer(ACCESS_TOKEN, document)
        self._token = answer.access_token
        self._renew_at = asked_at + answer.expires_in - RENEW_SECONDS

    def _form(self) -> dict[str, str]:
        """Sign a statement that serves once, in real time, whatever day the region lives in."""
        now = datetime.fromtimestamp(time.time(), UTC)
        assertion = Assertion(
            client_id=self._client_id,
            id=secrets.token_urlsafe(ASSERTION_ID_BYTES),
            expires_at=now + ASSERTION_LIFETIME / 2,
        )
        return {
            "grant_type": "client_credentials",
            "client_assertion_type": JWT_BEARER,
            "client_assertion": make_client_assertion(self._key, assertion, self._token_url, now),
        }
