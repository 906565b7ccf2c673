"""The talk with the mail server that takes our mail, and the carrier of one mail."""

import re
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeAlias
from uuid import UUID

from aiosmtplib import SMTP, SMTPDataError, SMTPException, SMTPResponseException

from notify.attempts import Claim
from notify.bounce import DEAD_ADDRESS, STATUS, ReturnPath
from notify.carrier import UndeliveredError
from notify.letters import Letter
from notify.render import domain_of, render
from notify.retry import Outcome, Result
from schemas.database import Db

if TYPE_CHECKING:
    from asyncpg import Pool, Record

COMMAND_SECONDS = 30
DATA_SECONDS = 120
QUIT_SECONDS = 1
REPORTS = "SUCCESS,FAILURE,DELAY"
ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+")


class Composer(Protocol):
    """Turns a notice into what it says; wiring gives one, since it opens contact data."""

    async def recipient(self, db: Db, notice: UUID) -> str | None:
        """The address that the notice goes to now; None when there is nothing to send.

        UndeliveredError while there is nobody to send it to.
        """
        ...

    async def compose(self, db: Db, notice: UUID) -> Letter | None:
        """Check both sides of each match again, and write the letter; None when none is left.

        Runs in the transaction that notes DATA: what it checked must hold until that ends.
        """
        ...


# Signs a mail's content and encrypts it for a certificate (DER); both begin with their headers.
Seal: TypeAlias = Callable[[bytes, bytes], bytes]
# Notes that there is no such mailbox as a notice was to go to; how the attempt ends then.
Bury: TypeAlias = Callable[[Db, UUID, str], Awaitable[Result]]


class DeadAddressError(UndeliveredError):
    """The other server knows no such mailbox."""


@cache
def _tls(*, verified: bool) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """The mail server that takes our mail, and the address that it comes from.

    Where TLS is not required it is used when offered, against listeners only: then no
    certificate is asked for (RFC 7435).
    """

    host: str
    port: int
    sender: str
    tls_required: bool


@dataclass(frozen=True, slots=True)
class Envelope:
    """What the servers on the way read of a mail; reports on it, if asked for, bear its `id`."""

    sender: str
    recipient: str
    id: str | None = None


class Conversation:
    """One SMTP session for one mail; every failure in it is an `UndeliveredError`."""

    def __init__(self, route: Route) -> None:
        self._smtp = SMTP(
            hostname=route.host,
            port=route.port,
            start_tls=True if route.tls_required else None,
            tls_context=_tls(verified=route.tls_required),
            local_hostname=domain_of(route.sender),
            timeout=COMMAND_SECONDS,
        )

    async def introduce(self, envelope: Envelope) -> None:
        """Connect and agree with the server on sender and recipient."""
        if not ADDRESS.fullmatch(envelope.recipient):
            raise UndeliveredError(Outcome(Result.REFUSED))
        await self._connect()
        sending, receiving = self._options(envelope)
        try:
            await self._smtp.mail(envelope.sender, options=sending)
            await self._smtp.rcpt(envelope.recipient, options=receiving)
        except SMTPResponseException as error:
            raise _replied(error, Result.UNREACHABLE) from None
        except (SMTPException, OSError):
            raise UndeliveredError(Outcome(Result.UNREACHABLE)) from None

    def _options(self, envelope: Envelope) -> tuple[list[str], list[str]]:
        """Ask for reports where the server can give them (RFC 3461)."""
        if envelope.id is None or not self._smtp.supports_extension("dsn"):
            return [], []
        original = re.sub("[+=]", lambda found: f"+{ord(found[0]):02X}", envelope.recipient)
        return (
            ["RET=HDRS", f"ENVID={envelope.id}"],
            [f"NOTIFY={REPORTS}", f"ORCPT=rfc822;{original}"],
        )

    async def _connect(self) -> None:
        """Who is turned away here, even for good, tries again: nobody was named yet."""
        try:
            await self._smtp.connect()
            if self._smtp.is_ehlo_or_helo_needed:
                await self._smtp.ehlo()
        except SMTPResponseException as error:
            raise UndeliveredError(Outcome(Result.UNREACHABLE, error.code)) from None
        except (SMTPException, OSError):
            raise UndeliveredError(Outcome(Result.UNREACHABLE)) from None

    async def hand_over(self, message: bytes) -> Outcome:
        """Send the mail itself; without a clear answer it may have arrived."""
        try:
            reply = await self._smtp.data(message, timeout=DATA_SECONDS)
        except SMTPDataError as error:
            raise _replied(error, Result.UNANSWERED) from None
        except (SMTPException, OSError):
            raise UndeliveredError(Outcome(Result.UNANSWERED)) from None
        return Outcome(Result.SENT, reply.code)

    async def leave(self) -> None:
        """End the session, with a word if the server still listens."""
        with suppress(SMTPException, OSError):
            if self._smtp.is_connected:
                await self._smtp.quit(timeout=QUIT_SECONDS)
        self._smtp.close()


