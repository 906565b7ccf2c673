"""The contract (architecture, 3) as a stranger reads it, against a running `vin up`."""

import asyncio
import email
import email.policy
import hashlib
import html
import json
import re
import secrets
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Protocol, TypeVar
from urllib.parse import urljoin
from zoneinfo import ZoneInfo

import pytest
from aiohttp import ClientSession

from tests.contract.contract_client import (
    Answer,
    ContractClient,
    G,
    Json,
    N,
    RefusedError,
    Value,
    b64,
    bsn,
    decode,
    encode,
    frame,
    hash_to_curve,
    lp,
    multiply,
    proof_holds,
    unb64,
)

RFC_9497 = Path(__file__).parents[1] / "data" / "rfc9497-p256-sha256.json"
RFC_9380_DST = b"QUUX-V01-CS02-with-P256_XMD:SHA-256_SSWU_RO_"

INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
NUMBER = re.compile(r"M-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z]{4}-[0-9A-HJKMNP-TV-Z*~$=U]")
MESSAGE_ID = re.compile(r"<[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}@[^@>]+>")
SIGNAL = {"id", "reporterId", "reference", "status", "registeredAt", "removeOn"}
KEY = {"domain", "epoch", "suite", "publicKey", "notBefore", "notAfter"}
PROBLEM = {"type", "title", "status", "detail", "instance"}

T = TypeVar("T")


class RunningVin(Protocol):
    """What the fixture `up` gives: a running `vin up` with its parsed `ready.json`."""

    @property
    def ready(self) -> Json: ...


# --- the cryptography, offline ---


@pytest.fixture(scope="module")
def mode_1() -> Json:
    modes: list[Json] = json.loads(RFC_9497.read_text())
    return next(mode for mode in modes if mode["mode"] == 1)


def unhex(vector: Json, name: str) -> list[bytes]:
    """Read a member of a vector, which lists a batch between commas."""
    return [bytes.fromhex(part) for part in vector[name].split(",")]


def test_hash_to_curve_gives_the_point_of_rfc_9380() -> None:
    assert hash_to_curve(b"", RFC_9380_DST) == (
        0x2C15230B26DBC6FC9A37051158C95B79656E17A1A920B11394CA91C44247D3E4,
        0x8A7A74985CC5C776CDFE4B1F19884970453912E9D31528C060BE9AB5C43E8415,
    )


def test_the_hash_label_is_that_of_mode_1(mode_1: Json) -> None:
    label = bytes.fromhex(mode_1["groupDST"])
    assert hash_to_curve(b"any", label) == hash_to_curve(b"any")


def test_blinding_gives_the_elements_of_rfc_9497(mode_1: Json) -> None:
    for vector in mode_1["vectors"]:
        members = (unhex(vector, name) for name in ("Input", "Blind", "BlindedElement"))
        for value, blind, blinded in zip(*members, strict=True):
            scalar = int.from_bytes(blind, "big")
            assert encode(multiply(scalar, hash_to_curve(value))) == blinded


def test_unblinding_gives_the_outputs_of_rfc_9497(mode_1: Json) -> None:
    for vector in mode_1["vectors"]:
        members = (unhex(vector, name) for name in ("Input", "Blind", "EvaluationElement"))
        for place, (value, blind, evaluated) in enumerate(zip(*members, strict=True)):
            inverse = pow(int.from_bytes(blind, "big"), -1, N)
            element = encode(multiply(inverse, decode(evaluated)))
            finalized = hashlib.sha256(lp(value) + lp(element) + b"Finalize").digest()
            assert finalized == unhex(vector, "Output")[place]


