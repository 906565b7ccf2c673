import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from asyncpg import UniqueViolationError
from asyncpg.connection import LoggedQuery

from notify import attempts, ledger
from notify.ledger import VISIBILITY, Channel, NewNotice
from notify.retry import Outcome, Result, State, Verdict
from schemas.database import Db
from tests.notify.conftest import AT, add_webhook

if TYPE_CHECKING:
    from asyncpg import Pool, Record


def new_notices(count: int) -> list[NewNotice]:
    return [NewNotice(uuid4(), uuid4(), [(uuid4(), uuid4())]) for _ in range(count)]


async def appended(db: Db, count: int = 1, party: UUID | None = None) -> list[NewNotice]:
    notices = [replace(notice, party_id=party) for notice in new_notices(count)]
    await ledger.append(db, notices, AT)
    return notices


async def test_a_notice_is_written_with_its_matches_and_one_pending_delivery(db: Db) -> None:
    matches = [(uuid4(), uuid4()), (uuid4(), uuid4())]
    notice = NewNotice(uuid4(), uuid4(), matches)

    await ledger.append(db, [notice, *new_notices(1)], AT)

    assert await ledger.select_reporter(db, notice.id) == notice.reporter_id
    assert await ledger.select_matches(db, notice.id) == sorted(matches)
    assert await ledger.count_by_state(db) == {State.PENDING: 2}
    assert await db.fetchval("SELECT count(*) FROM notify.delivery WHERE created_at = $1", AT) == 2


async def test_nothing_is_written_for_no_notices(db: Db) -> None:
    await ledger.append(db, [], AT)

    assert await ledger.count_by_state(db) == {}
    assert await ledger.select_reporter(db, uuid4()) is None


async def test_a_side_of_a_match_gets_no_second_notice(db: Db) -> None:
    match = (uuid4(), uuid4())
    await ledger.append(db, [NewNotice(uuid4(), uuid4(), [match])], AT)

    with pytest.raises(UniqueViolationError, match="notice_match_pk"):
        await ledger.append(db, [NewNotice(uuid4(), uuid4(), [match])], AT)


async def test_matchers_that_write_the_same_matches_in_another_order_never_deadlock(
    pool: "Pool[Record]",
) -> None:
    matches = [(uuid4(), uuid4()) for _ in range(50)]

    async def write(order: Sequence[tuple[UUID, UUID]]) -> None:
        async with pool.acquire() as db, db.transaction():
            await ledger.append(db, [NewNotice(uuid4(), uuid4(), [match]) for match in order], AT)

    for _ in range(5):
        ends = await asyncio.gather(
            *(write(order) for order in [matches, matches[::-1]] * 3), return_exceptions=True
        )
        assert {type(end) for end in ends} <= {type(None), UniqueViolationError}


async def test_what_is_due_is_marked_once_until_its_visibility_ends(db: Db) -> None:
    await appended(db, 3)

    first = await ledger.mark_queued(db, 2)
    rest = await ledger.mark_queued(db, 10)

    assert (len(first), len(rest)) == (2, 1)
    assert await ledger.mark_queued(db, 10) == []
    await db.execute("UPDATE notify.delivery SET next_at = next_at - $1::interval", VISIBILITY)
    assert set(await ledger.mark_queued(db, 10)) == {*first, *rest}


async def test_what_waits_longest_is_marked_first(db: Db) -> None:
    await appended(db, 3)
    oldest = await db.fetchval(
        """
        UPDATE notify.delivery
           SET next_at = next_at - interval '1 hour'
         WHERE id = (SELECT max(id::text)::uuid FROM notify.delivery)
        RETURNING id
        """
    )

    assert await ledger.mark_queued(db, 1) == [oldest]


async def test_what_is_not_due_yet_rests(db: Db) -> None:
    await appended(db)
    await db.execute("UPDATE notify.delivery SET next_at = next_at + interval '1 hour'")

    assert await ledger.mark_queued(db, 10) == []


async def parties_of(db: Db, deliveries: Sequence[UUID]) -> list[UUID | None]:
    """Whom deliveries count for, in their order."""
    rows = await db.fetch("SELECT id, party_id FROM notify.delivery")
    party = {row["id"]: row["party_id"] for row in rows}
    return [party[delivery] for delivery in deliveries]


