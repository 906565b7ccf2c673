"""SQL of notices and deliveries: outbox and ledger in one.

The matcher appends, the relay marks what is due, operators pause; `attempts` does the rest.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TypeAlias
from uuid import UUID

from notify.retry import Result, State
from schemas.database import Db

VISIBILITY = timedelta(seconds=10)
# Of a match that is 3 KB in a mail: servers turn away what is too long, and nobody reads it.
FULL = 100


class Channel(StrEnum):
    """A way by which a notice reaches its reporter."""

    MAIL = "mail"
    WEBHOOK = "webhook"


# Whom the deliveries go to at first: the server that takes all of a channel's, or a webhook.
Peer: TypeAlias = Channel | UUID


@dataclass(frozen=True, slots=True)
class NewNotice:
    """A message to one reporter on matches, each with the signal of his that it is on.

    `party_id` is whom it counts for when organisations take turns; each of `webhooks` is
    told of each match as well.
    """

    id: UUID
    reporter_id: UUID
    matches: Sequence[tuple[UUID, UUID]]
    party_id: UUID | None = None
    webhooks: Sequence[UUID] = ()


@dataclass(frozen=True, slots=True)
class Attempt:
    """One line of a delivery's story; without attempt yet, the attempt's fields are None."""

    notice_id: UUID
    delivery_id: UUID
    channel: Channel
    state: State
    maybe_duplicate: bool
    attempt: int | None
    worker: str | None
    started_at: datetime | None
    finished_at: datetime | None
    result: Result | None
    code: int | None
    reported: str | None


async def append(
    db: Db, notices: Sequence[NewNotice], at: datetime, digest: timedelta = timedelta()
) -> dict[UUID, UUID]:
    """Write notices, each with its deliveries, in the caller's transaction.

    Who was told something less than `digest` ago is told the rest together, when it has passed
    (M9). Returns where the matches of each notice went: to itself, or to an earlier one that
    waits. The caller waits for no lock afterwards; rows go in by key, so that concurrent
    matchers cannot lock each other out.
    """
    into = {notice.id: notice.id for notice in notices}
    if digest:
        await lock_mailboxes(db, {notice.reporter_id for notice in notices})
        into |= await select_waiting(db, notices)
    new = sorted((each for each in notices if into[each.id] == each.id), key=lambda each: each.id)
    await insert_notices(db, new, at)
    if digest:
        await postpone(db, new, digest)
    await insert_matches(db, notices, into)
    await insert_webhook_deliveries(db, notices, into, at)
    return into


async def lock_mailboxes(db: Db, reporters: Collection[UUID]) -> None:
    """Let nobody else write to these reporters until the transaction ends."""
    await db.execute(
        """
        -- ledger.insert_mailboxes
        INSERT INTO notify.mailbox (reporter_id, quiet_until)
        SELECT id, clock_timestamp()
          FROM unnest($1::uuid[]) AS new (id)
         ORDER BY id
            ON CONFLICT DO NOTHING
        """,
        sorted(reporters),
    )
    await db.execute(
        """
        -- ledger.lock_mailboxes
        SELECT reporter_id
          FROM notify.mailbox
         WHERE reporter_id = ANY($1)
         ORDER BY reporter_id
           FOR UPDATE
        """,
        sorted(reporters),
    )


async def select_waiting(db: Db, notices: Sequence[NewNotice]) -> dict[UUID, UUID]:
    """Of each notice that can go into an earlier one to the same reporter, into which.

    Only the latest are looked at, and only those that are not full and that no relay, withdrawal
    or worker has: none of these can get hold of them before the transaction ends.
    """
    rows = await db.fetch(
        """
        -- ledger.select_waiting
        SELECT new.id, notice.id AS waiting
          FROM unnest($1::uuid[], $2::uuid[]) AS new (id, reporter_id)
         CROSS JOIN LATERAL (
               SELECT notice.id
                 FROM notify.notice
                WHERE notice.reporter_id = new.reporter_id
                  AND kind = 'match'
                ORDER BY notice.created_at DESC
                LIMIT 5) AS latest
          JOIN notify.notice ON notice.id = latest.id
          JOIN notify.delivery
            ON delivery.notice_id = notice.id
           AND delivery.channel = 'mail'
           AND delivery.state = 'pending'
           AND delivery.attempt = 0
         WHERE $3 > (SELECT count(*) FROM notify.notice_match WHERE notice_id = notice.id)
           FOR UPDATE OF notice, delivery SKIP LOCKED
        """,
        [notice.id for notice in notices],
        [notice.reporter_id for notice in notices],
        FULL,
    )
    return {row["id"]: row["waiting"] for row in rows}


async def insert_notices(db: Db, notices: Sequence[NewNotice], at: datetime) -> None:
    await db.execute(
        """
        -- ledger.insert_notices
        WITH notice AS (
             INSERT INTO notify.notice (id, reporter_id, party_id, created_at)
             SELECT id, reporter_id, party_id, $4
               FROM unnest($1::uuid[], $2::uuid[], $3::uuid[]) AS new (id, reporter_id, party_id)
        )
        INSERT INTO notify.delivery
               (id, notice_id, party_id, channel, state, next_at, created_at)
        SELECT gen_random_uuid(), id, party_id, 'mail', 'pending', clock_timestamp(), $4
          FROM unnest($1::uuid[], $3::uuid[]) AS new (id, party_id)
        """,
        [notice.id for notice in notices],
        [notice.reporter_id for notice in notices],
        [notice.party_id for notice in notices],
        at,
    )


async def postpone(db: Db, notices: Sequence[NewNotice], digest: timedelta) -> None:
    """Let new notices wait until their readers' quiet time is over, and begin the next."""
    await db.execute(
        """
        -- ledger.postpone
        WITH told AS (
             SELECT reporter_id, greatest(quiet_until, clock_timestamp()) AS told_at
               FROM notify.mailbox
              WHERE reporter_id = ANY($2::uuid[])
        ), later AS (
             UPDATE notify.delivery
                SET next_at = told_at
               FROM unnest($1::uuid[], $2::uuid[]) AS new (id, reporter_id)
               JOIN told USING (reporter_id)
              WHERE delivery.notice_id = new.id
        )
        UPDATE notify.mailbox
           SET quiet_until = told_at + $3
          FROM told
         WHERE mailbox.reporter_id = told.reporter_id
        """,
        [notice.id for notice in notices],
        [notice.reporter_id for notice in notices],
        digest,
    )