def test_the_proofs_of_rfc_9497_hold_and_no_others_do(mode_1: Json) -> None:
    key = bytes.fromhex(mode_1["pkSm"])
    for vector in mode_1["vectors"]:
        blinded = [decode(element) for element in unhex(vector, "BlindedElement")]
        evaluated = [decode(element) for element in unhex(vector, "EvaluationElement")]
        proof = bytes.fromhex(vector["Proof"]["proof"])
        assert proof_holds(key, blinded, evaluated, proof)
        assert not proof_holds(key, evaluated, blinded, proof)
        assert not proof_holds(encode(G), blinded, evaluated, proof)
        assert not proof_holds(key, blinded, evaluated, proof[:-1] + bytes([proof[-1] ^ 1]))
        assert not proof_holds(key, blinded, evaluated, proof[:-1])
        assert not proof_holds(key, blinded[::-1], [G] * len(evaluated), proof)


@pytest.mark.parametrize(
    ("kind", "text", "framed"),
    [
        ("nl.bsn", "999900006", b"VIN-v1\0\x06nl.bsn\0\x09999900006"),
        ("nl.address", "1811AB|12|A|BIS", b"VIN-v1\0\x0anl.address\0\x0f1811AB|12|A|BIS"),
        ("nl.address", "1811AB|12||", b"VIN-v1\0\x0anl.address\0\x0b1811AB|12||"),
        (
            "nl.demographic",
            "BERG|2019-03-01|F",
            b"VIN-v1\0\x0enl.demographic\0\x11BERG|2019-03-01|F",
        ),
        ("nl.test", "42", b"VIN-v1\0\x07nl.test\0\x0242"),
    ],
)
def test_a_frame_is_the_label_and_two_prefixed_parts(kind: str, text: str, framed: bytes) -> None:
    assert frame(kind, text) == framed


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("nl.bsn", "99990000\u0666"),
        ("nl.address", "1811 AB|12|A|BIS"),
        ("nl.address", "1811AB|012|A|BIS"),
        ("nl.address", "1811AB|12|A|-BIS"),
        ("nl.demographic", "van den Berg|2019-03-01|F"),
        ("nl.demographic", "BERG|2019-03-01|V"),
    ],
)
def test_a_value_that_is_not_normalised_gets_no_frame(kind: str, text: str) -> None:
    with pytest.raises(ValueError, match=kind):
        frame(kind, text)


def test_a_bsn_is_nine_digits_that_pass_the_test() -> None:
    assert bsn(" 9999.00.006 ") == "999900006"
    for wrong in ("999900007", "000000000", "99990006", "9999000060", "9999o0006", ""):
        with pytest.raises(ValueError, match="0-9"):
            bsn(wrong)


# --- the people in the live tests ---


def some_bsns(count: int) -> list[str]:
    """Draw numbers that were never issued, unlike those of any other test."""
    numbers: set[str] = set()
    while len(numbers) < count:
        with suppress(ValueError):
            numbers.add(bsn(f"9999{secrets.randbelow(10**5):05}"))
    return list(numbers)


@dataclass(eq=False)
class Party:
    """A professional of one organisation, its client and the signal that it registered."""

    client: ContractClient
    reporter_id: str
    reference: str
    details: Json
    body: Json = field(default_factory=dict)
    signal: Json = field(default_factory=dict)
    key: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def contact(self) -> Json:
        """Give the contact data that the other side of a match is to see."""
        shown = ("name", "function", "email", "phone")
        known = {name: self.details[name] for name in shown}
        organisation = self.client.entry["organisation"]
        return known | {"organisation": organisation, "reachable": self.details.get("reachable")}

    async def registers(self, *values: Value, **dates: str) -> None:
        """Register a signal; whoever else is involved, the answer tells of itself alone."""
        prepared = await self.client.signal_body(self.reporter_id, self.reference, values)
        self.body = prepared | dates
        answer = await self.client.register(self.body, self.key)
        self.signal = answer.body
        assert answer.status == 201
        assert_signal(self, answer)


