from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from notify import attempts, ledger
from notify.attempts import LEASE, Claim, DeliveryFinished
from notify.ledger import Channel, NewNotice
from notify.retry import MAX_ATTEMPTS, Outcome, Result, State, Verdict
from schemas.database import Db
from tests.notify.conftest import AT, add_webhook

if TYPE_CHECKING:
    from asyncpg import Pool, Record

SENT = Outcome(Result.SENT, 250)
LATER = Verdict(State.RETRY, timedelta(hours=1))


async def claimed(db: Db) -> Claim:
    """A delivery that worker 1 holds."""
    await ledger.append(db, [NewNotice(uuid4(), uuid4(), [(uuid4(), uuid4())])], AT)
    (held,) = await attempts.claim(db, await ledger.mark_queued(db, 1), "worker 1")
    return held


async def claimed_again(db: Db) -> Claim:
    """The same delivery, swept from worker 1 and held by worker 2."""
    await end_leases(db)
    await attempts.sweep(db)
    (held,) = await attempts.claim(db, await ledger.mark_queued(db, 1), "worker 2")
    return held


async def end_leases(db: Db) -> None:
    await db.execute(
        "UPDATE notify.delivery SET lease_until = clock_timestamp() WHERE state = 'sending'"
    )


async def state_of(db: Db, held: Claim) -> tuple[str, bool]:
    row = await db.fetchrow(
        "SELECT state, maybe_duplicate FROM notify.delivery WHERE id = $1", held.delivery_id
    )
    assert row is not None
    return row["state"], row["maybe_duplicate"]


async def test_a_claim_starts_an_attempt_and_cannot_be_made_twice(db: Db) -> None:
    held = await claimed(db)

    assert (held.attempt, held.channel, held.created_at) == (1, Channel.MAIL, AT)
    assert await attempts.claim(db, [held.delivery_id], "worker 2") == []
    assert await db.fetchval("SELECT worker FROM notify.attempt") == "worker 1"


async def test_two_workers_that_read_the_same_wake_up_never_both_claim(
    pool: "Pool[Record]",
) -> None:
    async with pool.acquire() as one, pool.acquire() as other:
        await ledger.append(one, [NewNotice(uuid4(), uuid4(), [(uuid4(), uuid4())])], AT)
        queued = await ledger.mark_queued(one, 1)
        async with one.transaction():
            first = await attempts.claim(one, queued, "worker 1")
            meanwhile = await attempts.claim(other, queued, "worker 2")
        after = await attempts.claim(other, queued, "worker 2")

    assert (len(first), meanwhile, after) == (1, [], [])


async def test_only_what_was_marked_can_be_claimed(db: Db) -> None:
    await ledger.append(db, [NewNotice(uuid4(), uuid4(), [(uuid4(), uuid4())])], AT)
    pending = await db.fetchval("SELECT id FROM notify.delivery")

    assert await attempts.claim(db, [pending, uuid4()], "worker 1") == []


async def test_a_lost_claim_writes_nothing(db: Db) -> None:
    old = await claimed(db)
    new = await claimed_again(db)

    assert new.attempt == 2
    assert not await attempts.mark_data(db, old)
    for result, verdict in [(Result.SENT, Verdict(State.SENT)), (Result.DEFERRED, LATER)]:
        assert not await attempts.finish(db, old, Outcome(result), verdict)
    assert await state_of(db, new) == ("sending", False)
    assert await attempts.mark_data(db, new)


async def test_that_a_mail_was_sent_is_written_after_the_lease_while_nobody_tries_again(
    db: Db,
) -> None:
    held = await claimed(db)
    await attempts.mark_data(db, held)
    await end_leases(db)
    await attempts.sweep(db)

    assert not await attempts.finish(db, held, Outcome(Result.DEFERRED, 451), LATER)
    assert await attempts.finish(db, held, SENT, Verdict(State.SENT))
    assert await state_of(db, held) == ("sent", True)


async def test_an_end_is_written_once(db: Db) -> None:
    held = await claimed(db)

    assert await attempts.finish(db, held, SENT, Verdict(State.SENT))
    assert not await attempts.finish(db, held, SENT, Verdict(State.SENT))


async def test_a_lease_that_is_extended_is_not_swept(db: Db) -> None:
    held, other = await claimed(db), await claimed(db)
    await end_leases(db)

    await attempts.extend(db, [held])

    assert [lost.delivery_id for lost in await attempts.sweep(db)] == [other.delivery_id]
    left = await db.fetchval(
        "SELECT lease_until - clock_timestamp() FROM notify.delivery WHERE id = $1",
        held.delivery_id,
    )
    assert timedelta() < left <= LEASE


async def test_a_lost_claim_extends_no_lease(db: Db) -> None:
    old = await claimed(db)
    await claimed_again(db)
    await end_leases(db)

    await attempts.extend(db, [old])

    assert len(await attempts.sweep(db)) == 1


async def test_an_attempt_that_was_lost_before_data_is_due_at_once(db: Db) -> None:
    held = await claimed(db)
    assert await attempts.sweep(db) == []
    await end_leases(db)

    assert await attempts.sweep(db) == [
        DeliveryFinished(held.delivery_id, held.notice_id, Channel.MAIL, 1, Result.LEASE_OVER, None)
    ]
    assert await state_of(db, held) == ("retry", False)
    assert await ledger.mark_queued(db, 1) == [held.delivery_id]


async def test_an_attempt_that_was_lost_in_data_is_flagged(db: Db) -> None:
    held = await claimed(db)
    assert await attempts.mark_data(db, held)
    await end_leases(db)

    await attempts.sweep(db)

    assert await state_of(db, held) == ("retry", True)


