"""What a mail server or a webhook that is away does to what waits."""

import asyncio
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID, uuid4

import pytest

from notify import breaker, ledger, worker
from notify.attempts import Claim
from notify.breaker import FAILURES
from notify.carrier import UndeliveredError
from notify.ledger import Channel, NewNotice
from notify.relay import relay_batch
from notify.retry import Outcome, Result, State
from notify.worker import CALLS_TO_ONE
from schemas.database import Db
from tests.notify.conftest import AT, Service, add_webhook
from tests.notify.smtp_peer import DROP, DroppedError, Moment

HOUR = 3600
STEP = 20
MESSAGE_ID = re.compile(rb"Message-ID: <([0-9a-f-]{36})@")


async def test_five_failures_in_a_row_keep_the_rest_in_the_ledger(service: Service) -> None:
    await service.append(20)
    service.peer.faults["CONNECT"].extend([DROP] * FAILURES)

    async with service.running(service.office(slots=1)):
        while service.peer.sessions < FAILURES:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert service.peer.sessions == FAILURES

    assert service.peer.accepted == []
    attempts = [attempt for _, attempt, _ in await service.standing()]
    assert sum(attempts) == FAILURES
    assert await service.value("SELECT sum(spared) FROM notify.delivery") == 1


async def test_what_was_on_its_way_when_it_opened_goes_out_later(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(breaker, "REST_SECONDS", 0.3)
    await service.append(20)
    service.peer.faults["CONNECT"].extend([DROP] * FAILURES)

    async with service.running(service.office(slots=1)):
        for _ in range(50):
            await asyncio.sleep(0.1)
            await service.execute(
                "UPDATE notify.delivery SET next_at = clock_timestamp() WHERE state <> 'sending'"
            )
            if await service.counts() == {State.SENT: 20}:
                break

    assert await service.counts() == {State.SENT: 20}
    assert service.peer.sessions == 20 + FAILURES
    assert set(service.copies().values()) == {1}


async def test_the_first_that_comes_after_a_rest_is_the_trial(service: Service) -> None:
    office = service.office()
    for _ in range(FAILURES):
        service.breaker.note(Channel.MAIL, Result.UNREACHABLE, office.clock())

    await service.append()
    assert await relay_batch(office) == 0
    await service.execute("UPDATE notify.delivery SET next_at = next_at + interval '1 minute'")
    await service.pass_time(30)
    assert await relay_batch(office) == 0
    await service.append(2)
    assert [await relay_batch(office) for _ in range(2)] == [1, 0]
    await service.pass_time(10)
    assert await relay_batch(office) == 1


async def test_a_bug_or_an_outage_of_ours_is_no_failure_of_the_mail_server(
    service: Service,
) -> None:
    await service.append(2 * FAILURES)

    async def stumble(_: UUID) -> None:
        raise LookupError

    service.letters.written = stumble
    async with service.running():
        await service.settle(retry=2 * FAILURES)

    assert not service.breaker.open()
    assert await service.value("SELECT sum(spared) FROM notify.delivery") == 0


async def test_under_hold_what_may_have_arrived_is_sent_once(service: Service) -> None:
    async with service.pool.acquire() as db:
        await ledger.update_policies(db, {Channel.MAIL: "hold"})
    await service.append(2)
    service.peer.faults["ANSWER"].append(DROP)

    async with service.running():
        await service.settle(unknown=1, sent=1)
        await service.hurry()
        await asyncio.sleep(0.2)

    assert set(service.copies().values()) == {1}
    assert sorted(await service.standing()) == [("sent", 1, False), ("unknown", 1, False)]


async def test_under_hold_what_a_dead_worker_held_in_data_waits_for_an_operator(
    service: Service,
) -> None:
    async with service.pool.acquire() as db:
        await ledger.update_policies(db, {Channel.MAIL: "hold"})
    await service.append()
    service.peer.hooks["ANSWER"] = hold = Moment()

    async with service.running():
        await hold.reached.wait()
        await service.hurry()
        await service.settle(unknown=1)
        assert service.log.results() == [Result.LEASE_OVER]
        hold.passed.set()
        await service.settle(sent=1)

    assert await service.standing() == [("sent", 1, False)]


class Dead:
    """Carries nothing: its webhook cannot be reached."""

    def __init__(self, tried: Counter[UUID], held: Claim) -> None:
        self._tried = tried
        self._held = held

    async def introduce(self) -> None:
        assert self._held.webhook_id is not None
        self._tried[self._held.webhook_id] += 1
        raise UndeliveredError(Outcome(Result.UNREACHABLE))

    async def compose(self, _db: Db) -> bytes:
        raise NotImplementedError

    async def hand_over(self, _message: bytes) -> Outcome:
        raise NotImplementedError

    async def leave(self) -> None:
        return


@dataclass
class DeadDesk:
    tried: Counter[UUID]

    def carrier(self, held: Claim) -> Dead:
        return Dead(self.tried, held)

    async def prepare(self, _db: Db, _claims: Sequence[Claim]) -> None:
        raise NotImplementedError


async def test_a_webhook_that_is_away_is_left_alone_and_no_other_is(service: Service) -> None:
    tried: Counter[UUID] = Counter()
    async with service.pool.acquire() as db:
        busy, quiet = await add_webhook(db), await add_webhook(db)
        await append_calls(db, busy, 12)
        await append_calls(db, quiet, 2)
    office = service.office(slots=1, desks={Channel.WEBHOOK: DeadDesk(tried)})

    async with service.running(office):
        while tried.total() < FAILURES + 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)

    assert tried[busy] == FAILURES
    assert tried[quiet] >= 2
    assert service.breaker.open() == [busy]
    assert await service.value("SELECT sum(spared) FROM notify.delivery") == 0
    assert await service.value("SELECT sum(attempt) FROM notify.delivery") == tried.total()