async def designated(session: ClientSession, ready: Json, place: int, run: str) -> Party:
    """Designate a professional at one of the clients of `ready.json`, twice."""
    name, function = (
        ("Reporter 1", "jeugdarts"),
        ("Reporter O'2 <b>&", "gezinscoach"),
        ("Reporter 3", "wijkagent"),
        ("Reporter 4", "leerplichtambtenaar"),
    )[place]
    entry = ready["clients"][place]
    client = await ContractClient.connect(session, entry, ready["api"], ready["keyholder"])
    details = {
        "name": name,
        "function": function,
        "email": f"reporter{place}.{run}@contract.test",
        "phone": f"+31 (0)6-1234567{place}",
        "unit": entry["unit"],
    }
    details |= (
        {"reachable": "ma-do 9-17 uur", "registrationNumber": f"R{run}-{place}"}
        if place < 2
        else {}
    )
    party = Party(client, f"p-{run}", f"D-{run}.{place}/x", details)
    first = await client.put_reporter(party.reporter_id, details)
    again = await client.put_reporter(party.reporter_id, details)
    assert (first.status, again.status) == (201, 200)
    return party


# --- what the tests check, each from a sentence of the contract ---


def assert_headers(headers: Mapping[str, str]) -> None:
    assert headers["API-Version"]
    assert headers["Content-Security-Policy"]
    assert headers["Strict-Transport-Security"]
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["X-Frame-Options"] == "DENY"


async def refused(status: int, call: Awaitable[object]) -> Json:
    """Expect a problem and give its body."""
    with pytest.raises(RefusedError) as refusal:
        await call
    answer: Answer = refusal.value.args[0]
    assert (answer.status, answer.body["status"]) == (status, status), answer
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert answer.body.keys() >= PROBLEM
    assert_headers(answer.headers)
    return answer.body


async def invalid(name: str, call: Awaitable[object]) -> None:
    """Expect 400 with this one fault."""
    [fault] = (await refused(400, call))["invalidParams"]
    assert fault.keys() == {"name", "code", "reason"}
    assert fault["name"] == name


