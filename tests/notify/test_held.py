from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from notify import attempts, held, ledger
from notify.attempts import Claim
from notify.held import Answer, Wanted
from notify.ledger import Channel, NewNotice
from notify.retry import MAX_ATTEMPTS, Outcome, Result, State, Verdict
from schemas.database import Db
from tests.notify.conftest import AT, Service, add_webhook

EVERYTHING = Wanted(limit=100)
ENDS = {
    State.SENT: Outcome(Result.SENT, 250),
    State.RETRY: Outcome(Result.DEFERRED, 451),
    State.DEAD: Outcome(Result.REFUSED, 550),
    State.UNKNOWN: Outcome(Result.UNANSWERED),
    State.SUPPRESSED: Outcome(Result.SUPPRESSED),
}


async def ended(db: Db, state: State, party: UUID | None = None) -> Claim:
    """A delivery whose first attempt ended so."""
    await ledger.append(db, [NewNotice(uuid4(), uuid4(), [(uuid4(), uuid4())], party)], AT)
    (claim,) = await attempts.claim(db, await ledger.mark_queued(db, 1), "worker 1")
    assert await attempts.finish(db, claim, ENDS[state], Verdict(state, timedelta(hours=5)))
    return claim


async def state_of(db: Db, delivery: UUID) -> tuple[State, bool]:
    found = await held.select_delivery(db, delivery)
    assert found is not None
    assert (found.finished_at is None) is (found.state in {State.RETRY, State.UNKNOWN})
    return found.state, found.maybe_duplicate


async def test_deliveries_are_told_with_the_end_of_their_last_attempt(db: Db) -> None:
    party = uuid4()
    dead = await ended(db, State.DEAD, party)

    (found,) = await held.select_deliveries(db, EVERYTHING)

    assert found == await held.select_delivery(db, dead.delivery_id)
    assert (found.id, found.notice_id, found.party_id) == (dead.delivery_id, dead.notice_id, party)
    assert (found.channel, found.kind, found.match_id) == (Channel.MAIL, "match", None)
    assert (found.state, found.attempt, found.spared) == (State.DEAD, 1, 0)
    assert (found.result, found.code) == (Result.REFUSED, 550)
    assert await held.select_delivery(db, uuid4()) is None


async def test_deliveries_are_chosen_by_state_channel_organisation_and_date(db: Db) -> None:
    party = uuid4()
    dead, sent = await ended(db, State.DEAD, party), await ended(db, State.SENT)
    hook = await add_webhook(db)
    called = NewNotice(uuid4(), uuid4(), [(uuid4(), uuid4())], uuid4(), [hook])
    await ledger.append(db, [called], AT + timedelta(days=1))

    async def chosen(wanted: Wanted) -> list[UUID]:
        return [each.notice_id for each in await held.select_deliveries(db, wanted)]

    assert await chosen(EVERYTHING) == [
        called.id,
        called.id,
        *[each.notice_id for each in sorted([dead, sent], key=lambda one: one.delivery_id)],
    ]
    assert await chosen(Wanted(state=State.DEAD, limit=9)) == [dead.notice_id]
    assert await chosen(Wanted(channel=Channel.WEBHOOK, limit=9)) == [called.id]
    assert await chosen(Wanted(party=party, limit=9)) == [dead.notice_id]
    assert await chosen(Wanted(since=AT + timedelta(hours=1), limit=1)) == [called.id]


async def test_what_is_dead_or_rests_can_be_tried_at_once_with_all_attempts(db: Db) -> None:
    dead, resting = await ended(db, State.DEAD), await ended(db, State.RETRY)
    ids = [dead.delivery_id, resting.delivery_id]

    assert await held.retry(db, ids) == dict.fromkeys(ids, Channel.MAIL)

    for delivery in ids:
        assert await state_of(db, delivery) == (State.RETRY, False)
    again = await attempts.claim(db, await ledger.mark_queued(db, 10), "worker 1")
    assert [(each.attempt, each.spared) for each in again] == [(2, 1)] * 2


@pytest.mark.parametrize("state", [State.SENT, State.UNKNOWN, State.SUPPRESSED])
async def test_nothing_else_can_be_retried(db: Db, state: State) -> None:
    claim = await ended(db, state)

    assert await held.retry(db, [claim.delivery_id, uuid4()]) == {}
    assert await state_of(db, claim.delivery_id) == (state, False)


async def test_what_is_under_way_cannot_be_retried(db: Db) -> None:
    await ledger.append(db, [NewNotice(uuid4(), uuid4(), [(uuid4(), uuid4())])], AT)
    (delivery,) = await ledger.mark_queued(db, 1)

    assert await held.retry(db, [delivery]) == {}
    await attempts.claim(db, [delivery], "worker 1")
    assert await held.retry(db, [delivery]) == {}


@pytest.mark.parametrize(
    ("answer", "state", "flagged"),
    [
        (Answer.SENT, State.SENT, False),
        (Answer.RESEND, State.RETRY, True),
        (Answer.DROPPED, State.DEAD, True),
    ],
)
async def test_an_operator_says_what_became_of_what_may_have_arrived(
    db: Db, answer: Answer, state: State, *, flagged: bool
) -> None:
    claim = await ended(db, State.UNKNOWN)

    assert await held.resolve(db, claim.delivery_id, answer) is Channel.MAIL
    assert await state_of(db, claim.delivery_id) == (state, flagged)
    assert await held.resolve(db, claim.delivery_id, answer) is None


@pytest.mark.parametrize("state", [State.SENT, State.RETRY, State.DEAD, State.SUPPRESSED])
async def test_what_is_certain_cannot_be_resolved(db: Db, state: State) -> None:
    claim = await ended(db, state)

    for answer in Answer:
        assert await held.resolve(db, claim.delivery_id, answer) is None
    assert await state_of(db, claim.delivery_id) == (state, False)


async def test_dead_letters_go_out_again_and_their_old_attempts_stay(service: Service) -> None:
    await service.append(2)
    service.peer.faults["RCPT"].extend(["550 never", "550 never"])

    async with service.running():
        await service.settle(dead=2)
        async with service.pool.acquire() as db:
            dead = await held.select_deliveries(db, Wanted(state=State.DEAD, limit=9))
            assert len(await held.retry(db, [each.id for each in dead])) == 2
        await service.settle(sent=2)

    assert await service.standing() == [("sent", 2, False)] * 2
    assert await service.value("SELECT count(*) FROM notify.attempt") == 4
    assert set(service.copies().values()) == {1}


async def test_a_retried_delivery_has_all_attempts_before_it(db: Db) -> None:
    claim = await ended(db, State.DEAD)
    await db.execute("UPDATE notify.delivery SET attempt = $1", MAX_ATTEMPTS)
    await held.retry(db, [claim.delivery_id])

    (again,) = await attempts.claim(db, await ledger.mark_queued(db, 1), "worker 1")
    await db.execute("UPDATE notify.delivery SET lease_until = clock_timestamp()")
    async with db.transaction():
        await attempts.sweep(db)

    assert again.attempt == MAX_ATTEMPTS + 1
    assert await state_of(db, claim.delivery_id) == (State.RETRY, False)
