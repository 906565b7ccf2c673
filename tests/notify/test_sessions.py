"""Several mails in one session with the mail server."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
import pytest_asyncio

from notify import mail
from notify.attempts import Claim
from notify.carrier import UndeliveredError
from notify.ledger import Channel
from notify.mail import MailDesk, Route
from notify.retry import Outcome, Result
from tests.notify.conftest import SENDER, Letters, letter_for
from tests.notify.smtp_peer import DROP, HANG, Moment, Peer

if TYPE_CHECKING:
    from asyncpg import Pool, Record

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def kept(hasty: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep sessions, which `hasty` does not."""
    del hasty
    monkeypatch.setattr(mail, "IDLE_SECONDS", 5.0)
    monkeypatch.setattr(mail, "QUIT_SECONDS", 0.1)


@pytest_asyncio.fixture
async def desk(pool: "Pool[Record]", peer: Peer, letters: Letters) -> AsyncIterator[MailDesk]:
    route = Route(host="127.0.0.1", port=peer.port, sender=SENDER, tls_required=False)
    opened = MailDesk(pool, letters, route)
    yield opened
    opened.close()
    await asyncio.sleep(0)


async def send(desk: MailDesk, letters: Letters, number: int = 1) -> Outcome:
    """One attempt, as a worker makes it."""
    notice = uuid4()
    letters.by_notice[notice] = letter_for(number)
    carrier = desk.carrier(held_on(notice))
    try:
        await carrier.introduce()
        async with desk.pool.acquire() as db:
            message = await carrier.compose(db)
        return await carrier.hand_over(message)
    except UndeliveredError as error:
        return error.outcome
    finally:
        await carrier.leave()


def held_on(notice: UUID) -> Claim:
    return Claim(uuid4(), notice, Channel.MAIL, 1, AT)


async def test_mails_one_after_another_share_a_session(
    desk: MailDesk, letters: Letters, peer: Peer
) -> None:
    for number in range(5):
        assert (await send(desk, letters, number)).result is Result.SENT

    assert peer.sessions == 1
    assert [each.recipient for each in peer.accepted] == [
        letter_for(number).recipient for number in range(5)
    ]


async def test_mails_at_once_have_sessions_of_their_own(
    desk: MailDesk, letters: Letters, peer: Peer
) -> None:
    await asyncio.gather(*(send(desk, letters) for _ in range(3)))
    await asyncio.gather(*(send(desk, letters) for _ in range(3)))

    assert peer.sessions == 3
    assert len(peer.accepted) == 6


@pytest.mark.parametrize(
    ("moment", "reply"),
    [("RCPT", "450 later"), ("RCPT", "550 never"), ("DATA", "451 later"), ("DOT", "451 later")],
)
async def test_a_clear_no_does_not_spoil_the_session(
    desk: MailDesk, letters: Letters, peer: Peer, moment: str, reply: str
) -> None:
    peer.faults[moment].append(reply)

    assert (await send(desk, letters)).code == int(reply[:3])
    assert (await send(desk, letters)).result is Result.SENT
    assert peer.sessions == 1


@pytest.mark.parametrize("fault", [DROP, HANG, "421 had enough", "451 no more in this session"])
async def test_a_server_that_has_had_enough_is_called_anew(
    desk: MailDesk, letters: Letters, peer: Peer, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "COMMAND_SECONDS", 0.1)
    await send(desk, letters)
    peer.faults["MAIL"].append(fault)

    assert (await send(desk, letters)).result is Result.SENT
    assert peer.sessions == 2
    assert len(peer.accepted) == 2


async def test_a_no_in_a_new_session_counts(desk: MailDesk, letters: Letters, peer: Peer) -> None:
    await send(desk, letters)
    peer.faults["MAIL"] += ["451 no more in this session", "451 not now"]

    assert await send(desk, letters) == Outcome(Result.DEFERRED, 451)


@pytest.mark.parametrize("moment", ["DOT", "ANSWER"])
async def test_where_an_answer_is_owed_nothing_more_is_said(
    desk: MailDesk, letters: Letters, peer: Peer, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "DATA_SECONDS", 0.1)
    peer.hooks[moment] = late = Moment()

    assert (await send(desk, letters)).result is Result.UNANSWERED
    late.passed.set()
    del peer.hooks[moment]

    assert not desk.idle
    assert (await send(desk, letters, 2)).result is Result.SENT
    assert peer.sessions == 2


async def test_nonsense_ends_the_session(desk: MailDesk, letters: Letters, peer: Peer) -> None:
    peer.faults["RCPT"].append("nonsense")

    assert await send(desk, letters) == Outcome(Result.UNREACHABLE)
    assert not desk.idle


async def test_a_mail_that_is_not_sent_after_all_leaves_no_trace(
    desk: MailDesk, letters: Letters, peer: Peer
) -> None:
    notice = uuid4()
    letters.by_notice[notice] = letter_for(1)
    carrier = desk.carrier(held_on(notice))
    await carrier.introduce()
    await carrier.leave()

    assert (await send(desk, letters, 2)).result is Result.SENT
    assert peer.sessions == 1
    assert [each.recipient for each in peer.accepted] == [letter_for(2).recipient]


async def test_a_server_that_does_not_forget_is_left(
    desk: MailDesk, letters: Letters, peer: Peer
) -> None:
    peer.faults["RCPT"].append("450 later")
    peer.faults["RSET"].append("500 never heard of")

    await send(desk, letters)

    assert not desk.idle


async def test_after_so_many_mails_a_session_is_given_back(
    desk: MailDesk, letters: Letters, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "MAILS", 2)
    for _ in range(4):
        await send(desk, letters)

    assert peer.sessions == 2


async def test_a_session_that_nobody_needs_ends(
    desk: MailDesk, letters: Letters, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mail, "IDLE_SECONDS", 0.02)
    quits = asyncio.Event()

    async def note() -> None:
        quits.set()

    peer.hooks["QUIT"] = note
    await send(desk, letters)
    await asyncio.wait_for(quits.wait(), 5)

    assert not desk.idle


async def test_what_the_server_dropped_meanwhile_is_no_loss(
    desk: MailDesk, letters: Letters, peer: Peer
) -> None:
    await send(desk, letters)
    ((talk, _),) = desk.idle.items()
    talk.hang_up()

    assert (await send(desk, letters)).result is Result.SENT
    assert peer.sessions == 2