async def eventually(probe: Callable[[], Awaitable[T | None]], seconds: float = 10) -> T:
    """Ask until the answer is something, ten seconds at most."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = await probe()
        if found:
            return found
        await asyncio.sleep(0.1)
    pytest.fail(f"nothing within {seconds} seconds")


def local_day(instant: str) -> date:
    return datetime.fromisoformat(instant).astimezone(ZoneInfo("Europe/Amsterdam")).date()


def two_years_after(day: date) -> date:
    last = 28 if day.month == 2 else 31
    return day.replace(year=day.year + 2, day=min(day.day, last))


def assert_signal(party: Party, answer: Answer) -> None:
    signal = answer.body
    assert signal.keys() == SIGNAL
    assert signal["reporterId"] == party.reporter_id
    assert signal["reference"] == party.reference
    assert signal["status"] == "live"
    assert str(uuid.UUID(signal["id"])) == signal["id"]
    assert INSTANT.fullmatch(signal["registeredAt"])
    signals = f"{party.client.api}/v1/signals"
    assert urljoin(signals, answer.headers["Location"]) == f"{signals}/{signal['id']}"
    assert_headers(answer.headers)


async def assert_processed(party: Party) -> None:
    """Expect `processedAt` in the own signal, and the signal in the own list."""

    async def processed() -> Json | None:
        signal = await party.client.read("signals", party.signal["id"])
        return signal if signal.get("processedAt") else None

    signal = await eventually(processed)
    assert signal == party.signal | {"processedAt": signal["processedAt"]}
    assert INSTANT.fullmatch(signal["processedAt"])
    [listed] = await party.client.listed("signals", party.reporter_id)
    assert listed.items() >= party.signal.items()


async def assert_registered_once(party: Party, child: Value) -> None:
    """Expect retries to answer alike, and a second registration to find the first."""
    client, key = party.client, str(uuid.uuid4())
    retry = await client.register(party.body, party.key)
    assert (retry.status, retry.body) == (201, party.signal)
    assert retry.headers["Location"].endswith(party.signal["id"])
    await refused(409, client.register(party.body | {"reference": "other"}, party.key))
    spent = await refused(403, client.register(party.body, key))
    assert "permit-spent" in spent["type"]
    again = await client.signal_body(party.reporter_id, "other", [child])
    for _ in range(2):
        answer = await client.register(again, key)
        assert (answer.status, answer.body) == (200, party.signal)


async def assert_own_alone(owner: Party, other: Party) -> None:
    """Expect what belongs to another organisation not to exist."""
    theirs = owner.signal["id"]
    await refused(404, other.client.read("signals", theirs))
    await refused(404, other.client.withdraw(theirs, "riskGone"))


async def withdraws(party: Party, ground: str) -> None:
    answer = await party.client.withdraw(party.signal["id"], ground)
    assert answer.status == 200
    assert answer.body["id"] == party.signal["id"]
    assert answer.body["status"] != "live"


async def matches_of(party: Party, expected: Mapping[Party, str]) -> dict[Party, Json]:
    """Expect one match of the named kind with each other party, and nothing else."""

    async def all_there() -> list[Json] | None:
        items = await party.client.listed("matches", party.reporter_id)
        return items if len(items) >= len(expected) else None

    items = await eventually(all_there)
    by_address = {item["contact"]["email"]: item for item in items}
    found = {other: by_address.pop(other.details["email"]) for other in expected}
    assert not by_address
    for other, item in found.items():
        assert NUMBER.fullmatch(item["number"])
        assert INSTANT.fullmatch(item["matchedAt"])
        assert item == {
            "number": item["number"],
            "kind": expected[other],
            "signalId": party.signal["id"],
            "reference": party.reference,
            "matchedAt": item["matchedAt"],
            "status": "open",
            "contact": other.contact,
            "outcomes": {"own": None, "other": None},
        }
        assert await party.client.read("matches", item["number"]) == item
    return found


async def assert_pages(party: Party) -> None:
    """Expect pages of one to add up to the whole list, and bad paging to be refused."""
    client, path = party.client, f"/v1/matches?reporterId={party.reporter_id}"
    whole = (await client.call("GET", path)).body
    assert whole.keys() == {"items", "nextCursor"}
    assert whole["nextCursor"] is None
    page = (await client.call("GET", f"{path}&limit=1")).body
    assert page["items"] == whole["items"][:1]
    assert isinstance(page["nextCursor"], str)
    assert await client.listed("matches", party.reporter_id, limit=1) == whole["items"]
    for limit in ("0", "201", "many"):
        await invalid("limit", client.call("GET", f"{path}&limit={limit}"))
    await invalid("cursor", client.call("GET", f"{path}&cursor=nonsense"))


async def assert_ended(status: str, found: Mapping[Party, Mapping[Party, Json]]) -> None:
    """Expect matches to differ from before in status and contact alone."""
    for party, items in found.items():
        for before in items.values():
            after = await party.client.read("matches", before["number"])
            assert after == before | {"status": status, "contact": None}


# --- mail ---


def mails_to(folder: Path, recipient: str) -> list[EmailMessage]:
    raw = (file.read_bytes() for file in folder.glob("*.eml"))
    mails = [email.message_from_bytes(data, policy=email.policy.default) for data in raw]
    return [mail for mail in mails if mail["To"] == recipient]


def matches_in(mails: list[EmailMessage]) -> list[str]:
    return [str(number) for mail in mails for number in mail.get_all("X-VIN-Match", [])]


def content_of(mail: EmailMessage) -> tuple[str, str]:
    """Read both versions of a mail as its reader sees them."""
    text, page = mail.get_body(("plain",)), mail.get_body(("html",))
    assert mail.get_content_maintype() == "multipart"
    assert text is not None
    assert page is not None
    return str(text.get_content()), html.unescape(str(page.get_content()))


async def assert_mails(folder: Path, party: Party, found: Mapping[Party, Json]) -> None:
    """Expect every match in one of the mails to a professional, and in no more than one."""
    numbers = sorted(item["number"] for item in found.values())

    async def all_there() -> list[EmailMessage] | None:
        mails = await asyncio.to_thread(mails_to, folder, party.details["email"])
        return mails if len(matches_in(mails)) >= len(numbers) else None

    mails = await eventually(all_there, seconds=30)
    assert sorted(matches_in(mails)) == numbers
    assert len({mail["Message-ID"] for mail in mails}) == len(mails)
    assert len({mail["Subject"] for mail in mails}) == 1
    for mail in mails:
        assert_mail_headers(mail, [*numbers, party.reference])
    for other, item in found.items():
        [mail] = [mail for mail in mails if item["number"] in matches_in([mail])]
        assert_content(mail, party, other, item["number"])


def assert_mail_headers(mail: EmailMessage, untold: list[str]) -> None:
    assert MESSAGE_ID.fullmatch(mail["Message-ID"])
    assert mail["Auto-Submitted"] == "auto-generated"
    assert [word for word in untold if word in mail["Subject"]] == []


def assert_content(mail: EmailMessage, party: Party, other: Party, number: str) -> None:
    """Expect the own reference and the other's contact data, and nothing of its file."""
    contact = [value for value in other.contact.values() if value is not None]
    hidden = [other.reference, *filter(None, [other.details.get("registrationNumber")])]
    for content in content_of(mail):
        assert party.reference in content
        flat = " ".join(content.split())
        assert [value for value in (number, *contact) if value not in flat] == []
        assert [value for value in hidden if value in flat] == []
        assert not re.search(r"\b9999\d{5}\b", flat)


