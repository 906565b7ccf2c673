import asyncio
import base64
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from joserfc import jws
from joserfc.jwk import ECKey, OctKey, RSAKey
from structlog.testing import capture_logs

from tests.serving import Service, served
from vin.api import token
from vin.api.access import KEPT_AFTER_EXPIRY, bearer
from vin.api.token import ASSERTION_TYPE, TOKEN_DESK, TokenDesk
from vin.crypto.sign import verify_access_token
from vin.web.body import reply
from vin.web.caller import CALLER
from vin.web.routes import Route, application

if TYPE_CHECKING:
    from aiohttp import web
    from asyncpg import Pool, Record

API = "https://api.test"
KEYHOLDER = "https://keyholder.test"
AUDIENCE = f"{API}/v1/token"
NOW = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
ACCESS_KEY = ECKey.generate_key("P-256")
KEY = ECKey.generate_key("P-256")
SECOND_KEY = ECKey.generate_key("P-256")
RSA = RSAKey.generate_key(2048)
ORGANISATION = UUID(int=5)
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

Answer = tuple[int, dict[str, Any]]