async def test_organisations_take_turns_however_much_one_has(db: Db) -> None:
    big, small, nobodys = uuid4(), uuid4(), None
    await appended(db, 300, big)
    await appended(db, 2, small)
    await appended(db, 2, nobodys)

    order = await parties_of(db, await ledger.mark_queued(db, 100))

    assert Counter(order[:3]) == Counter(order[3:6]) == Counter([big, small, nobodys])
    assert set(order[6:]) == {big}


async def test_a_poll_fills_up_with_what_the_only_organisation_has(db: Db) -> None:
    await appended(db, 300, uuid4())

    assert len(await ledger.mark_queued(db, 256)) == 256


async def test_turns_go_on_where_they_were_until_nothing_is_left(db: Db) -> None:
    parties = [uuid4() for _ in range(40)]
    for party in parties:
        await appended(db, 5, party)

    rounds = [await ledger.mark_queued(db, 40) for _ in range(5)]

    assert all(len(marked) == 40 for marked in rounds)
    for marked in rounds:
        assert set(await parties_of(db, marked)) == set(parties)
    assert await ledger.mark_queued(db, 40) == []


async def test_two_relays_never_mark_the_same_delivery(pool: "Pool[Record]") -> None:
    async with pool.acquire() as db:
        await appended(db, 40)
    async with pool.acquire() as one, pool.acquire() as other, one.transaction():
        first = await ledger.mark_queued(one, 15)
        second = await ledger.mark_queued(other, 100)

    assert (len(first), len(second)) == (15, 25)
    assert not {*first} & {*second}


async def test_the_backlog_that_rests_costs_a_poll_nothing(db: Db) -> None:
    await appended(db, 2000, uuid4())
    await db.execute("UPDATE notify.delivery SET next_at = next_at + interval '1 hour'")
    await db.execute("ANALYZE notify.delivery")

    polls: list[LoggedQuery] = []
    with db.query_logger(polls.append):
        await ledger.mark_queued(db, 10)
        await asyncio.sleep(0)
    plan = await db.fetch(f"EXPLAIN {polls[0].query}", *polls[0].args)

    scans = [row[0] for row in plan if "Index Cond" in row[0]]
    assert any("party_id = party" in scan and "next_at <= " in scan for scan in scans)


async def test_a_paused_channel_keeps_its_deliveries_and_takes_back_what_was_queued(
    db: Db,
) -> None:
    await appended(db, 2)
    queued = await ledger.mark_queued(db, 1)

    assert await ledger.pause(db, Channel.MAIL)

    assert await ledger.count_by_state(db) == {State.PENDING: 2}
    assert await ledger.mark_queued(db, 10) == []
    assert await attempts.claim(db, queued, "worker 1") == []
    assert await ledger.resume(db, Channel.MAIL)
    assert len(await ledger.mark_queued(db, 10)) == 2


async def test_pausing_and_resuming_twice_changes_nothing(db: Db) -> None:
    assert await ledger.pause(db, Channel.MAIL)
    assert not await ledger.pause(db, Channel.MAIL)
    assert await ledger.resume(db, Channel.MAIL)
    assert not await ledger.resume(db, Channel.MAIL)


async def test_a_webhook_is_told_of_each_match_on_its_own_and_at_once(db: Db) -> None:
    hook, other = await add_webhook(db), await add_webhook(db)
    matches = [(uuid4(), uuid4()), (uuid4(), uuid4())]
    party = uuid4()

    await ledger.append(db, [NewNotice(uuid4(), uuid4(), matches, party, [hook, other])], AT)

    rows = await db.fetch(
        """
        SELECT webhook_id, match_id, party_id
          FROM notify.delivery
         WHERE channel = 'webhook' AND state = 'pending' AND next_at <= clock_timestamp()
        """
    )
    assert {tuple(row) for row in rows} == {
        (webhook, match, party) for webhook in (hook, other) for match, _ in matches
    }
    assert len(await ledger.mark_queued(db, 10)) == 5