# --- the live tests ---


async def family(session: ClientSession, ready: Json) -> tuple[Party, Party, Party, Value]:
    """Register a child twice and a sibling with the same mother once, each elsewhere."""
    run = secrets.token_hex(4)
    first, sibling, mother, father = some_bsns(4)
    child, parent = ("bsn", first), ("parent", mother)
    home = ("address", f"1811AB|{1 + secrets.randbelow(10**4)}||{run.upper()}")
    doctor, coach, officer = [await designated(session, ready, place, run) for place in range(3)]

    await doctor.registers(child, parent, home)
    last_day = two_years_after(local_day(doctor.signal["registeredAt"]))
    assert doctor.signal["removeOn"] == str(last_day)
    sooner = str(last_day - timedelta(days=365))
    await coach.registers(child, parent, removeOn=sooner, destroyBy=str(last_day))
    assert coach.signal["removeOn"] == sooner
    await officer.registers(("bsn", sibling), parent, ("parent", father))
    return doctor, coach, officer, child


async def test_a_client_written_from_the_contract_alone_registers_and_gets_its_matches(
    up: RunningVin,
) -> None:
    async with ClientSession() as session:
        doctor, coach, officer, child = await family(session, up.ready)
        for party in (doctor, coach, officer):
            await assert_processed(party)
        doctor_matches = await matches_of(doctor, {coach: "child", officer: "household"})
        coach_matches = await matches_of(coach, {doctor: "child", officer: "household"})
        officer_matches = await matches_of(officer, {doctor: "household", coach: "household"})
        assert doctor_matches[coach]["number"] == coach_matches[doctor]["number"]
        assert doctor_matches[officer]["number"] == officer_matches[doctor]["number"]
        assert coach_matches[officer]["number"] == officer_matches[coach]["number"]

        await assert_pages(doctor)
        await assert_registered_once(doctor, child)
        await assert_own_alone(doctor, coach)
        await refused(404, officer.client.read("matches", doctor_matches[coach]["number"]))
        for party, found in (
            (doctor, doctor_matches),
            (coach, coach_matches),
            (officer, officer_matches),
        ):
            await assert_mails(Path(up.ready["mailDir"]), party, found)

        await withdraws(doctor, "riskGone")
        closed = {
            doctor: doctor_matches,
            coach: {doctor: coach_matches[doctor]},
            officer: {doctor: officer_matches[doctor]},
        }
        await assert_ended("closed", closed)
        assert (
            await coach.client.read("matches", coach_matches[officer]["number"])
            == coach_matches[officer]
        )
        await withdraws(coach, "unjustified")
        await assert_ended(
            "void",
            {coach: {officer: coach_matches[officer]}, officer: {coach: officer_matches[coach]}},
        )


