"""A whole VIN client in one file, written from the contract (architecture, 3) alone.

It shares no code with VIN, so that neither can inherit the other's mistakes. The
arithmetic is that of the textbook: right, but slow and not in constant time.
"""

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self
from urllib.parse import urlencode

from aiohttp import ClientSession
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key

Json = dict[str, Any]
Point = tuple[int, int] | None  # None is the identity
Points = Sequence[Point]
Value = tuple[str, str]  # a role of ROLES and a normalised text

# The curve P-256: y^2 = x^3 + A x + B modulo P, of prime order N.
P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
A = -3
B = 0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B
G_X = 0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296
CONTEXT = b"OPRFV1-\x01-P256-SHA256"  # RFC 9497, mode 1

FORMS = {  # per kind the normalised form of 3.1
    "nl.bsn": r"[0-9]{9}",
    "nl.address": r"[1-9][0-9]{3}[A-Z]{2}\|[1-9][0-9]*\|[A-Z]?\|(?!-)[^|\sa-z]*(?<!-)",
    "nl.demographic": r"[A-Z]+\|[0-9]{4}-[0-9]{2}-[0-9]{2}\|[FMX]",
    "nl.test": r"[0-9]+",
}
ROLES = {  # what a value is in a signal: its kind and domain
    "bsn": ("nl.bsn", "child"),
    "demographic": ("nl.demographic", "weak"),
    "parent": ("nl.bsn", "parent"),
    "address": ("nl.address", "address"),
}


class ProofError(Exception):
    """The key holder did not use the key that it published."""


class RefusedError(Exception):
    """The service answered with a problem; the only argument is that `Answer`."""


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    body: Json


def add(p: Point, q: Point) -> Point:
    if p is None or q is None:
        return p or q
    if p[0] == q[0] and (p[1] + q[1]) % P == 0:
        return None
    rise, run = (3 * p[0] * p[0] + A, 2 * p[1]) if p == q else (q[1] - p[1], q[0] - p[0])
    slope = rise * pow(run, -1, P)
    x = (slope * slope - p[0] - q[0]) % P
    return x, (slope * (p[0] - x) - p[1]) % P


def multiply(scalar: int, point: Point) -> Point:
    result: Point = None
    for bit in f"{scalar % N:b}":
        result = add(result, result)
        if bit == "1":
            result = add(result, point)
    return result


