"""One mail as it is carried: what its envelope tells, and what follows a refusal."""

from collections.abc import Sequence
from dataclasses import replace
from email import message_from_bytes
from email.policy import default
from typing import TYPE_CHECKING
from uuid import UUID

import pytest

from notify.attempts import Claim
from notify.bounce import ReturnPath
from notify.carrier import UndeliveredError
from notify.ledger import Channel
from notify.letters import Letter
from notify.mail import Conversation, Envelope, MailDesk, Route
from notify.retry import Outcome, Result
from schemas.database import Db
from tests.notify.conftest import AT, SENDER, Letters, letter_for
from tests.notify.every_letter import every_letter
from tests.notify.smtp_peer import Peer
from vin.crypto.link import LinkKey

if TYPE_CHECKING:
    from asyncpg import Pool, Record

RETURNS = ReturnPath("bounces.index.test", LinkKey(bytes(32)).sign)
HELD = Claim(UUID(int=1), UUID(int=2), Channel.MAIL, 3, AT)
READER = letter_for(1).recipient


class Undertaker:
    """Says how attempts on dead addresses end, and remembers which those were."""

    def __init__(self, result: Result) -> None:
        self.result = result
        self.buried: list[tuple[UUID, str]] = []

    async def __call__(self, _db: Db, notice: UUID, address: str) -> Result:
        self.buried.append((notice, address))
        return self.result


def desk(pool: "Pool[Record]", peer: Peer, letter: Letter | None = None) -> MailDesk:
    route = Route(host="127.0.0.1", port=peer.port, sender=SENDER, tls_required=False)
    return MailDesk(pool, Letters({HELD.notice_id: letter or letter_for(1)}), route)


async def carried(at: MailDesk) -> Outcome:
    """Carry one mail, and tell how it went."""
    carrier = at.carrier(HELD)
    try:
        await carrier.introduce()
        async with at.pool.acquire() as db, db.transaction():
            message = await carrier.compose(db)
        return await carrier.hand_over(message)
    except UndeliveredError as error:
        return error.outcome
    finally:
        await carrier.leave()


async def test_without_a_domain_for_it_mail_comes_from_the_sender_and_nothing_is_reported(
    pool: "Pool[Record]", peer: Peer
) -> None:
    peer.offers = ["DSN"]

    assert await carried(desk(pool, peer)) == Outcome(Result.SENT, 250)

    assert [(each.sender, each.options) for each in peer.accepted] == [(SENDER, "")]


async def test_each_attempt_has_a_return_address_of_its_own(
    pool: "Pool[Record]", peer: Peer
) -> None:
    await carried(replace(desk(pool, peer), returns=RETURNS))

    (accepted,) = peer.accepted
    returned = RETURNS.read(accepted.sender)
    assert returned
    assert (returned.delivery, returned.attempt) == (HELD.delivery_id, 3)
    assert RETURNS.was_for(returned, READER)
    assert accepted.options == ""
    assert message_from_bytes(accepted.content)["From"] == f"VIN <{SENDER}>"


async def test_a_server_that_can_report_is_asked_to(pool: "Pool[Record]", peer: Peer) -> None:
    """RFC 3461: headers only, all that happens, under a name that we know again."""
    peer.offers = ["DSN"]

    await carried(replace(desk(pool, peer), returns=RETURNS))

    assert [each.options for each in peer.accepted] == [
        f"RET=HDRS ENVID={HELD.delivery_id}.3 NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;{READER}"
    ]


async def test_an_address_with_signs_is_spelled_as_reports_want_it(peer: Peer) -> None:
    peer.offers = ["DSN"]
    talk = Conversation(Route(host="127.0.0.1", port=peer.port, sender=SENDER, tls_required=False))

    await talk.introduce(Envelope(SENDER, "a+b=c@school.test", "1.1"))
    await talk.hand_over(b"Subject: x\r\n\r\n")
    await talk.leave()

    assert "ORCPT=rfc822;a+2Bb+3Dc@school.test" in peer.accepted[0].options
    assert peer.accepted[0].recipient == "a+b=c@school.test"