async def test_those_who_are_shut_out_wait_and_others_go(db: Db) -> None:
    hook, other = await add_webhook(db), await add_webhook(db)
    notice = NewNotice(uuid4(), uuid4(), [(uuid4(), uuid4())], uuid4(), [hook, other])
    await ledger.append(db, [notice], AT)

    assert await channels_of(db, await ledger.mark_queued(db, 10, [Channel.MAIL, hook])) == [other]
    assert await ledger.mark_trial(db, other) == []
    assert await channels_of(db, await ledger.mark_trial(db, hook)) == [hook]
    assert await channels_of(db, await ledger.mark_trial(db, Channel.MAIL)) == [None]
    assert await ledger.mark_queued(db, 10) == []


async def channels_of(db: Db, deliveries: Sequence[UUID]) -> list[UUID | None]:
    """Which webhook each is for; None for mail."""
    rows = await db.fetch(
        "SELECT webhook_id FROM notify.delivery WHERE id = ANY($1)", list(deliveries)
    )
    return [row["webhook_id"] for row in rows]


async def test_a_trial_is_the_one_that_waits_longest_and_none_while_paused(db: Db) -> None:
    await appended(db, 3)
    oldest = await db.fetchval(
        """
        UPDATE notify.delivery
           SET next_at = next_at - interval '1 hour'
         WHERE id = (SELECT max(id::text)::uuid FROM notify.delivery)
        RETURNING id
        """
    )

    await ledger.pause(db, Channel.MAIL)
    assert await ledger.mark_trial(db, Channel.MAIL) == []
    await ledger.resume(db, Channel.MAIL)
    assert await ledger.mark_trial(db, Channel.MAIL) == [oldest]


async def test_what_is_withdrawn_takes_its_webhook_deliveries_along(db: Db) -> None:
    hook = await add_webhook(db)
    (gone, _), (kept, _) = matches = [(uuid4(), uuid4()), (uuid4(), uuid4())]
    notice = NewNotice(uuid4(), uuid4(), matches, uuid4(), [hook])
    await ledger.append(db, [notice], AT)
    untold = await db.fetchval("SELECT id FROM notify.delivery WHERE match_id = $1", gone)

    assert await ledger.withdraw_matches(db, [gone]) == [untold]
    rows = await db.fetch("SELECT match_id FROM notify.delivery ORDER BY channel")
    assert [row["match_id"] for row in rows] == [None, kept]

    left = await ledger.withdraw_sides(db, [signal for _, signal in matches])
    assert len(left) == len(set(left)) == 3
    assert notice.id in left
    assert await ledger.count_by_state(db) == {}


async def test_a_policy_that_changes_is_counted_once(db: Db) -> None:
    held = {Channel.MAIL: "hold", Channel.WEBHOOK: "resend"}

    assert await ledger.update_policies(db, held) == 1
    assert await ledger.update_policies(db, held) == 0


async def test_the_story_of_a_delivery_tells_each_attempt(db: Db) -> None:
    (tried,) = await appended(db)
    (held,) = await attempts.claim(db, await ledger.mark_queued(db, 1), "worker 1")
    deferred = Outcome(Result.DEFERRED, 451)
    await attempts.finish(db, held, deferred, Verdict(State.RETRY, timedelta(hours=1)))
    (waiting,) = await appended(db)

    story = await ledger.select_attempts(db, [tried.id, waiting.id])

    told = {line.notice_id: line for line in story}
    assert len(story) == 2
    assert (told[tried.id].result, told[tried.id].code) == (Result.DEFERRED, 451)
    assert (told[tried.id].state, told[tried.id].attempt) == (State.RETRY, 1)
    assert told[tried.id].finished_at is not None
    assert not told[tried.id].maybe_duplicate
    assert (told[waiting.id].attempt, told[waiting.id].result) == (None, None)


@pytest.mark.parametrize(
    ("state", "follows"),
    [
        ("pending", True),
        ("retry", True),
        ("unknown", True),
        ("dead", True),
        ("sent", False),
        ("suppressed", False),
    ],
)
async def test_w3_what_may_still_go_out_follows_its_signals(
    db: Db, state: str, *, follows: bool
) -> None:
    side, successor = (uuid4(), uuid4()), uuid4()
    notice = NewNotice(uuid4(), uuid4(), [side], uuid4(), [await add_webhook(db)])
    await ledger.append(db, [notice], AT)
    await db.execute("UPDATE notify.delivery SET state = $1 WHERE channel = 'mail'", state)

    await ledger.readdress(db, [side], successor)

    reporter = await ledger.select_reporter(db, notice.id)
    assert reporter == (successor if follows else notice.reporter_id)