async def insert_matches(db: Db, notices: Sequence[NewNotice], into: Mapping[UUID, UUID]) -> None:
    keys = sorted(
        (match_id, signal_id, into[notice.id])
        for notice in notices
        for match_id, signal_id in notice.matches
    )
    await db.execute(
        """
        -- ledger.insert_matches
        INSERT INTO notify.notice_match (match_id, signal_id, notice_id)
        SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[])
        """,
        [match_id for match_id, _, _ in keys],
        [signal_id for _, signal_id, _ in keys],
        [notice_id for _, _, notice_id in keys],
    )


async def insert_webhook_deliveries(
    db: Db, notices: Sequence[NewNotice], into: Mapping[UUID, UUID], at: datetime
) -> None:
    """An organisation's own system is told of each match at once."""
    told = {
        (into[notice.id], webhook, match_id): notice.party_id
        for notice in notices
        for webhook in notice.webhooks
        for match_id, _ in notice.matches
    }
    await db.execute(
        """
        -- ledger.insert_webhook_deliveries
        INSERT INTO notify.delivery
               (id, notice_id, party_id, channel, webhook_id, match_id, state, next_at, created_at)
        SELECT gen_random_uuid(), notice_id, party_id, 'webhook', webhook_id, match_id, 'pending',
               clock_timestamp(), $5
          FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[])
            AS new (notice_id, webhook_id, match_id, party_id)
        """,
        [notice for notice, _, _ in told],
        [webhook for _, webhook, _ in told],
        [match for _, _, match in told],
        list(told.values()),
        at,
    )