class Hanging(Dead):
    """Carries calls that nobody answers, and counts those under way to each webhook."""

    async def introduce(self) -> None:
        return

    async def compose(self, _db: Db) -> bytes:
        return b"call"

    async def hand_over(self, _message: bytes) -> Outcome:
        assert self._held.webhook_id is not None
        self._tried[self._held.webhook_id] += 1
        await asyncio.sleep(60)
        raise NotImplementedError


class HangingDesk(DeadDesk):
    def carrier(self, held: Claim) -> Hanging:
        return Hanging(self.tried, held)

    async def prepare(self, _db: Db, _claims: Sequence[Claim]) -> None:
        return


async def test_webhooks_that_hang_keep_neither_mail_nor_another_webhook_waiting(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    under_way: Counter[UUID] = Counter()
    async with service.pool.acquire() as db:
        hanging, other = await add_webhook(db), await add_webhook(db)
        await append_calls(db, hanging, 60)
    desks = {**service.office().desks, Channel.WEBHOOK: HangingDesk(under_way)}
    monkeypatch.setattr(worker, "STOP_SECONDS", 0)

    async with service.running(service.office(desks=desks)):
        while under_way[hanging] < CALLS_TO_ONE:
            await asyncio.sleep(0.01)
        await service.append(30)
        async with service.pool.acquire() as db:
            await append_calls(db, other, 1)
        async with asyncio.timeout(5):
            while len(service.peer.accepted) < 30 or not under_way[other]:
                await asyncio.sleep(0.01)
        assert under_way[hanging] <= CALLS_TO_ONE + service.office().slots


async def test_webhooks_that_hang_are_called_no_more_than_so_many_at_once(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "CALLS", 8)
    monkeypatch.setattr(worker, "STOP_SECONDS", 0)
    under_way: Counter[UUID] = Counter()
    async with service.pool.acquire() as db:
        for _ in range(20):
            await append_calls(db, await add_webhook(db), 3)
    office = service.office(desks={Channel.WEBHOOK: HangingDesk(under_way)})

    async with service.running(office):
        while await service.value("SELECT bool_or(state = 'pending') FROM notify.delivery"):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)

    assert 8 <= under_way.total() < 8 + office.slots


class QuickDesk(HangingDesk):
    """Its calls are answered at once."""

    def carrier(self, held: Claim) -> Hanging:
        return Quick(self.tried, held)


class Quick(Hanging):
    async def hand_over(self, _message: bytes) -> Outcome:
        await asyncio.sleep(0.01)
        return Outcome(Result.SENT, 200)


async def test_a_quick_webhook_is_told_of_a_whole_caseload_in_one_go(service: Service) -> None:
    """None of it is left to its visibility, as what comes for a busy webhook is."""
    async with service.pool.acquire() as db:
        await append_calls(db, await add_webhook(db), 100)

    async with service.running(service.office(desks={Channel.WEBHOOK: QuickDesk(Counter())})):
        async with asyncio.timeout(ledger.VISIBILITY.total_seconds()):
            await service.settle(sent=100)


async def append_calls(db: Db, hook: UUID, count: int) -> None:
    """Matches for one webhook, and no mail."""
    matches = [(uuid4(), uuid4()) for _ in range(count)]
    notice = NewNotice(uuid4(), uuid4(), matches, None, [hook])
    await ledger.append(db, [notice], AT)
    await db.execute(
        "DELETE FROM notify.delivery WHERE notice_id = $1 AND channel = 'mail'", notice.id
    )


async def test_after_an_hour_without_a_mail_server_all_goes_out_once_and_in_turns(
    service: Service,
) -> None:
    parties = {uuid4(): count for count in (60, 30, 10, 3, 1)}
    total = sum(parties.values())
    for party, count in parties.items():
        await service.append(count, party)

    async def fail() -> None:
        raise DroppedError

    async with service.running(service.office(slots=4)):
        service.peer.hooks["CONNECT"] = fail
        await until(service, lambda: service.passed >= HOUR)
        knocks = service.peer.sessions
        assert service.peer.accepted == []
        del service.peer.hooks["CONNECT"]
        await until(service, lambda: len(service.peer.accepted) == total, pause=0.3)
        await service.settle(sent=total)

    assert FAILURES < knocks < 40
    assert set(service.copies().values()) == {1}
    assert service.breaker.open() == []
    assert await service.value("SELECT max(attempt - spared) <= 3 FROM notify.delivery")
    order = await arrivals(service)
    assert Counter(order) == parties
    for party, count in parties.items():
        assert order[:40].count(party) >= min(count, 8)


async def until(service: Service, there: Callable[[], bool], pause: float = 0.03) -> None:
    """Let time pass, a little at a time, until it is so.

    What a worker would claim just then loses its turn, so leave it a `pause` in between.
    """
    while not there():
        await service.pass_time(STEP)
        await asyncio.sleep(pause)


async def arrivals(service: Service) -> list[UUID]:
    """Of which organisation each mail was, in the order in which they arrived."""
    async with service.pool.acquire() as db:
        rows = await db.fetch("SELECT id::text, party_id FROM notify.delivery")
    party = {row["id"]: row["party_id"] for row in rows}
    found = [MESSAGE_ID.search(mail.content) for mail in service.peer.accepted]
    return [party[match[1].decode()] for match in found if match]
