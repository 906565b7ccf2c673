"""The talk with the mail server that takes our mail, and the carrier of one mail."""

import asyncio
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Protocol, TypeAlias
from uuid import UUID

from aiosmtplib import SMTP, SMTPException, SMTPResponse, SMTPResponseException

from notify.attempts import Claim
from notify.bounce import DEAD_ADDRESS, STATUS, ReturnPath
from notify.carrier import Answers, UndeliveredError
from notify.letters import Letter
from notify.render import domain_of, render
from notify.retry import Outcome, Result
from notify.turns import Turns
from schemas.database import Db

if TYPE_CHECKING:
    from asyncpg import Pool, Record

COMMAND_SECONDS = 30
DATA_SECONDS = 120
QUIT_SECONDS = 1
IDLE_SECONDS = 3.0
REPLIES = range(200, 600)
MAILS = 100  # in one session, so that relays behind one name get their share
REPORTS = "SUCCESS,FAILURE,DELAY"
ADDRESS = re.compile(r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+@[A-Za-z0-9.-]+")


class Composer(Protocol):
    """Turns a notice into what it says; wiring gives one, since it opens contact data."""

    async def recipients(self, db: Db, notices: Sequence[UUID]) -> Answers[str]:
        """The addresses that notices go to now; None, or absent, is what has nothing to tell."""
        ...

    async def letters(self, db: Db, notices: Sequence[UUID]) -> Answers[Letter]:
        """Check both sides of each match again, and write letters on what is left.

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
    """A session with the mail server, for one mail after another.

    Every failure in it is an `UndeliveredError`; one that left a question open ends it.
    """

    def __init__(self, route: Route) -> None:
        self._smtp = SMTP(
            hostname=route.host,
            port=route.port,
            start_tls=True if route.tls_required else None,
            tls_context=_tls(verified=route.tls_required),
            local_hostname=domain_of(route.sender),
            timeout=COMMAND_SECONDS,
        )
        self._answered = True
        self._half_way = False
        self._handed_over = 0

    async def introduce(self, envelope: Envelope) -> None:
        """Agree with the server on sender and recipient, over a new connection if need be."""
        if not ADDRESS.fullmatch(envelope.recipient):
            raise UndeliveredError(Outcome(Result.REFUSED))
        if not await self._goes_on(envelope):
            await self._connect()
            await self._mail(envelope)
        _, options = self._options(envelope)
        await self._ask(self._smtp.rcpt(envelope.recipient, options=options), Result.UNREACHABLE)

    async def _goes_on(self, envelope: Envelope) -> bool:
        """Whether the server takes another mail; one that has had enough may say so anyhow."""
        if self._smtp.is_connected:
            with suppress(UndeliveredError):
                await self._mail(envelope)
                return True
            self.hang_up()
        return False

    async def _mail(self, envelope: Envelope) -> None:
        """No reply to this is on the recipient, whatever its code says."""
        self._half_way = True
        options, _ = self._options(envelope)
        try:
            await self._ask(self._smtp.mail(envelope.sender, options=options), Result.UNREACHABLE)
        except DeadAddressError as error:
            raise UndeliveredError(error.outcome) from None

    async def _ask(self, step: Awaitable[SMTPResponse], otherwise: Result) -> SMTPResponse:
        """Make a step; `otherwise` is what it means when there is no clear answer."""
        self._answered = False
        try:
            reply = await step
        except SMTPResponseException as error:
            self._answered = error.code in REPLIES
            raise _replied(error, otherwise) from None
        except (SMTPException, OSError):
            raise UndeliveredError(Outcome(otherwise)) from None
        self._answered = True
        return reply

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
        self._answered = False
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
        sending = self._smtp.data(message, timeout=DATA_SECONDS)
        reply = await self._ask(sending, Result.UNANSWERED)
        self._half_way = False
        self._handed_over += 1
        return Outcome(Result.SENT, reply.code)

    async def rest(self) -> bool:
        """Forget the mail that was talked about; whether the session is good for another.

        No answer is owed to us then, so none can be taken for that to a later question.
        """
        if not self._answered or not self._smtp.is_connected or self._handed_over >= MAILS:
            return False
        if not self._half_way:
            return True
        with suppress(UndeliveredError):
            await self._ask(self._smtp.rset(timeout=QUIT_SECONDS), Result.UNREACHABLE)
            return True
        return False

    async def leave(self) -> None:
        """End the session, with a word if the server still listens."""
        with suppress(SMTPException, OSError):
            if self._smtp.is_connected:
                await self._smtp.quit(timeout=QUIT_SECONDS)
        self._smtp.close()

    def hang_up(self) -> None:
        """End the session without waiting for anything."""
        with suppress(SMTPException):
            if self._smtp.protocol is not None:
                self._smtp.protocol.write(b"QUIT\r\n")
        self._smtp.close()


def _replied(error: SMTPResponseException, otherwise: Result) -> UndeliveredError:
    """Read a reply that is not the hoped-for one (RFC 5321, 4.2.1; RFC 2034)."""
    by_class = {4: Result.DEFERRED, 5: Result.REFUSED}
    code = error.code if error.code in REPLIES else None
    outcome = Outcome(by_class.get(error.code // 100, otherwise), code)
    status = STATUS.match(error.message)
    if outcome.result is Result.REFUSED and status and status[0] in DEAD_ADDRESS:
        return DeadAddressError(outcome)
    return UndeliveredError(outcome)


@dataclass(slots=True)
class Question:
    """Where a notice goes."""

    notice: UUID
    answer: str | UndeliveredError | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Draft:
    """What there is to tell, as of the transaction that was opened for it."""

    letter: Letter | UndeliveredError | None = field(repr=False)


@dataclass(slots=True)
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
    busy: "dict[Claim, MailCarrier]" = field(default_factory=dict)
    idle: dict[Conversation, asyncio.TimerHandle] = field(default_factory=dict)
    _questions: "Turns[Question]" = field(init=False)

    def __post_init__(self) -> None:
        self._questions = Turns(self._look_up)

    def carrier(self, held: Claim) -> "MailCarrier":
        return self.busy.setdefault(held, MailCarrier(self, held))

    async def prepare(self, db: Db, claims: Sequence[Claim]) -> None:
        """One look at the database for all letters."""
        letters = await self.composer.letters(db, [held.notice_id for held in claims])
        for held in claims:
            self.busy[held].draft = Draft(letters.get(held.notice_id))

    async def recipient(self, notice: UUID) -> str:
        """Where a notice goes; those who ask at once share a look at the database."""
        question = Question(notice)
        await self._questions.share(question)
        if isinstance(question.answer, str):
            return question.answer
        raise question.answer or UndeliveredError(Outcome(Result.SUPPRESSED))

    async def _look_up(self, questions: Sequence["Question"]) -> None:
        async with self.pool.acquire() as db:
            found = await self.composer.recipients(db, [each.notice for each in questions])
        for each in questions:
            each.answer = found.get(each.notice)

    def session(self) -> Conversation:
        """The session that was used last, or a new one."""
        if not self.idle:
            return Conversation(self.route)
        talk, timer = self.idle.popitem()
        timer.cancel()
        return talk

    def keep(self, talk: Conversation) -> None:
        """Have the session ready for another mail, for a while."""
        loop = asyncio.get_running_loop()
        self.idle[talk] = loop.call_later(IDLE_SECONDS, self._drop, talk)

    def _drop(self, talk: Conversation) -> None:
        del self.idle[talk]
        talk.hang_up()

    def close(self) -> None:
        """End what is kept."""
        while self.idle:
            self.session().hang_up()


class MailCarrier:
    """Carries the mail of one notice (`notify.carrier`)."""

    def __init__(self, desk: MailDesk, held: Claim) -> None:
        self._desk = desk
        self._held = held
        self._talk = desk.session()
        self._recipient = ""
        self.draft: Draft | None = None

    async def introduce(self) -> None:
        self._recipient = await self._desk.recipient(self._held.notice_id)
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
        if self.draft is None:
            await self._desk.prepare(db, [self._held])
        letter = self.draft.letter if self.draft else None
        self.draft = None
        if letter is None or isinstance(letter, UndeliveredError):
            raise letter or UndeliveredError(Outcome(Result.SUPPRESSED))
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
        self._desk.busy.pop(self._held, None)
        if IDLE_SECONDS and await self._talk.rest():
            self._desk.keep(self._talk)
        else:
            await self._talk.leave()