async def test_what_kills_its_worker_each_time_dies_in_the_end(db: Db) -> None:
    held = await claimed(db)
    await db.execute("UPDATE notify.delivery SET attempt = $1", MAX_ATTEMPTS)
    await db.execute("UPDATE notify.attempt SET attempt = $1", MAX_ATTEMPTS)
    await end_leases(db)

    assert [lost.attempt for lost in await attempts.sweep(db)] == [MAX_ATTEMPTS]
    assert await state_of(db, held) == ("dead", False)
    assert await db.fetchval("SELECT finished_at IS NOT NULL FROM notify.delivery")


async def test_those_that_one_of_them_takes_down_with_it_part(db: Db) -> None:
    """At first all try again at once: mostly it was a restart. By the third time they spread."""
    notices = [NewNotice(uuid4(), uuid4(), [(uuid4(), uuid4())]) for _ in range(9)]
    await ledger.append(db, notices, AT)
    for _ in range(3):
        together = await attempts.claim(db, await ledger.mark_queued(db, 9), "worker 1")
        assert len(together) == 9
        await end_leases(db)
        await attempts.sweep(db)

    spread = await db.fetchval(
        "SELECT max(next_at) - min(next_at) FROM notify.delivery WHERE state = 'retry'"
    )

    assert len(await ledger.mark_queued(db, 9)) < 9
    assert timedelta(seconds=1) < spread < timedelta(minutes=2)


@pytest.mark.parametrize(
    ("outcome", "verdict", "flagged"),
    [
        (SENT, Verdict(State.SENT), False),
        (Outcome(Result.SUPPRESSED), Verdict(State.SUPPRESSED), False),
        (Outcome(Result.REFUSED, 550), Verdict(State.DEAD), False),
        (Outcome(Result.DEFERRED, 450), LATER, False),
        (Outcome(Result.UNANSWERED), replace(LATER, doubtful=True), True),
        (Outcome(Result.UNANSWERED), Verdict(State.UNKNOWN), False),
    ],
)
async def test_an_end_is_kept_with_its_code(
    db: Db, outcome: Outcome, verdict: Verdict, *, flagged: bool
) -> None:
    held = await claimed(db)

    assert await attempts.finish(db, held, outcome, verdict)

    assert await state_of(db, held) == (verdict.state, flagged)
    (line,) = await ledger.select_attempts(db, [held.notice_id])
    assert (line.result, line.code) == (outcome.result, outcome.code)
    over = await db.fetchval("SELECT finished_at IS NOT NULL FROM notify.delivery")
    assert over is (verdict.state not in {State.RETRY, State.UNKNOWN})


async def test_no_mail_leaves_once_its_channel_is_paused(db: Db) -> None:
    held = await claimed(db)
    await ledger.pause(db, Channel.MAIL)

    assert not await attempts.mark_data(db, held)
    assert await state_of(db, held) == ("sending", False)


async def hold(db: Db, channel: Channel = Channel.MAIL) -> None:
    await ledger.update_policies(db, {channel: "hold"})


async def test_under_hold_an_attempt_that_was_lost_in_data_waits_for_an_operator(db: Db) -> None:
    await hold(db)
    held, before = await claimed(db), await claimed(db)
    assert held.hold
    await attempts.mark_data(db, held)
    await end_leases(db)

    assert len(await attempts.sweep(db)) == 2

    assert await state_of(db, held) == ("unknown", False)
    assert await state_of(db, before) == ("retry", False)
    assert await ledger.mark_queued(db, 10) == [before.delivery_id]
    assert await db.fetchval("SELECT bool_and(finished_at IS NULL) FROM notify.delivery")


async def test_the_policy_of_one_channel_is_not_the_others(db: Db) -> None:
    await hold(db, Channel.WEBHOOK)
    held = await claimed(db)

    assert not held.hold


@pytest.mark.parametrize("state", ["retry", "unknown", "dead"])
async def test_a_worker_that_knows_better_settles_what_was_given_up(db: Db, state: str) -> None:
    held = await claimed(db)
    await attempts.mark_data(db, held)
    await db.execute(
        "UPDATE notify.delivery SET state = $1, phase = NULL, lease_until = NULL", state
    )

    assert not await attempts.finish(db, held, Outcome(Result.UNANSWERED), LATER)
    assert await attempts.finish(db, held, SENT, Verdict(State.SENT))
    assert await state_of(db, held) == ("sent", False)


async def test_only_attempts_that_were_not_spared_count(db: Db) -> None:
    held = await claimed(db)
    spared = Verdict(State.RETRY, spared=True)

    for number in range(1, 2 * MAX_ATTEMPTS):
        assert (held.attempt, held.spared) == (number, number - 1)
        assert await attempts.finish(db, held, Outcome(Result.RELEASED), spared)
        (held,) = await attempts.claim(db, await ledger.mark_queued(db, 1), "worker 1")
    await end_leases(db)
    await attempts.sweep(db)

    assert await state_of(db, held) == ("retry", False)


async def test_what_goes_to_a_resting_peer_is_left_to_its_visibility(db: Db) -> None:
    hook = await add_webhook(db)
    notice = NewNotice(uuid4(), uuid4(), [(uuid4(), uuid4())], uuid4(), [hook])
    await ledger.append(db, [notice], AT)
    queued = await ledger.mark_queued(db, 2)

    assert await attempts.claim(db, queued, "worker 1", [Channel.MAIL, hook]) == []
    (called,) = await attempts.claim(db, queued, "worker 1", [Channel.MAIL])
    (mailed,) = await attempts.claim(db, queued, "worker 1", [hook])

    assert (called.peer, called.match_id) == (hook, notice.matches[0][0])
    assert (mailed.peer, mailed.match_id) == (Channel.MAIL, None)
    assert called.party_id == mailed.party_id == notice.party_id