def lift(x: int, parity: int) -> Point:
    """Give the point at x whose y is even (0) or odd (1), if the curve has one there."""
    square = (x * x * x + A * x + B) % P
    y = pow(square, (P + 1) // 4, P)
    return (x, y if y % 2 == parity else P - y) if y * y % P == square else None


G = lift(G_X, 1)


def encode(point: Point) -> bytes:
    if point is None:
        raise ProofError
    return bytes([2 + point[1] % 2]) + point[0].to_bytes(32, "big")


def decode(data: bytes) -> Point:
    x = int.from_bytes(data[1:], "big")
    point = lift(x, data[0] % 2) if len(data) == 33 and data[0] in {2, 3} and x < P else None
    if point is None:
        raise ProofError
    return point


def expand(message: bytes, dst: bytes, length: int) -> bytes:
    """Stretch a message to `length` bytes (RFC 9380, expand_message_xmd)."""
    dst += bytes([len(dst)])
    first = hashlib.sha256(bytes(64) + message + length.to_bytes(2, "big") + b"\0" + dst).digest()
    block = output = hashlib.sha256(first + b"\1" + dst).digest()
    for number in range(2, length // 32 + 2):
        mixed = bytes(a ^ b for a, b in zip(first, block, strict=True))
        block = hashlib.sha256(mixed + bytes([number]) + dst).digest()
        output += block
    return output[:length]


def map_to_curve(u: int) -> Point:
    """Map a field element to a point (RFC 9380, simplified SWU, Z = -10)."""
    zu2 = -10 * u * u % P
    denominator = (zu2 * zu2 + zu2) % P
    factor = 1 + pow(denominator, -1, P) if denominator else pow(10, -1, P)
    x = -B * pow(A, -1, P) * factor % P
    return lift(x, u % 2) or lift(zu2 * x % P, u % 2)


def hash_to_curve(message: bytes, dst: bytes = b"HashToGroup-" + CONTEXT) -> Point:
    uniform = expand(message, dst, 96)
    u, v = (int.from_bytes(half, "big") % P for half in (uniform[:48], uniform[48:]))
    return add(map_to_curve(u), map_to_curve(v))


def hash_to_scalar(transcript: bytes) -> int:
    return int.from_bytes(expand(transcript, b"HashToScalar-" + CONTEXT, 48), "big") % N


def lp(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def frame(kind: str, text: str) -> bytes:
    """Frame a value; one that is not normalised would be a silent missed match."""
    if not re.fullmatch(FORMS[kind], text):
        raise ValueError(kind)
    return b"VIN-v1" + lp(kind.encode()) + lp(text.encode())


def bsn(text: str) -> str:
    """Strip blanks, dots and hyphens from a BSN, and check it."""
    digits = re.sub(r"[\s.-]", "", text)
    weighted = zip(digits, (9, 8, 7, 6, 5, 4, 3, 2, -1), strict=False)
    fits = re.fullmatch(FORMS["nl.bsn"], digits) and digits != "000000000"
    if not fits or sum(int(digit) * weight for digit, weight in weighted) % 11:
        raise ValueError(FORMS["nl.bsn"])  # never with the number itself
    return digits


def proof_holds(key: bytes, blinded: Points, evaluated: Points, proof: bytes) -> bool:
    """Tell whether the holder of `key` evaluated the whole batch with it (DLEQ)."""
    seed = lp(hashlib.sha256(lp(key) + lp(b"Seed-" + CONTEXT)).digest())
    m = z = multiply(0, G)
    for index, (c, d) in enumerate(zip(blinded, evaluated, strict=True)):
        pair = index.to_bytes(2, "big") + lp(encode(c)) + lp(encode(d))
        weight = hash_to_scalar(seed + pair + b"Composite")
        m, z = add(m, multiply(weight, c)), add(z, multiply(weight, d))
    challenge, s = int.from_bytes(proof[:32], "big"), int.from_bytes(proof[32:], "big")
    t2 = add(multiply(s, G), multiply(challenge, decode(key)))
    t3 = add(multiply(s, m), multiply(challenge, z))
    transcript = lp(key) + b"".join(lp(encode(point)) for point in (m, z, t2, t3))
    return len(proof) == 64 and s < N and challenge == hash_to_scalar(transcript + b"Challenge")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class ContractClient:
    """One client of one organisation, at one index and one key holder."""

    session: ClientSession
    entry: Json
    api: str
    keyholder: str
    keys: dict[str, Json] = field(default_factory=dict)
    _token: tuple[str, float] = ("", 0)

    @classmethod
    async def connect(cls, session: ClientSession, entry: Json, api: str, keyholder: str) -> Self:
        """Log in as one of the clients of `ready.json` and learn the keys valid now."""
        client = cls(session, entry, api, keyholder)
        await client.token()
        keys = (await client.send("GET", f"{keyholder}/v1/keys", {})).body["keys"]
        client.keys = {key["domain"].rpartition("/")[2]: key for key in keys}
        return client

    async def send(self, method: str, url: str, options: Json) -> Answer:
        async with self.session.request(method, url, **options) as response:
            body = json.loads(await response.read() or "{}")
            answer = Answer(response.status, response.headers, body)
        if answer.status >= 400:
            raise RefusedError(answer)
        return answer

    async def call(self, method: str, path: str, body: Json | None = None, key: str = "") -> Answer:
        """Send a request with the access token, to the index unless `path` is a whole URL."""
        headers = {"Authorization": f"Bearer {await self.token()}"}
        headers |= {"Idempotency-Key": key} if key else {}
        url = path if path.startswith("http") else self.api + path
        return await self.send(method, url, {"json": body, "headers": headers})

    async def token(self) -> str:
        """Give an access token that lives at least a minute more."""
        if time.monotonic() > self._token[1] - 60:
            url = f"{self.api}/v1/token"
            form = {
                "grant_type": "client_credentials",
                "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
                "client_assertion": self.assertion(url),
            }
            granted = (await self.send("POST", url, {"data": form})).body
            self._token = granted["access_token"], time.monotonic() + granted["expires_in"]
        return self._token[0]

    def assertion(self, audience: str) -> str:
        """Sign a client assertion: a JWS in ES256, its signature raw r and s."""
        key = load_pem_private_key(Path(self.entry["privateKeyFile"]).read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        claims = dict.fromkeys(("iss", "sub"), self.entry["clientId"])
        claims |= {"aud": audience, "jti": secrets.token_hex(), "exp": int(time.time()) + 120}
        parts = [b64(json.dumps(part).encode()) for part in ({"alg": "ES256"}, claims)]
        r_s = decode_dss_signature(key.sign(".".join(parts).encode(), ec.ECDSA(SHA256())))
        return ".".join([*parts, b64(b"".join(part.to_bytes(32, "big") for part in r_s))])

    async def evaluate(self, reporter_id: str, values: Sequence[Value]) -> tuple[list[Json], str]:
        """Have values made into tokens, grouped by domain, with the permit that pays for them."""
        groups: dict[str, list[tuple[str, int, Point]]] = {}
        for role, text in values:
            kind, domain = ROLES[role]
            blind = 1 + secrets.randbelow(N - 1)
            blinded = multiply(blind, hash_to_curve(frame(kind, text)))
            groups.setdefault(domain, []).append((role, blind, blinded))
        batches = [
            self.named(domain) | {"blinded": [b64(encode(point)) for *_, point in group]}
            for domain, group in groups.items()
        ]
        body = {"reporterId": reporter_id, "batches": batches}
        answer = await self.call("POST", f"{self.keyholder}/v1/evaluations", body)
        tokens: list[Json] = []
        for (domain, group), batch in zip(groups.items(), answer.body["batches"], strict=True):
            key, proof = unb64(self.keys[domain]["publicKey"]), unb64(batch["proof"])
            points = [decode(unb64(element)) for element in batch["evaluated"]]
            if not proof_holds(key, [point for *_, point in group], points, proof):
                raise ProofError
            for (role, blind, _), point in zip(group, points, strict=True):
                element = b64(encode(multiply(pow(blind, -1, N), point)))
                tokens.append({"role": role, "element": element} | self.named(domain))
        return tokens, answer.body["permit"]

    def named(self, domain: str) -> Json:
        return {member: self.keys[domain][member] for member in ("domain", "epoch")}

    async def signal_body(self, reporter_id: str, reference: str, values: Sequence[Value]) -> Json:
        """Prepare a signal, of which the first value is the child and the others the household."""
        (child, *household), permit = await self.evaluate(reporter_id, values)
        child["kind"] = child.pop("role")
        signal = {"reporterId": reporter_id, "reference": reference, "permit": permit}
        return signal | {"child": child, "household": household}

    async def register(self, body: Json, key: str) -> Answer:
        return await self.call("POST", "/v1/signals", body, key)

    async def put_reporter(self, reporter_id: str, details: Json) -> Answer:
        return await self.call("PUT", f"/v1/reporters/{reporter_id}", details)

    async def withdraw(self, signal_id: str, ground: str) -> Answer:
        return await self.call("POST", f"/v1/signals/{signal_id}/withdrawal", {"ground": ground})

    async def read(self, resource: str, identifier: str) -> Json:
        """Read one of the own signals by its id, or one of the own matches by its number."""
        return (await self.call("GET", f"/v1/{resource}/{identifier}")).body

    async def listed(self, resource: str, reporter_id: str, limit: int = 50) -> list[Json]:
        """Read a reporter's signals or matches to the end of the list."""
        items: list[Json] = []
        query: Json | None = {"reporterId": reporter_id, "limit": limit}
        while query is not None:
            page = (await self.call("GET", f"/v1/{resource}?{urlencode(query)}")).body
            items += page["items"]
            query = query | {"cursor": page["nextCursor"]} if page["nextCursor"] else None
        return items
