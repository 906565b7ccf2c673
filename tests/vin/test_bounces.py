"""Mail that comes back (W3): reports over SMTP, in every state of a delivery."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING
from uuid import UUID

import aiosmtplib
import pytest

from notify import attempts
from notify.attempts import Claim
from notify.bounce import ReturnPath
from notify.carrier import UndeliveredError
from notify.retry import Outcome, Result, State, Verdict
from schemas.database import Db
from tests.notify.test_bounce import DATA, on, report
from tests.officers import make_municipality, make_officer
from tests.team import NOW, Team, make_team
from tests.world import SECRETS
from vin import bounces, mailboxes
from vin.bounces import BounceDesk, taking_bounces
from vin.clock import Clock
from vin.crypto.link import LinkKey
from vin.errors import NotFoundError, StartError
from vin.mailboxes import Clearing
from vin.settings import Address

if TYPE_CHECKING:
    from asyncpg import Pool, Record

RETURNS = ReturnPath("bounces.index.test", LinkKey(bytes(32)).sign)
HOST = "127.0.0.1"
AWAY = b"Subject: away\r\nContent-Type: text/plain\r\n\r\nI am away.\r\n"


class Post:
    """One notice to a member of a team, and what is heard of it."""

    def __init__(self, team: Team, pool: "Pool[Record]", port: int) -> None:
        self.team = team
        self.db = team.db
        self.pool = pool
        self.port = port
        self.notice = UUID(int=0)
        self.held: Claim | None = None

    async def attempt(self, state: str = "sent", outcome: str = "sent") -> str:
        """Let an attempt reach its end; the address that its mail would come back to."""
        recipient = await self.recipient()
        assert recipient
        await self.db.execute(
            "UPDATE notify.delivery SET state = 'queued' WHERE notice_id = $1", self.notice
        )
        delivery = await self.db.fetchval(
            "SELECT id FROM notify.delivery WHERE notice_id = $1", self.notice
        )
        (self.held,) = await attempts.claim(self.db, [delivery], "worker 1")
        await attempts.mark_data(self.db, self.held)
        if state != "sending":
            verdict = Verdict(State(state))
            await attempts.finish(self.db, self.held, Outcome(Result(outcome)), verdict)
        return RETURNS.address(delivery, self.held.attempt, recipient)

    async def recipient(self) -> str | None:
        """Whom the notice would go to now; None while there is nobody."""
        with suppress(UndeliveredError):
            return await self.team.composer.recipient(self.db, self.notice)
        return None

    async def comes_back(self, address: str, mail: bytes) -> int:
        """Send a mail to us as another server would; the code of our last word on it."""
        async with aiosmtplib.SMTP(hostname=HOST, port=self.port, start_tls=False) as smtp:
            try:
                await smtp.mail("")
                await smtp.rcpt(address)
                return (await smtp.data(mail)).code
            except aiosmtplib.SMTPResponseException as error:
                return error.code

    async def standing(self) -> tuple[str, int, int, str | None]:
        """State, number of attempts, how many are spared, and what was heard of the last."""
        row = await self.db.fetchrow(
            """
            SELECT state, delivery.attempt, spared, reported
              FROM notify.delivery
              JOIN notify.attempt
                ON delivery_id = delivery.id AND attempt.attempt = delivery.attempt
             WHERE notice_id = $1
            """,
            self.notice,
        )
        assert row
        return (row["state"], row["attempt"], row["spared"], row["reported"])

    async def logged(self) -> list[tuple[str, str, dict[str, object]]]:
        rows = await self.db.fetch(
            """
            SELECT event, result, detail
              FROM audit.entry
             WHERE event IN ('delivery.reported', 'mailbox.failed')
             ORDER BY id
            """
        )
        return [(row["event"], row["result"], json.loads(row["detail"])) for row in rows]


@pytest.fixture
async def post(db: Db, pool: "Pool[Record]", unused_tcp_port: int) -> AsyncIterator[Post]:
    team = await make_team(db)
    await team.register(team.one, 1)
    await team.register(team.other, 1)
    await team.match()
    desk = BounceDesk(pool, RETURNS, SECRETS.contact, Clock())
    async with taking_bounces(desk, Address(HOST, unused_tcp_port)):
        post = Post(team, pool, unused_tcp_port)
        post.notice = await db.fetchval(
            "SELECT id FROM notify.notice WHERE reporter_id = $1", team.one.id
        )
        yield post


async def test_w3_a_dead_address_sends_the_notice_to_coordinator_then_officer_then_it_waits(
    post: Post,
) -> None:
    team = post.team
    code = await make_municipality(post.db, team.organisation)
    officer = await make_officer(post.db, "follow_up_officer", municipality=code)
    coordinator = await make_officer(post.db, "coordinator", team.organisation)

    for number, reader in enumerate([team.one.email, coordinator, officer], start=1):
        assert await post.recipient() == reader
        address = await post.attempt()
        assert await post.comes_back(address, report(on("failed"))) == 250
        assert await post.standing() == ("retry", number, number, "failed")
    assert await post.recipient() is None

    assert await post.logged() == [
        entry
        for number in (1, 2, 3)
        for entry in (
            ("mailbox.failed", "done", {}),
            (
                "delivery.reported",
                "failed",
                {"notice": str(post.notice), "attempt": number, "status": "5.1.1"},
            ),
        )
    ]


async def test_w3_with_several_coordinators_the_next_one_is_told(post: Post) -> None:
    both = {await make_officer(post.db, "coordinator", post.team.organisation) for _ in range(2)}
    told = set()

    for _ in range(3):
        told.add(await post.recipient())
        await post.comes_back(await post.attempt(), report(on("failed")))

    assert told == {post.team.one.email, *both}


async def test_w3_the_others_are_still_shown_whom_to_call(post: Post) -> None:
    await make_officer(post.db, "coordinator", post.team.organisation)
    await post.comes_back(await post.attempt(), report(on("failed")))

    assert await post.recipient() != post.team.one.email
    assert await post.team.seen_by_other() == [post.team.one.email]


async def test_w3_a_new_address_gets_the_notices_again(post: Post) -> None:
    coordinator = await make_officer(post.db, "coordinator", post.team.organisation)
    await post.comes_back(await post.attempt(), report(on("failed")))

    await post.team.designate(post.team.one, post.team.one.email)
    assert await post.recipient() == coordinator

    await post.team.designate(post.team.one, "new@school.test")
    assert await post.recipient() == "new@school.test"


async def test_w3_who_comes_back_gets_his_notices_at_his_old_address(post: Post) -> None:
    await make_officer(post.db, "coordinator", post.team.organisation)
    await post.comes_back(await post.attempt(), report(on("failed")))
    await post.team.end(post.team.one)
    await post.team.designate(post.team.one, post.team.one.email)

    assert await post.recipient() == post.team.one.email


async def test_what_comes_back_from_a_former_address_marks_nobody_and_is_sent_to_the_new_one(
    post: Post,
) -> None:
    address = await post.attempt()
    await post.team.designate(post.team.one, "new@school.test")

    await post.comes_back(address, report(on("failed")))

    assert await post.standing() == ("retry", 1, 1, "failed")
    assert await post.recipient() == "new@school.test"


async def test_an_address_that_changes_meanwhile_is_not_marked(post: Post) -> None:
    """The report was read before the new address was committed, and writes after."""
    (mailbox,) = await mailboxes.select_line(post.db, post.notice)
    await post.team.designate(post.team.one, "new@school.test")

    assert not await mailboxes.mark_dead(post.db, mailbox, await Clock().now(post.db))
    assert await post.recipient() == "new@school.test"


async def test_an_officers_address_that_changes_meanwhile_is_not_marked(post: Post) -> None:
    await make_officer(post.db, "coordinator", post.team.organisation)
    boxes = {each.kind: each for each in await mailboxes.select_line(post.db, post.notice)}
    await post.db.execute("UPDATE registry.officer SET contact = contact || '\\x00'")

    assert not await mailboxes.mark_dead(post.db, boxes["officer"], await Clock().now(post.db))
    assert await mailboxes.list_dead(post.db, "operator", await Clock().now(post.db)) == []


async def test_who_stands_in_two_places_with_one_address_is_not_tried_twice(post: Post) -> None:
    await make_officer(post.db, "coordinator", post.team.organisation)
    for colleague in (post.team.two, post.team.three):
        await post.team.designate(colleague, post.team.one.email)
    await post.team.end(post.team.one, post.team.two)
    await post.team.end(post.team.two, post.team.three)

    await post.comes_back(await post.attempt(), report(on("failed")))

    marked = await post.db.fetchval(
        "SELECT count(*) FROM registry.reporter WHERE mail_failed_at IS NOT NULL"
    )
    assert marked == 1
    assert (await post.recipient() or "").startswith("coordinator")


@pytest.mark.parametrize("status", ["5.2.2", "5.7.1", "5.4.7", "5.3.4", ""])
async def test_what_is_no_dead_address_ends_as_a_dead_letter(post: Post, status: str) -> None:
    await make_officer(post.db, "coordinator", post.team.organisation)

    await post.comes_back(await post.attempt(), report(on("failed", status)))

    assert await post.standing() == ("dead", 1, 0, "failed")
    assert await post.recipient() == post.team.one.email


@pytest.mark.parametrize(
    ("state", "outcome", "after"),
    [
        ("unknown", "unanswered", "sent"),
        ("retry", "unanswered", "sent"),
        ("dead", "unanswered", "sent"),
        ("sent", "sent", "sent"),
    ],
)
async def test_a_mail_that_arrived_is_sent_and_never_again(
    post: Post, state: str, outcome: str, after: str
) -> None:
    address = await post.attempt(state, outcome)

    assert await post.comes_back(address, report(on("relayed", "2.0.0"))) == 250

    assert await post.standing() == (after, 1, 0, "delivered")
    changed = [("delivered", {"notice": str(post.notice), "attempt": 1, "status": "2.0.0"})]
    assert [entry[1:] for entry in await post.logged()] == (changed if state != "sent" else [])


@pytest.mark.parametrize("state", ["unknown", "retry", "dead"])
async def test_an_unanswered_mail_that_came_back_goes_to_the_next_in_line(
    post: Post, state: str
) -> None:
    await make_officer(post.db, "coordinator", post.team.organisation)
    address = await post.attempt(state, "unanswered")

    await post.comes_back(address, report(on("failed")))

    assert (await post.standing())[0] == "retry"
    assert await post.recipient() != post.team.one.email


async def test_an_older_attempt_that_arrived_settles_a_later_doubt(post: Post) -> None:
    first = await post.attempt("retry", "unanswered")
    await post.attempt("unknown", "unanswered")

    await post.comes_back(first, report(on("delivered")))

    assert (await post.standing())[:2] == ("sent", 2)


async def test_an_older_attempt_that_came_back_does_not_send_a_newer_one_again(post: Post) -> None:
    await make_officer(post.db, "coordinator", post.team.organisation)
    first = await post.attempt("retry", "unanswered")
    await post.attempt("sent")

    await post.comes_back(first, report(on("failed")))

    assert (await post.standing())[:2] == ("sent", 2)
    assert await post.recipient() != post.team.one.email


@pytest.mark.parametrize(
    ("heard", "then", "last"),
    [
        ("failed", "failed", "failed"),
        ("failed", "delivered", "failed"),
        ("failed", "delayed", "failed"),
        ("delivered", "delivered", "delivered"),
        ("delivered", "delayed", "delivered"),
        ("delayed", "delayed", "delayed"),
        ("delayed", "delivered", "delivered"),
        ("delayed", "failed", "failed"),
        ("delivered", "failed", "failed"),
    ],
)
async def test_a_report_that_comes_twice_or_late_changes_nothing(
    post: Post, heard: str, then: str, last: str
) -> None:
    address = await post.attempt()
    await post.comes_back(address, report(on(heard, "5.2.2")))
    before = await post.standing(), len(await post.logged())

    await post.comes_back(address, report(on(then, "5.2.2")))

    after = await post.standing(), len(await post.logged())
    assert after[0][3] == last
    assert (after == before) == (heard == last)


@pytest.mark.parametrize(
    ("state", "recorded", "after"),
    [
        ("sent", "failed-5.1.1", ("retry", 1, 1, "failed")),
        ("sent", "failed-5.2.2", ("dead", 1, 0, "failed")),
        ("sent", "delayed-4.3.2", ("sent", 1, 0, "delayed")),
        ("unknown", "relayed-2.0.0", ("sent", 1, 0, "delivered")),
        ("unknown", "delivered-2.0.0", ("sent", 1, 0, "delivered")),
        ("unknown", "delayed-4.3.2", ("unknown", 1, 0, "delayed")),
    ],
)
async def test_what_postfix_reports_is_followed(
    post: Post, state: str, recorded: str, after: tuple[str, int, int, str]
) -> None:
    outcome = "sent" if state == "sent" else "unanswered"
    address = await post.attempt(state, outcome)

    assert await post.comes_back(address, (DATA / f"postfix-{recorded}.eml").read_bytes()) == 250

    assert await post.standing() == after


async def test_a_report_that_comes_a_month_later_counts_no_more(post: Post) -> None:
    """Who finds an old mail's return address has no hold over its reader's mailbox."""
    address = await post.attempt()
    await post.db.execute("UPDATE notify.attempt SET started_at = started_at - interval '31 days'")

    assert await post.comes_back(address, report(on("failed", "5.1.1"))) == 250

    assert await post.standing() == ("sent", 1, 0, None)
    assert await post.recipient() == post.team.one.email
    assert await post.logged() == []


async def test_a_delay_is_noted_and_nothing_else(post: Post) -> None:
    await post.comes_back(await post.attempt(), report(on("delayed", "4.4.1")))

    assert await post.standing() == ("sent", 1, 0, "delayed")
    assert [entry[:2] for entry in await post.logged()] == [("delivery.reported", "delayed")]


async def test_a_report_on_an_attempt_that_runs_on_is_to_come_again(
    post: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounces, "PATIENCE_SECONDS", 0.2)
    address = await post.attempt("sending")

    assert await post.comes_back(address, report(on("failed"))) == 451
    assert await post.standing() == ("sending", 1, 0, None)


async def test_a_report_that_overtakes_the_end_of_its_attempt_waits_for_that(post: Post) -> None:
    address = await post.attempt("sending")
    coming = asyncio.create_task(post.comes_back(address, report(on("failed", "5.2.2"))))
    await asyncio.sleep(0.3)
    assert not coming.done()
    assert post.held

    await attempts.finish(post.db, post.held, Outcome(Result.SENT, 250), Verdict(State.SENT))

    assert await coming == 250
    assert await post.standing() == ("dead", 1, 0, "failed")


async def test_the_late_end_of_an_attempt_that_came_back_is_not_written_over_it(
    post: Post,
) -> None:
    """A worker that slept past its lease wakes up when the mail has long come back."""
    address = await post.attempt("sending")
    await post.db.execute(
        """
        UPDATE notify.delivery
           SET state = 'retry', phase = NULL, lease_until = NULL
         WHERE notice_id = $1
        """,
        post.notice,
    )
    await post.comes_back(address, report(on("failed")))
    assert post.held

    sent = Outcome(Result.SENT, 250)
    assert not await attempts.finish(post.db, post.held, sent, Verdict(State.SENT))
    assert (await post.standing())[0] == "retry"


async def test_a_letter_that_keeps_coming_back_from_a_marked_address_is_given_up(
    post: Post,
) -> None:
    address = await post.attempt()
    await post.db.execute("UPDATE registry.reporter SET mail_failed_at = now()")
    await post.db.execute("UPDATE notify.attempt SET attempt = 9000")
    await post.db.execute("UPDATE notify.delivery SET attempt = 9000")
    assert post.held
    again = RETURNS.address(post.held.delivery_id, 9000, post.team.one.email)

    await post.comes_back(again, report(on("failed")))

    assert address != again
    assert (await post.standing())[0] == "dead"


@pytest.mark.parametrize("address", ["vin@index.test", "b+x@bounces.index.test", "postmaster"])
async def test_mail_to_an_address_that_we_did_not_make_is_refused_before_its_content(
    post: Post, address: str
) -> None:
    await post.attempt()

    assert await post.comes_back(address, report(on("failed"))) == 550
    assert await post.standing() == ("sent", 1, 0, None)


async def test_a_forged_return_address_is_refused(post: Post) -> None:
    held = await post.attempt()
    forged = ReturnPath("bounces.index.test", LinkKey(bytes(31) + b"1").sign)
    assert post.held

    address = forged.address(post.held.delivery_id, 1, post.team.one.email)

    assert address != held
    assert await post.comes_back(address, report(on("failed"))) == 550
    assert await post.standing() == ("sent", 1, 0, None)


@pytest.mark.parametrize("mail", [AWAY, b"\r\n", b"\xff" * 100 + b"\r\n", report()])
async def test_other_mail_is_taken_and_let_go_of(post: Post, mail: bytes) -> None:
    assert await post.comes_back(await post.attempt(), mail) == 250
    assert await post.standing() == ("sent", 1, 0, None)
    assert await post.logged() == []


async def test_a_mail_that_is_too_big_is_refused(post: Post) -> None:
    address = await post.attempt()
    big = report(on("failed")) + b"x" * 70 + b"\r\n"

    assert await post.comes_back(address, big + (b"x" * 70 + b"\r\n") * 15_000) == 552
    assert await post.standing() == ("sent", 1, 0, None)


async def test_a_report_on_what_is_gone_is_let_go_of(post: Post) -> None:
    address = await post.attempt()
    await post.db.execute("DELETE FROM notify.notice")

    assert await post.comes_back(address, report(on("failed"))) == 250
    assert await post.logged() == []


async def test_while_the_database_is_away_a_report_is_to_come_again(post: Post) -> None:
    address = await post.attempt()
    await post.db.execute("BEGIN")
    await post.db.execute("LOCK TABLE notify.delivery")
    sending = asyncio.create_task(post.comes_back(address, report(on("failed"))))
    async with asyncio.timeout(5):
        while not await post.db.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)

    await post.db.execute(
        """
        SELECT pg_terminate_backend(pid)
          FROM pg_stat_activity
         WHERE datname = current_database() AND pid <> pg_backend_pid()
        """
    )

    assert await sending == 451
    await post.db.execute("ROLLBACK")
    assert await post.comes_back(address, report(on("failed", "5.2.2"))) == 250
    assert (await post.standing())[0] == "dead"


async def test_two_reports_at_once_on_two_notices_mark_the_address_once(post: Post) -> None:
    first = await post.attempt()
    await post.team.register(post.team.one, 2)
    await post.team.register(post.team.other, 2)
    await post.team.match()
    post.notice = await post.db.fetchval(
        "SELECT id FROM notify.notice WHERE reporter_id = $1 AND id <> $2",
        post.team.one.id,
        post.notice,
    )
    second = await post.attempt()

    codes = await asyncio.gather(
        *(post.comes_back(address, report(on("failed"))) for address in (first, second))
    )

    assert codes == [250, 250]
    assert [event for event, _, _ in await post.logged()].count("mailbox.failed") == 1
    assert await post.db.fetchval("SELECT array_agg(DISTINCT state) FROM notify.delivery") == [
        "pending",
        "retry",
    ]


async def test_nothing_of_a_report_is_kept(post: Post, capfd: pytest.CaptureFixture[str]) -> None:
    mail = report(on("failed", "5.1.1 SECRET"), head="Reporting-MTA: dns; SECRET.test")
    await post.comes_back(await post.attempt(), mail.replace(b"Sorry", b"SECRET"))

    written = capfd.readouterr()
    kept = await post.db.fetchval(
        """
        SELECT string_agg(coalesce(e.detail::text, '') || coalesce(e.result, ''), '')
               || (SELECT string_agg(a::text, '') FROM notify.attempt AS a)
          FROM audit.entry AS e
        """
    )
    for shown in (written.out, written.err, kept):
        assert "SECRET" not in shown
        assert post.team.one.email not in shown


async def test_an_address_that_is_refused_outright_takes_the_same_road(post: Post) -> None:
    desk = BounceDesk(post.pool, RETURNS, SECRETS.contact, Clock())
    coordinator = await make_officer(post.db, "coordinator", post.team.organisation)
    email = post.team.one.email.upper()

    assert await desk.bury(post.db, post.notice, email) is Result.RELEASED
    assert await post.recipient() == coordinator
    assert await desk.bury(post.db, post.notice, email) is Result.DEFERRED
    assert await desk.bury(post.db, post.notice, "nobody@school.test") is Result.REFUSED
    assert await post.logged() == [("mailbox.failed", "done", {})]


async def test_several_processes_take_bounces_on_one_port(post: Post) -> None:
    desk = BounceDesk(post.pool, RETURNS, SECRETS.contact, Clock())

    async with taking_bounces(desk, Address(HOST, post.port)):
        assert await post.comes_back(await post.attempt(), report(on("failed"))) == 250


async def test_a_place_that_cannot_be_listened_on_is_told(post: Post) -> None:
    desk = BounceDesk(post.pool, RETURNS, SECRETS.contact, Clock())

    with pytest.raises(StartError, match="Cannot listen on 192"):
        async with taking_bounces(desk, Address("192.0.2.1", 25)):
            pass


async def test_an_operator_sees_whom_mail_does_not_reach_and_lets_it_go_again(post: Post) -> None:
    coordinator = await make_officer(post.db, "coordinator", post.team.organisation)
    for _ in range(2):
        await post.comes_back(await post.attempt(), report(on("failed")))

    found = await mailboxes.list_dead(post.db, "operator", NOW)

    code = await post.db.fetchval(
        "SELECT code FROM registry.organisation WHERE id = $1", post.team.organisation
    )
    assert [(each.place, each.name) for each in found] == [
        (code, post.team.one.reporter_id),
        (code, "coordinator"),
    ]
    for each, reader in zip(found[::-1], [coordinator, post.team.one.email], strict=True):
        order = Clearing(mailbox=each.id, operator="operator", purpose="was a fault of theirs")
        await mailboxes.clear(post.db, order, NOW)
        assert await post.recipient() == reader
        with pytest.raises(NotFoundError):
            await mailboxes.clear(post.db, order, NOW)
    assert await mailboxes.list_dead(post.db, "operator", NOW) == []
    rows = await post.db.fetch(
        """
        SELECT event, object_kind, purpose
          FROM audit.entry
         WHERE event IN ('mailbox.cleared', 'mailboxes.audited')
         ORDER BY id
        """
    )
    assert [tuple(row) for row in rows] == [
        ("mailboxes.audited", "mailboxes", None),
        ("mailbox.cleared", "officer", "was a fault of theirs"),
        ("mailbox.cleared", "reporter", "was a fault of theirs"),
        ("mailboxes.audited", "mailboxes", None),
    ]


async def test_who_left_is_not_listed_among_those_whom_mail_does_not_reach(post: Post) -> None:
    await post.comes_back(await post.attempt(), report(on("failed")))
    await post.team.end(post.team.one)

    assert await mailboxes.list_dead(post.db, "operator", NOW) == []