async def test_a_child_without_bsn_is_registered_on_demographic_values(up: RunningVin) -> None:
    run = secrets.token_hex(4)
    letters = run.translate(str.maketrans("0123456789", "GHIJKLMNOP")).upper()
    async with ClientSession() as session:
        clerk = await designated(session, up.ready, 3, run)
        await clerk.registers(("demographic", f"{letters}|2019-03-01|X"))
        await assert_processed(clerk)


async def test_a_refused_signal_leaves_its_permit_unspent(up: RunningVin) -> None:
    [child] = some_bsns(1)
    async with ClientSession() as session:
        clerk = await designated(session, up.ready, 3, secrets.token_hex(4))
        client, colleague = clerk.client, f"p-{secrets.token_hex(4)}"
        unknown = await client.signal_body(colleague, "D-1", [("bsn", child)])
        await invalid("reporterId", client.register(unknown, str(uuid.uuid4())))
        body = await client.signal_body(clerk.reporter_id, "D-1", [("bsn", child)])
        await invalid("colour", client.register(body | {"colour": "red"}, str(uuid.uuid4())))
        await client.put_reporter(colleague, clerk.details)
        lent = body | {"reporterId": colleague}
        await refused(403, client.register(lent, str(uuid.uuid4())))
        assert (await client.register(body, str(uuid.uuid4()))).status == 201


async def test_the_key_holder_publishes_one_key_per_domain(up: RunningVin) -> None:
    async with ClientSession() as session, session.get(f"{up.ready['keyholder']}/v1/keys") as keys:
        assert_headers(keys.headers)
        body = await keys.json()
    assert body.keys() == {"keys"}
    domains = [key["domain"] for key in body["keys"]]
    regions = {domain.rpartition("/")[0] for domain in domains}
    assert len(set(domains)) == len(domains)
    for region in regions:
        assert {f"{region}/{name}" for name in ("child", "parent", "address", "weak")} <= {*domains}
    for key in body["keys"]:
        assert key.keys() == KEY
        assert key["suite"] == "P256-SHA256"
        assert encode(decode(unb64(key["publicKey"]))) == unb64(key["publicKey"])
        assert INSTANT.fullmatch(key["notBefore"])
        assert INSTANT.fullmatch(key["notAfter"])


async def test_the_key_holder_evaluates_counts_and_refuses(up: RunningVin) -> None:
    async with ClientSession() as session:
        ready = up.ready
        entry, api, keyholder = ready["clients"][3], ready["api"], ready["keyholder"]
        client = await ContractClient.connect(session, entry, api, keyholder)
        url, reporter = f"{keyholder}/v1/evaluations", f"p-{secrets.token_hex(4)}"

        def asked(**changes: object) -> Json:
            batch = client.named("child") | {"blinded": [b64(encode(G))]} | changes
            return {"reporterId": reporter, "batches": [batch]}

        answers = [await client.call("POST", url, asked()) for _ in range(2)]
        await refused(400, client.call("POST", url, asked(blinded=[b64(b"\2" + b"\xff" * 32)])))
        epoch, domain = client.keys["child"]["epoch"], client.keys["child"]["domain"]
        wrong = await refused(409, client.call("POST", url, asked(epoch=epoch + 1)))
        assert wrong["currentEpochs"] == {domain: epoch}
        answers.append(await client.call("POST", url, asked()))

    left = [answer.body["quotaLeft"] for answer in answers]
    assert left == [left[0], left[0] - 1, left[0] - 2]
    for answer in answers:
        assert_headers(answer.headers)
        assert answer.body.keys() == {"batches", "permit", "quotaLeft"}
        [batch] = answer.body["batches"]
        assert batch.keys() == {"domain", "epoch", "evaluated", "proof"}
        assert len(unb64(batch["proof"])) == 64