async def mark_queued(db: Db, limit: int, shut: Collection[Peer] = ()) -> list[UUID]:
    """Mark what is due and not for those who are `shut`, to be published after the commit.

    Organisations take turns: first the first of each, then the second. What was marked but
    never claimed is due again when its visibility ends. The scan skips from one organisation
    to the next, ending each channel with what counts for none; sub-selects make the clock a
    constant of the statement, so that the index ends each scan.
    """
    rows = await db.fetch(
        """
        -- ledger.mark_queued
        WITH RECURSIVE party AS (
             SELECT name AS channel, (
                    SELECT party_id
                      FROM notify.delivery
                     WHERE channel = name
                       AND state IN ('pending', 'queued', 'retry')
                       AND party_id IS NOT NULL
                     ORDER BY party_id
                     LIMIT 1) AS id
               FROM notify.channel
              WHERE paused_at IS NULL
                AND name <> ALL($3::text[])
              UNION ALL
             SELECT channel, (
                    SELECT party_id
                      FROM notify.delivery
                     WHERE delivery.channel = party.channel
                       AND state IN ('pending', 'queued', 'retry')
                       AND party_id > party.id
                     ORDER BY party_id
                     LIMIT 1)
               FROM party
              WHERE party.id IS NOT NULL
        ), due AS (
             SELECT waiting.id, waiting.next_at,
                    row_number() OVER (
                        PARTITION BY party.channel, party.id ORDER BY waiting.next_at) AS turn
               FROM party
              CROSS JOIN LATERAL (
                    (SELECT id, next_at
                       FROM notify.delivery
                      WHERE delivery.channel = party.channel
                        AND delivery.party_id = party.id
                        AND state IN ('pending', 'queued', 'retry')
                        AND next_at <= (SELECT clock_timestamp())
                        AND (webhook_id IS NULL OR webhook_id <> ALL($4::uuid[]))
                      ORDER BY next_at
                      LIMIT (SELECT greatest(4, $1 / greatest(count(id), 1)) FROM party))
                     UNION ALL
                    (SELECT id, next_at
                       FROM notify.delivery
                      WHERE delivery.channel = party.channel
                        AND delivery.party_id IS NULL
                        AND party.id IS NULL
                        AND state IN ('pending', 'queued', 'retry')
                        AND next_at <= (SELECT clock_timestamp())
                        AND (webhook_id IS NULL OR webhook_id <> ALL($4::uuid[]))
                      ORDER BY next_at
                      LIMIT (SELECT greatest(4, $1 / greatest(count(id), 1)) FROM party))
                    ) AS waiting
              ORDER BY turn, waiting.next_at
              LIMIT $1
        ), free AS (
             SELECT delivery.id
               FROM notify.delivery
              WHERE id = ANY(ARRAY(SELECT due.id FROM due))
                AND state IN ('pending', 'queued', 'retry')
                AND next_at <= (SELECT clock_timestamp())
                FOR UPDATE SKIP LOCKED
        ), marked AS (
             UPDATE notify.delivery
                SET state = 'queued', next_at = clock_timestamp() + $2
               FROM free
              WHERE delivery.id = free.id
             RETURNING delivery.id
        )
        SELECT marked.id
          FROM marked
          JOIN due USING (id)
         ORDER BY due.turn, due.next_at
        """,
        limit,
        VISIBILITY,
        [peer for peer in shut if isinstance(peer, Channel)],
        [peer for peer in shut if isinstance(peer, UUID)],
    )
    return [row["id"] for row in rows]


async def mark_trial(db: Db, peer: Peer) -> list[UUID]:
    """Mark one delivery that is due for a peer, if there is one, as `mark_queued` does."""
    rows = await db.fetch(
        """
        -- ledger.mark_trial
        WITH due AS (
             SELECT id
               FROM notify.delivery
              WHERE state IN ('pending', 'queued', 'retry')
                AND next_at <= (SELECT clock_timestamp())
                AND channel IN (SELECT name FROM notify.channel WHERE paused_at IS NULL)
                AND ($1::text IS NULL AND webhook_id = $2 OR channel = $1)
              ORDER BY next_at
              LIMIT 1
                FOR UPDATE SKIP LOCKED
        )
        UPDATE notify.delivery
           SET state = 'queued', next_at = clock_timestamp() + $3
          FROM due
         WHERE delivery.id = due.id
        RETURNING delivery.id
        """,
        peer if isinstance(peer, Channel) else None,
        peer if isinstance(peer, UUID) else None,
        VISIBILITY,
    )
    return [row["id"] for row in rows]


