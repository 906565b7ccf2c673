"""What must hold of deliveries after any fault, each told as sentences about what broke it.

I1 one row for each notice and channel; I2 what counts as sent was accepted; I3 no more copies
than attempts that may have arrived, and then flagged; I4 everything has ended; I5 Redis and
logs hold nothing personal; I6 a mail names exactly its reader's counterparts; I7 attempts are
numbered without gap and all in the log; I8 nothing was begun after a withdrawal; I9 the
stream stays short and ends empty; I10 a receiver that tells repeats apart sees each once.
"""

import re
from collections import Counter, defaultdict
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from datetime import datetime
from email import message_from_bytes, policy
from pathlib import Path
from typing import Literal
from uuid import UUID

from redis.asyncio import Redis

from notify.queue import HIGH_WATER, Queue
from schemas.database import Db

RETURN_PATH = re.compile(r"b\+[0-9a-f]{32}\.([0-9]+)\.")
EMAIL = re.compile(r"[\w.+-]+@[\w.-]+")
ENDED = ("sent", "suppressed", "dead")


@dataclass(frozen=True, slots=True)
class Copy:
    """A mail that the server answered for; `attempt` as its return path tells."""

    delivery: UUID
    attempt: int | None
    recipient: str
    numbers: frozenset[str]
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Hook:
    """A webhook that was answered with a yes; `where` tells receivers apart."""

    where: str
    delivery: UUID
    number: str


@dataclass(kw_only=True)
class Evidence:
    """What was seen of a run, beside what its database holds.

    `addresses` has each reporter's; `withdrawn` the database's time after each withdrawal
    was committed, by signal; `personal` what must be nowhere; `relays` how many ran at once.
    """

    copies: Sequence[Copy]
    addresses: Mapping[UUID, str]
    withdrawn: Mapping[UUID, datetime] = field(default_factory=dict)
    hooks: Sequence[Hook] = ()
    logs: Sequence[Path] = ()
    personal: Collection[str] = ()
    longest_stream: int = 0
    relays: int = 1
    hold: bool = False


def copy_of(sender: str, recipient: str, content: bytes) -> Copy:
    """Read what a server accepted."""
    mail = message_from_bytes(content, policy=policy.default)
    named = RETURN_PATH.match(sender)
    text = mail.get_body(("plain",))
    return Copy(
        delivery=UUID(str(mail["Message-ID"]).strip("<>").partition("@")[0]),
        attempt=int(named[1]) if named else None,
        recipient=recipient,
        numbers=frozenset(str(each) for each in mail.get_all("X-VIN-Match", [])),
        text=str(text.get_content()) if text else "",
    )


async def broken(db: Db, redis: Redis, seen: Evidence) -> list[str]:
    """Everything that does not hold, in the order of the invariants."""
    told = [sentence for check in CHECKS for sentence in await check(db, seen)]
    return [*told, *await _private(redis, seen), *await _stream(redis, seen)]


async def _one_row(db: Db, _: Evidence) -> Iterable[str]:
    rows = await db.fetch(
        """
        SELECT notice_id, channel, count(*)
          FROM notify.delivery
         GROUP BY notice_id, channel, webhook_id, match_id
        HAVING count(*) > 1
        """
    )
    return [f"I1: {count} rows for {channel} of {notice}" for notice, channel, count in rows]


async def _accepted(db: Db, seen: Evidence) -> Iterable[str]:
    arrived = {copy.delivery for copy in seen.copies} | {hook.delivery for hook in seen.hooks}
    rows = await db.fetch("SELECT id FROM notify.delivery WHERE state = 'sent'")
    return [f"I2: {each} is sent and never arrived" for (each,) in rows if each not in arrived]


async def _copies(db: Db, seen: Evidence) -> Iterable[str]:
    rows = await db.fetch(
        """
        SELECT delivery.id, maybe_duplicate,
               count(*) FILTER (WHERE outcome IN ('unanswered', 'lease_over')) AS unclear
          FROM notify.delivery
          JOIN notify.attempt ON delivery_id = delivery.id
         WHERE channel = 'mail'
         GROUP BY delivery.id
        """
    )
    count = Counter(copy.delivery for copy in seen.copies)
    attempts = Counter((copy.delivery, copy.attempt) for copy in seen.copies if copy.attempt)
    twice = [(each, flagged, unclear) for each, flagged, unclear in rows if count[each] > 1]
    return [
        *(f"I3: {count[each]} copies of {each}" for each, _, n in twice if count[each] > 1 + n),
        *(f"I3: {each} came twice and is not flagged" for each, flagged, _ in twice if not flagged),
        *(f"I3: {each} came twice under hold" for each, _, _ in twice if seen.hold),
        *(f"I3: attempt {n} of {each} came twice" for (each, n), k in attempts.items() if k > 1),
    ]


async def _all_ended(db: Db, _: Evidence) -> Iterable[str]:
    rows = await db.fetch("SELECT id, state FROM notify.delivery WHERE state <> ALL($1)", ENDED)
    return [f"I4: {each} is still {state}" for each, state in rows]