def _replied(error: SMTPResponseException, otherwise: Result) -> UndeliveredError:
    """Read a reply that is not the hoped-for one (RFC 5321, 4.2.1; RFC 2034)."""
    by_class = {4: Result.DEFERRED, 5: Result.REFUSED}
    outcome = Outcome(by_class.get(error.code // 100, otherwise), error.code)
    status = STATUS.match(error.message)
    if outcome.result is Result.REFUSED and status and status[0] in DEAD_ADDRESS:
        return DeadAddressError(outcome)
    return UndeliveredError(outcome)


@dataclass(frozen=True, slots=True)
class MailDesk:
    """What the mails of a process have in common.

    Without `returns` nothing is heard of a mail that comes back; without `seal` what is to be
    sealed waits.
    """

    pool: "Pool[Record]"
    composer: Composer
    route: Route
    returns: ReturnPath | None = None
    bury: Bury | None = None
    seal: Seal | None = None

    def carrier(self, held: Claim) -> "MailCarrier":
        return MailCarrier(self, held)


class MailCarrier:
    """Carries the mail of one notice (`notify.carrier`)."""

    def __init__(self, desk: MailDesk, held: Claim) -> None:
        self._desk = desk
        self._held = held
        self._talk = Conversation(desk.route)
        self._recipient = ""

    async def introduce(self) -> None:
        async with self._desk.pool.acquire() as db:
            recipient = await self._desk.composer.recipient(db, self._held.notice_id)
        if recipient is None:
            raise UndeliveredError(Outcome(Result.SUPPRESSED))
        self._recipient = recipient
        try:
            await self._talk.introduce(self._envelope())
        except DeadAddressError as error:
            raise UndeliveredError(await self._bury(error.outcome)) from None

    def _envelope(self) -> Envelope:
        """Where it is heard of, each attempt has a return address of its own (VERP)."""
        returns, held = self._desk.returns, self._held
        if returns is None:
            return Envelope(self._desk.route.sender, self._recipient)
        sender = returns.address(held.delivery_id, held.attempt, self._recipient)
        return Envelope(sender, self._recipient, f"{held.delivery_id}.{held.attempt}")

    async def compose(self, db: Db) -> bytes:
        """A withdrawal that was committed before it wins; one after is too late for this mail."""
        letter = await self._desk.composer.compose(db, self._held.notice_id)
        if letter is None:
            raise UndeliveredError(Outcome(Result.SUPPRESSED))
        if letter.recipient != self._recipient:
            raise UndeliveredError(Outcome(Result.RELEASED))
        return self._written(letter)

    def _written(self, letter: Letter) -> bytes:
        """What is to be sealed never goes in clear: it waits for the key."""
        sender, at = self._desk.route.sender, self._held.created_at
        written = render(letter, self._held.delivery_id, sender, at)
        if letter.mode != "smime":
            return written.as_bytes()
        if self._desk.seal is None or letter.certificate is None:
            raise UndeliveredError(Outcome(Result.NOBODY))
        return written.headers + self._desk.seal(written.content, letter.certificate)

    async def hand_over(self, message: bytes) -> Outcome:
        try:
            return await self._talk.hand_over(message)
        except DeadAddressError as error:
            raise UndeliveredError(await self._bury(error.outcome)) from None

    async def _bury(self, outcome: Outcome) -> Outcome:
        """W3: the next in line is tried, if the dead mailbox was still somebody's."""
        if self._desk.bury is None:
            return outcome
        async with self._desk.pool.acquire() as db, db.transaction():
            result = await self._desk.bury(db, self._held.notice_id, self._recipient)
        return replace(outcome, result=result)

    async def leave(self) -> None:
        await self._talk.leave()