async def pause(db: Db, channel: Channel) -> bool:
    """Keep the channel's deliveries in the ledger; False when it was paused already.

    What is on its way to a worker is taken back, so that it is due at once on resume.
    """
    paused = await db.fetchval(
        """
        -- ledger.pause
        UPDATE notify.channel
           SET paused_at = clock_timestamp()
         WHERE name = $1
           AND paused_at IS NULL
        RETURNING true
        """,
        channel,
    )
    await db.execute(
        """
        -- ledger.take_back
        UPDATE notify.delivery
           SET state = 'pending', next_at = clock_timestamp()
         WHERE channel = $1
           AND state = 'queued'
        """,
        channel,
    )
    return paused is not None


async def resume(db: Db, channel: Channel) -> bool:
    """Let the channel's deliveries go again; False when it was not paused."""
    resumed = await db.fetchval(
        """
        -- ledger.resume
        UPDATE notify.channel
           SET paused_at = NULL
         WHERE name = $1
           AND paused_at IS NOT NULL
        RETURNING true
        """,
        channel,
    )
    return resumed is not None


async def select_paused(db: Db) -> dict[Channel, datetime]:
    """Which channels are paused, and since when."""
    rows = await db.fetch(
        """
        -- ledger.select_paused
        SELECT name, paused_at
          FROM notify.channel
         WHERE paused_at IS NOT NULL
         ORDER BY name
        """
    )
    return {Channel(row["name"]): row["paused_at"] for row in rows}


async def update_policies(db: Db, ambiguous: Mapping[Channel, str]) -> int:
    """Say of channels whether what may have arrived is sent again or held; how many changed.

    Attempts that run keep the policy that they began under.
    """
    done = await db.fetch(
        """
        -- ledger.update_policies
        UPDATE notify.channel
           SET ambiguous = policy.ambiguous
          FROM unnest($1::text[], $2::text[]) AS policy (name, ambiguous)
         WHERE channel.name = policy.name
           AND channel.ambiguous <> policy.ambiguous
        RETURNING true
        """,
        list(ambiguous),
        list(ambiguous.values()),
    )
    return len(done)


async def count_by_state(db: Db) -> dict[State, int]:
    """How many deliveries stand where."""
    rows = await db.fetch(
        """
        -- ledger.count_by_state
        SELECT state, count(*) AS deliveries
          FROM notify.delivery
         GROUP BY state
        """
    )
    return {State(row["state"]): row["deliveries"] for row in rows}


async def select_reporter(db: Db, notice: UUID) -> UUID | None:
    """Whom a notice is for; None when it is gone."""
    reporter: UUID | None = await db.fetchval(
        """
        -- ledger.select_reporter
        SELECT reporter_id
          FROM notify.notice
         WHERE id = $1
        """,
        notice,
    )
    return reporter


async def select_matches(db: Db, notice: UUID) -> list[tuple[UUID, UUID]]:
    """The matches that a notice is on, each with its reporter's own signal."""
    rows = await db.fetch(
        """
        -- ledger.select_matches
        SELECT match_id, signal_id
          FROM notify.notice_match
         WHERE notice_id = $1
         ORDER BY match_id, signal_id
        """,
        notice,
    )
    return [(row["match_id"], row["signal_id"]) for row in rows]


async def readdress(db: Db, sides: Sequence[tuple[UUID, UUID]], reporter: UUID) -> None:
    """Give the notices on these (match, signal) sides to another reporter, unless they went out."""
    await db.execute(
        """
        -- ledger.readdress
        UPDATE notify.notice
           SET reporter_id = $3
         WHERE id IN (
               SELECT notice_id
                 FROM notify.notice_match
                 JOIN unnest($1::uuid[], $2::uuid[]) AS moved (match_id, signal_id)
                USING (match_id, signal_id))
           AND EXISTS (
               SELECT
                 FROM notify.delivery
                WHERE notice_id = notice.id
                  AND channel = 'mail'
                  AND state NOT IN ('sent', 'suppressed'))
        """,
        [match for match, _ in sides],
        [signal for _, signal in sides],
        reporter,
    )


