"""SQL of notices on the steps that follow a match: reminders, lists, monitoring.

Which step is due on which side is decided elsewhere; here it is told at most once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid4

from notify import ledger
from schemas.database import Db

KINDS: Mapping[str, str] = {
    "reminder": "reminder",
    "overdue": "overdue",
    "worklist": "worklist",
    "monitoring_3": "monitoring",
    "monitoring_12": "monitoring",
}

SideKey = tuple[UUID, UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStep:
    """A step on one side of a match, to be told to a recipient not before `wait` is over.

    `party` is whom it counts for when organisations take turns.
    """

    step: str
    recipient: UUID
    party: UUID
    side: SideKey
    wait: timedelta


Heap = tuple[UUID, str]


async def append(db: Db, told: Sequence[NewStep], at: datetime) -> dict[SideKey, list[UUID]]:
    """Write notices, one for each recipient and step, each with its delivery.

    One that nobody has begun to deliver takes more in. Whose mailbox is locked here waits for
    no one else, so many may append at once. Returns which notices are on which side.
    """
    new = await _leave_out_told(db, told)
    if not new:
        return {}
    await _lock_mailboxes(db, {each.recipient for each in new})
    into = await _select_open(db, {each.recipient for each in new})
    fresh: dict[Heap, tuple[UUID, NewStep]] = {}
    for each in new:
        if (each.recipient, each.step) not in into:
            fresh.setdefault((each.recipient, each.step), (uuid4(), each))
    await _insert_notices(db, list(fresh.values()), at)
    into |= {heap: notice for heap, (notice, _) in fresh.items()}
    await _insert_steps(db, [(into[each.recipient, each.step], each) for each in new])
    sides: dict[SideKey, list[UUID]] = {}
    for each in new:
        sides.setdefault(each.side, []).append(into[each.recipient, each.step])
    return sides


async def _leave_out_told(db: Db, told: Sequence[NewStep]) -> list[NewStep]:
    """Those that were not told before."""
    rows = await db.fetch(
        """
        -- steps.leave_out_told
        SELECT match_id, signal_id, step
          FROM notify.notice_step
          JOIN unnest($1::uuid[], $2::uuid[], $3::text[]) AS new (match_id, signal_id, step)
         USING (match_id, signal_id, step)
        """,
        [each.side[0] for each in told],
        [each.side[1] for each in told],
        [each.step for each in told],
    )
    known = {((row["match_id"], row["signal_id"]), row["step"]) for row in rows}
    return [each for each in told if (each.side, each.step) not in known]


async def _lock_mailboxes(db: Db, recipients: Collection[UUID]) -> None:
    await db.execute(
        """
        -- steps.insert_mailboxes
        INSERT INTO notify.mailbox (reporter_id, quiet_until)
        SELECT id, clock_timestamp()
          FROM unnest($1::uuid[]) AS new (id)
         ORDER BY id
            ON CONFLICT DO NOTHING
        """,
        sorted(recipients),
    )
    await db.execute(
        """
        -- steps.lock_mailboxes
        SELECT reporter_id
          FROM notify.mailbox
         WHERE reporter_id = ANY($1::uuid[])
         ORDER BY reporter_id
           FOR UPDATE
        """,
        sorted(recipients),
    )


async def _select_open(db: Db, recipients: Collection[UUID]) -> dict[Heap, UUID]:
    """Notices on steps that nobody has begun to deliver, kept so until the transaction ends."""
    rows = await db.fetch(
        """
        -- steps.select_open
        SELECT notice.id, notice.reporter_id,
               (SELECT step FROM notify.notice_step WHERE notice_id = notice.id LIMIT 1) AS step
          FROM notify.notice
          JOIN notify.delivery ON delivery.notice_id = notice.id
         WHERE notice.reporter_id = ANY($1::uuid[])
           AND notice.kind = ANY($2::text[])
           AND delivery.state = 'pending'
           AND delivery.attempt = 0
         ORDER BY notice.id
           FOR UPDATE OF notice, delivery SKIP LOCKED
        """,
        list(recipients),
        sorted(set(KINDS.values())),
    )
    return {(row["reporter_id"], row["step"]): row["id"] for row in rows}


async def _insert_notices(db: Db, fresh: Sequence[tuple[UUID, NewStep]], at: datetime) -> None:
    await db.execute(
        """
        -- steps.insert_notices
        WITH new AS (
             SELECT *
               FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::interval[])
                 AS new (id, recipient, party, kind, wait)
        ), notice AS (
             INSERT INTO notify.notice (id, reporter_id, party_id, kind, created_at)
             SELECT id, recipient, party, kind, $6 FROM new ORDER BY id
        )
        INSERT INTO notify.delivery
               (id, notice_id, party_id, channel, state, next_at, created_at)
        SELECT gen_random_uuid(), id, party, 'mail', 'pending', clock_timestamp() + wait, $6
          FROM new
         ORDER BY id
        """,
        [notice for notice, _ in fresh],
        [each.recipient for _, each in fresh],
        [each.party for _, each in fresh],
        [KINDS[each.step] for _, each in fresh],
        [each.wait for _, each in fresh],
        at,
    )


async def _insert_steps(db: Db, told: Sequence[tuple[UUID, NewStep]]) -> None:
    await db.execute(
        """
        -- steps.insert_steps
        INSERT INTO notify.notice_step (notice_id, match_id, signal_id, step)
        SELECT *
          FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[])
            AS new (notice_id, match_id, signal_id, step)
         ORDER BY match_id, signal_id, step
        """,
        [notice for notice, _ in told],
        [each.side[0] for _, each in told],
        [each.side[1] for _, each in told],
        [each.step for _, each in told],
    )


async def select_told_since(
    db: Db, recipients: Collection[UUID], step: str, since: datetime
) -> set[UUID]:
    """Those of these recipients who were told of a step since an instant of domain time."""
    rows = await db.fetch(
        """
        -- steps.select_told_since
        SELECT reporter_id
          FROM notify.notice
         WHERE reporter_id = ANY($1::uuid[])
           AND kind = $2
           AND created_at >= $3
        """,
        list(recipients),
        KINDS[step],
        since,
    )
    return {row["reporter_id"] for row in rows}


async def select_step(db: Db, notice: UUID) -> tuple[str, list[SideKey]] | None:
    """Which step a notice tells on which sides; None for a notice of another kind."""
    rows = await db.fetch(
        """
        -- steps.select_step
        SELECT step, match_id, signal_id
          FROM notify.notice_step
         WHERE notice_id = $1
         ORDER BY match_id, signal_id
        """,
        notice,
    )
    if not rows:
        return None
    return rows[0]["step"], [(row["match_id"], row["signal_id"]) for row in rows]


async def split(db: Db, notice: UUID, sides: Sequence[SideKey], at: datetime) -> None:
    """Take sides out of a notice, into another that is due at once."""
    await db.execute(
        """
        -- steps.split
        WITH old AS (
             SELECT reporter_id, party_id, kind FROM notify.notice WHERE id = $1
        ), notice AS (
             INSERT INTO notify.notice (id, reporter_id, party_id, kind, created_at)
             SELECT $2, reporter_id, party_id, kind, $5 FROM old
        ), delivery AS (
             INSERT INTO notify.delivery
                    (id, notice_id, party_id, channel, state, next_at, created_at)
             SELECT gen_random_uuid(), $2, party_id, 'mail', 'pending', clock_timestamp(), $5
               FROM old
        )
        UPDATE notify.notice_step
           SET notice_id = $2
          FROM unnest($3::uuid[], $4::uuid[]) AS moved (match_id, signal_id)
         WHERE notice_step.notice_id = $1
           AND notice_step.match_id = moved.match_id
           AND notice_step.signal_id = moved.signal_id
        """,
        notice,
        uuid4(),
        [match for match, _ in sides],
        [signal for _, signal in sides],
        at,
    )


async def withdraw(
    db: Db, *, matches: Collection[UUID] = (), signals: Collection[UUID] = ()
) -> list[UUID]:
    """Forget steps on matches and on sides; ids of the notices and deliveries that went."""
    rows = await db.fetch(
        """
        -- steps.withdraw
        DELETE FROM notify.notice_step
         WHERE match_id = ANY($1::uuid[])
            OR signal_id = ANY($2::uuid[])
        RETURNING notice_id
        """,
        list(matches),
        list(signals),
    )
    return await ledger.delete_empty(db, {row["notice_id"] for row in rows})
