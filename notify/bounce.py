"""Mail that comes back: the address that it comes back to, and what a report says (RFC 3464)."""

import re
from base64 import b32decode, b32encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import BytesHeaderParser, HeaderParser
from enum import StrEnum
from hmac import compare_digest
from typing import Final, TypeAlias
from uuid import UUID

MARK_BYTES: Final = 5
TAG_BYTES: Final = 10
# A report has three parts, and ours is on one recipient; what is far beyond that is none.
HEAD_BYTES: Final = 32 * 1024
PARTS: Final = 10
RECIPIENTS: Final = 100
LOCAL_PART = re.compile(r"b\+([0-9a-f]{32})\.([1-9][0-9]{0,3})\.([a-z2-7]{24})")
STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}")
REPORTED = {"message/delivery-status", "message/global-delivery-status"}
# RFC 3463, RFC 7505: there is no such mailbox or domain, it moved, or it was closed. Others of
# the class speak of the sender, of a full mailbox or of a policy, which may pass.
DEAD_ADDRESS = {"5.1.1", "5.1.2", "5.1.3", "5.1.6", "5.1.10", "5.2.1", "5.4.4"}

# Makes at least ten bytes of a purpose and data; only who has the key can.
Sign: TypeAlias = Callable[[str, bytes], bytes]


class Action(StrEnum):
    """What became of a mail, as far as a report tells."""

    DELAYED = "delayed"
    DELIVERED = "delivered"
    FAILED = "failed"


# The next server that was told to report and will not (`relayed`) has taken the mail as well.
ACTIONS = {
    "delayed": Action.DELAYED,
    "delivered": Action.DELIVERED,
    "expanded": Action.DELIVERED,
    "relayed": Action.DELIVERED,
    "failed": Action.FAILED,
}


@dataclass(frozen=True, slots=True)
class Report:
    """Nothing of a report's text: what happened, and the status code of it."""

    action: Action
    status: str | None = None

    @property
    def is_dead_address(self) -> bool:
        return self.action is Action.FAILED and self.status in DEAD_ADDRESS


@dataclass(frozen=True, slots=True)
class Returned:
    """The attempt that an address belongs to; `mark` knows again whom the mail was for."""

    delivery: UUID
    attempt: int
    mark: bytes


class ReturnPath:
    """Makes the address that an attempt's mail comes back to, which nobody else can make."""

    def __init__(self, domain: str, sign: Sign) -> None:
        self._domain = domain
        self._sign = sign

    def address(self, delivery: UUID, attempt: int, recipient: str) -> str:
        """At most 64 characters before the @ (RFC 5321, 4.5.3.1.1)."""
        mark = self._mark(delivery, recipient)
        seal = b32encode(mark + self._tag(delivery, attempt, mark)).decode().lower()
        return f"b+{delivery.hex}.{attempt}.{seal}@{self._domain}"

    def read(self, address: str) -> Returned | None:
        """The attempt that an address was made for; None when it is not one of ours."""
        found = LOCAL_PART.fullmatch(address.lower().rpartition("@")[0])
        if not found:
            return None
        delivery, attempt = UUID(hex=found[1]), int(found[2])
        seal = b32decode(found[3].upper())
        mark, tag = seal[:MARK_BYTES], seal[MARK_BYTES:]
        if not compare_digest(tag, self._tag(delivery, attempt, mark)):
            return None
        return Returned(delivery, attempt, mark)

    def was_for(self, returned: Returned, recipient: str) -> bool:
        """Whether the mail that came back was sent to this address."""
        return compare_digest(returned.mark, self._mark(returned.delivery, recipient))

    def _mark(self, delivery: UUID, recipient: str) -> bytes:
        data = delivery.bytes + recipient.lower().encode()
        return self._sign("recipient", data)[:MARK_BYTES]

    def _tag(self, delivery: UUID, attempt: int, mark: bytes) -> bytes:
        data = delivery.bytes + attempt.to_bytes(4) + mark
        return self._sign("return-path", data)[:TAG_BYTES]


def read_report(mail: bytes) -> Report | None:
    """What a delivery status notification says; None for any other mail, or a broken one.

    Reads the outer parts only, in one go: nested ones could keep a parser busy.
    """
    head, body = _split(mail)
    if head.get_content_type() != "multipart/report":
        return None
    boundary = head.get_boundary()
    if not boundary or not boundary.isascii():
        return None
    recipients: list[Report] = []
    between = rb"(?:^|\r?\n)--" + re.escape(boundary.encode())
    for part in re.split(between, body, maxsplit=PARTS)[1:]:
        inner, content = _split(part.lstrip(b" \t\r\n"))
        if inner.get_content_type() in REPORTED:
            recipients += _recipients(_decoded(inner, content[:HEAD_BYTES]))
    return _of_all(recipients)


def _split(mail: bytes) -> tuple["Message[str, str]", bytes]:
    end = re.search(rb"\r?\n\r?\n", mail[:HEAD_BYTES])
    cut = end.end() if end else 0
    return BytesHeaderParser().parsebytes(mail[:cut]), mail[cut:]


def _decoded(head: "Message[str, str]", content: bytes) -> str:
    part: Message[str, str] = Message()
    part["Content-Transfer-Encoding"] = str(head.get("Content-Transfer-Encoding", "7bit"))
    part.set_payload(content.decode("ascii", "replace"))
    decoded = part.get_payload(decode=True)
    return decoded.decode("ascii", "replace") if isinstance(decoded, bytes) else ""


def _recipients(fields: str) -> Iterator[Report]:
    """The first group of fields is on the mail, each other one on a recipient (RFC 3464, 2.1)."""
    for group in re.split(r"(?:\r?\n){2,}", fields.strip(), maxsplit=RECIPIENTS)[1:]:
        named = HeaderParser().parsestr(group)
        action = re.match(r"[a-z]+", str(named.get("Action", "")).strip().lower())
        status = STATUS.match(str(named.get("Status", "")).strip())
        if action and action[0] in ACTIONS:
            yield Report(ACTIONS[action[0]], status[0] if status else None)


def _of_all(recipients: list[Report]) -> Report | None:
    """Of a mail that was spread over several, that one has it counts."""
    for action in (Action.DELIVERED, Action.FAILED, Action.DELAYED):
        for each in recipients:
            if each.action is action:
                return each
    return None