@pytest.mark.parametrize("moment", ["RCPT", "DATA", "DOT"])
@pytest.mark.parametrize("result", [Result.RELEASED, Result.DEFERRED, Result.REFUSED])
async def test_w3_an_unknown_mailbox_is_buried_and_the_attempt_ends_as_that_says(
    pool: "Pool[Record]", peer: Peer, moment: str, result: Result
) -> None:
    peer.faults[moment].append("550 5.1.1 no such user")
    undertaker = Undertaker(result)

    outcome = await carried(replace(desk(pool, peer), bury=undertaker))

    assert outcome == Outcome(result, 550)
    assert undertaker.buried == [(HELD.notice_id, READER)]


@pytest.mark.parametrize(
    ("moment", "replies"),
    [
        ("MAIL", ["550 5.1.7 bad sender", "550 5.7.1 not from you", "550 5.1.1 unknown sender"]),
        ("RCPT", ["550 no such user", "550 5.7.1 not allowed", "552 5.2.2 full", "554 5.1.8 you"]),
        ("DOT", ["554 5.7.1 spam", "552 5.3.4 too big", "550 5.1.11 odd"]),
    ],
)
async def test_another_refusal_says_nothing_on_the_mailbox(
    pool: "Pool[Record]", peer: Peer, moment: str, replies: Sequence[str]
) -> None:
    undertaker = Undertaker(Result.RELEASED)

    for reply in replies:
        peer.faults[moment].append(reply)
        outcome = await carried(replace(desk(pool, peer), bury=undertaker))
        assert outcome == Outcome(Result.REFUSED, int(reply[:3]))

    assert undertaker.buried == []


async def test_a_mailbox_that_is_unknown_for_now_is_tried_again(
    pool: "Pool[Record]", peer: Peer
) -> None:
    peer.faults["RCPT"].append("450 4.1.1 try later")
    undertaker = Undertaker(Result.RELEASED)

    outcome = await carried(replace(desk(pool, peer), bury=undertaker))

    assert outcome == Outcome(Result.DEFERRED, 450)
    assert undertaker.buried == []


async def test_without_an_undertaker_an_unknown_mailbox_is_a_refusal(
    pool: "Pool[Record]", peer: Peer
) -> None:
    peer.faults["RCPT"].append("550 5.1.1 no such user")

    assert await carried(desk(pool, peer)) == Outcome(Result.REFUSED, 550)


async def test_what_is_to_be_sealed_is_sealed_for_its_organisation(
    pool: "Pool[Record]", peer: Peer
) -> None:
    letter = replace(every_letter("nl")["sealed"], recipient=READER)

    def seal(content: bytes, certificate: bytes) -> bytes:
        assert b"Jeugdarts" in content
        return b"Content-Type: x/sealed\r\n\r\n" + certificate

    assert await carried(replace(desk(pool, peer, letter), seal=seal)) == Outcome(Result.SENT, 250)

    (accepted,) = peer.accepted
    message = message_from_bytes(accepted.content, policy=default)
    assert message.get_content_type() == "x/sealed"
    assert accepted.content.endswith(b"\r\n\r\ncertificate\r\n")
    assert message["Subject"] == "Nieuwe match in VIN"
    for hidden in (b"Jeugd", b"Reporter", b"D-2026", b"072"):
        assert hidden not in accepted.content


@pytest.mark.parametrize("has_certificate", [True, False])
async def test_what_cannot_be_sealed_waits_and_never_goes_in_clear(
    pool: "Pool[Record]", peer: Peer, *, has_certificate: bool
) -> None:
    letter = replace(every_letter("nl")["sealed"], recipient=READER)
    at = desk(pool, peer, letter if has_certificate else replace(letter, certificate=None))
    if not has_certificate:
        at = replace(at, seal=lambda content, _: content)

    assert await carried(at) == Outcome(Result.NOBODY)
    assert peer.accepted == []