async def _counterparts(db: Db, seen: Evidence) -> Iterable[str]:
    sides = await _sides(db, "reporter_id")
    told = []
    for copy in seen.copies:
        readers = [
            {seen.addresses.get(reporter, "") for reporter in sides[number]}
            for number in copy.numbers
        ]
        others = set().union(*readers) - {copy.recipient}
        if not readers or any(copy.recipient not in each for each in readers):
            told.append(f"I6: {copy.delivery} went to somebody else")
        elif others != set(EMAIL.findall(copy.text)):
            told.append(f"I6: {copy.delivery} does not name exactly the others")
    return told


async def _numbered(db: Db, _: Evidence) -> Iterable[str]:
    rows = await db.fetch(
        """
        SELECT delivery.id, delivery.attempt AS last, attempt.attempt, outcome, entries
          FROM notify.delivery
          LEFT JOIN notify.attempt ON delivery_id = delivery.id
          LEFT JOIN LATERAL (
               SELECT array_agg(result ORDER BY id) AS entries
                 FROM audit.entry
                WHERE object_id = delivery.id
                  AND event IN ('delivery.started', 'delivery.finished')
                  AND (detail ->> 'attempt')::integer = attempt.attempt
               ) AS log ON true
         ORDER BY delivery.id, attempt.attempt
        """
    )
    numbers = defaultdict(list)
    told = []
    for row in rows:
        numbers[row["id"], row["last"]].append(row["attempt"])
        wanted = [each for each in ("started", row["outcome"]) if each]
        entries = row["entries"] or []
        if row["attempt"] and (entries[:1] + entries[1:][-1:]) != wanted:
            told.append(f"I7: the log of attempt {row['attempt']} of {row['id']} says {entries}")
    return [
        *(
            f"I7: {each} has attempts {found} of {last}"
            for (each, last), found in numbers.items()
            if [n for n in found if n] != list(range(1, last + 1))
        ),
        *told,
    ]


async def _nothing_withdrawn(db: Db, seen: Evidence) -> Iterable[str]:
    rows = await db.fetch("SELECT delivery_id, attempt, started_at FROM notify.attempt")
    ended = {
        number: min(seen.withdrawn[signal] for signal in signals if signal in seen.withdrawn)
        for number, signals in (await _sides(db, "signal_id")).items()
        if not seen.withdrawn.keys().isdisjoint(signals)
    }
    told = []
    for copy in seen.copies:
        # Without a return path that tells, it may have been any attempt.
        began = [
            start
            for delivery, attempt, start in rows
            if delivery == copy.delivery and copy.attempt in {attempt, None}
        ]
        late = {number for number in copy.numbers & ended.keys() if min(began) > ended[number]}
        told += [f"I8: {copy.delivery} was begun after {number} had ended" for number in late]
    return told


async def _sides(db: Db, column: Literal["reporter_id", "signal_id"]) -> Mapping[str, list[UUID]]:
    """The two reporters, or signals, of each match by its number."""
    rows = await db.fetch(
        """
        SELECT number, signal_id, reporter_id
          FROM matching.match
          JOIN matching.match_side ON match_id = match.id
        """
    )
    found = defaultdict(list)
    for row in rows:
        found[row["number"]].append(row[column])
    return found


async def _hooks(db: Db, seen: Evidence) -> Iterable[str]:
    rows = await db.fetch(
        """
        SELECT delivery.id, number
          FROM notify.delivery
          JOIN matching.match ON match.id = match_id
         WHERE channel = 'webhook'
        """
    )
    numbers = {row["id"]: row["number"] for row in rows}
    each_once = Counter(
        (number, where)
        for where, _, number in {(hook.where, hook.delivery, hook.number) for hook in seen.hooks}
    )
    return [
        *(
            f"I10: {number} under two ids at one webhook"
            for (number, _), n in each_once.items()
            if n > 1
        ),
        *(
            f"I10: {hook.delivery} told another match"
            for hook in seen.hooks
            if numbers.get(hook.delivery, hook.number) != hook.number
        ),
    ]


async def _private(redis: Redis, seen: Evidence) -> list[str]:
    held = [text async for text in _texts(redis)]
    logs = [log.read_text(errors="replace") for log in seen.logs]
    return [
        *(
            f"I5: Redis holds {each!r}"
            for each in seen.personal
            if any(each in text for text in held)
        ),
        *(
            f"I5: a log holds {each!r}"
            for each in seen.personal
            if any(each in text for text in logs)
        ),
    ]


async def _texts(redis: Redis) -> AsyncIterator[str]:
    """All that Redis holds."""
    async for key in redis.scan_iter():
        streams = await redis.type(key) == b"stream"
        yield repr((key, await (redis.xrange(key) if streams else redis.dump(key))))


async def _stream(redis: Redis, seen: Evidence) -> list[str]:
    longest = HIGH_WATER * seen.relays
    told = []
    if seen.longest_stream > longest:
        told.append(f"I9: the stream had {seen.longest_stream} entries, more than {longest}")
    left, pending = await Queue(redis).lag()
    if left or pending:
        told.append(f"I9: {left} entries are left in the stream, {pending} of them read")
    return told


CHECKS: Sequence[Callable[[Db, Evidence], Awaitable[Iterable[str]]]] = (
    _one_row,
    _accepted,
    _copies,
    _all_ended,
    _counterparts,
    _numbered,
    _nothing_withdrawn,
    _hooks,
)