async def select_attempts(db: Db, notices: Sequence[UUID]) -> list[Attempt]:
    """The story of the deliveries of notices, in order."""
    rows = await db.fetch(
        """
        -- ledger.select_attempts
        SELECT notice_id, delivery.id AS delivery_id, channel, state, maybe_duplicate,
               attempt.attempt, worker, started_at, attempt.finished_at, outcome, code, reported
          FROM notify.delivery
          LEFT JOIN notify.attempt ON attempt.delivery_id = delivery.id
         WHERE notice_id = ANY($1)
         ORDER BY notice_id, channel, attempt.attempt
        """,
        notices,
    )
    return [
        Attempt(
            notice_id=row["notice_id"],
            delivery_id=row["delivery_id"],
            channel=Channel(row["channel"]),
            state=State(row["state"]),
            maybe_duplicate=row["maybe_duplicate"],
            attempt=row["attempt"],
            worker=row["worker"],
            started_at=row["started_at"],
            finished_at=row["finished_at"],
            result=Result(row["outcome"]) if row["outcome"] else None,
            code=row["code"],
            reported=row["reported"],
        )
        for row in rows
    ]


async def withdraw_matches(db: Db, matches: Collection[UUID]) -> list[UUID]:
    """Forget that matches were to be told; notices that tell of nothing else go. What is gone."""
    rows = await db.fetch(
        """
        -- ledger.withdraw_matches
        DELETE FROM notify.notice_match
         WHERE match_id = ANY($1)
        RETURNING notice_id
        """,
        list(matches),
    )
    return await delete_empty(db, {row["notice_id"] for row in rows})


async def withdraw_sides(db: Db, signals: Collection[UUID]) -> list[UUID]:
    """Forget what was to be told to the reporters of these signals. What is gone."""
    rows = await db.fetch(
        """
        -- ledger.withdraw_sides
        DELETE FROM notify.notice_match
         WHERE signal_id = ANY($1)
        RETURNING notice_id
        """,
        list(signals),
    )
    return await delete_empty(db, {row["notice_id"] for row in rows})


async def delete_empty(db: Db, notices: Collection[UUID]) -> list[UUID]:
    """Delete what of these notices tells of nothing any more; ids of all that is gone.

    They are locked first: the last statement then sees what a matcher put into them meanwhile,
    and what another took out. Deliveries are locked by id, as workers do.
    """
    await db.execute(
        """
        -- ledger.lock_notices
        SELECT id
          FROM notify.notice
         WHERE id = ANY($1)
         ORDER BY id
           FOR UPDATE
        """,
        list(notices),
    )
    await db.execute(
        """
        -- ledger.lock_deliveries
        SELECT id
          FROM notify.delivery
         WHERE notice_id = ANY($1)
         ORDER BY id
           FOR UPDATE
        """,
        list(notices),
    )
    rows = await db.fetch(
        """
        -- ledger.delete_empty
        WITH empty AS (
             SELECT id
               FROM notify.notice
              WHERE id = ANY($1)
                AND NOT EXISTS (SELECT FROM notify.notice_match WHERE notice_id = notice.id)
                AND NOT EXISTS (SELECT FROM notify.notice_move WHERE notice_id = notice.id)
                AND NOT EXISTS (SELECT FROM notify.notice_step WHERE notice_id = notice.id)
        ), untold AS (
             SELECT id
               FROM notify.delivery
              WHERE notice_id = ANY($1)
                AND match_id IS NOT NULL
                AND NOT EXISTS (
                    SELECT
                      FROM notify.notice_match
                     WHERE notice_id = delivery.notice_id
                       AND match_id = delivery.match_id)
              UNION
             SELECT id FROM notify.delivery WHERE notice_id IN (SELECT id FROM empty)
        ), fewer AS (
             DELETE FROM notify.delivery WHERE id IN (SELECT id FROM untold)
        ), gone AS (
             DELETE FROM notify.notice WHERE id IN (SELECT id FROM empty)
        )
        SELECT id FROM empty
         UNION ALL
        SELECT id FROM untold
        """,
        list(notices),
    )
    return [row["id"] for row in rows]
