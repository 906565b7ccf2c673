"""Faults that somebody could make, as edits of the code, and which tests must find each."""

from collections.abc import Sequence
from dataclasses import dataclass

MACHINE = "tests/vin/test_life_machine.py"
ORDERS = "tests/vin/test_life_interleavings.py"
ARRIVALS = "tests/vin/test_interleavings.py"
CARRIED = "tests/vin/test_carried.py"
RULES = "tests/matching/test_rules.py"
HISTORY = "tests/vin/test_history.py"
RETENTION = "tests/vin/test_retention.py"
WORLDS = "tests/vin/test_two_worlds.py"
ATTEMPTS = "tests/notify/test_attempts.py"
BREAKER = "tests/notify/test_breaker.py"
CALLS = "tests/notify/test_webhook.py"
DIGEST = "tests/notify/test_digest.py"
FOLLOWING = "tests/vin/test_follow_up_interleavings.py"
LINKS = "tests/vin/test_links.py"
OUTAGE = "tests/notify/test_outage.py"
RETRY = "tests/notify/test_retry.py"


@dataclass(frozen=True, slots=True)
class Edit:
    """One place in the code, and what somebody wrote there instead."""

    path: str
    old: str
    new: str = ""


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, by which edits, and the files of tests of which one must fail in each."""

    name: str
    edits: Sequence[Edit]
    caught_by: Sequence[str]


FAULTS = (
    Fault(
        "a cursor over ids instead of claimed rows",
        (
            Edit(
                "matching/store.py",
                """async def claim_queued(""",
                """CURSOR = [0]


async def claim_queued(""",
            ),
            Edit(
                "matching/store.py",
                """
          FROM matching.match_queue
         ORDER BY id
""",
                """
          FROM matching.match_queue
         WHERE id > $2
         ORDER BY id
""",
            ),
            Edit(
                "matching/store.py",
                """
           FOR UPDATE SKIP LOCKED
        \"\"\",
        limit,
    )
""",
                """
           FOR UPDATE SKIP LOCKED
        \"\"\",
        limit,
        CURSOR[-1],
    )
    CURSOR.extend(sorted(row["id"] for row in rows))
""",
            ),
        ),
        (ARRIVALS,),
    ),
    Fault(
        "partners are looked up before the claim",
        (
            Edit(
                "vin/matches.py",
                """
    claimed = await store.claim_queued(db, limit)
""",
                """
    rows = await db.fetch("SELECT signal_id FROM matching.match_queue")
    early = await store.select_candidates(db, [row["signal_id"] for row in rows])
    claimed = await store.claim_queued(db, limit)
""",
            ),
            Edit(
                "vin/matches.py",
                """
        done = await match_claimed(db, [each for each in claimed if each not in outdated], now)
""",
                """
        early = [pair for pair in early if pair[0] in claimed]
        done = await match_claimed(db, list(claimed), now, early)
""",
            ),
            Edit(
                "vin/matches.py",
                """claimed: Sequence[SignalId], now: datetime) -> list[SignalId]:""",
                """claimed: Sequence[SignalId], now: datetime, early: object) -> list[SignalId]:""",
            ),
            Edit(
                "vin/matches.py",
                """
    pairs = await lock_pairs(db, claimed)
""",
                """
    pairs = await lock_pairs(db, early)
""",
            ),
            Edit(
                "vin/matches.py",
                """
    candidates = await store.select_candidates(db, claimed)
""",
                """
    candidates = claimed
""",
            ),
        ),
        (ARRIVALS,),
    ),
    Fault(
        "the matcher reads signals without locking them",
        (
            Edit(
                "matching/store.py",
                """
         ORDER BY id
           FOR SHARE
""",
                """
""",
            ),
        ),
        (ORDERS,),
    ),
    Fault(
        "whether a signal lives is not read again under its lock",
        (
            Edit(
                "vin/matches.py",
                """
    candidates = await store.select_candidates(db, claimed)
""",
                """
    candidates = await store.select_candidates(db, claimed)
    early = await store.read_signals(db, {each for pair in candidates for each in pair})
""",
            ),
            Edit(
                "vin/matches.py",
                """
    signals = await store.lock_signals(db, {each for pair in candidates for each in pair})
""",
                """
    signals = await store.lock_signals(db, {each for pair in candidates for each in pair})
    signals = {each: early[each] for each in signals}
""",
            ),
        ),
        (ORDERS,),
    ),
    Fault(
        "a withdrawal leaves its matches to a later commit",
        (
            Edit(
                "vin/signals.py",
                """await store.end_matches(db, [request.signal], "closed", now)""",
                """list[str]()""",
            ),
        ),
        (ORDERS, MACHINE),
    ),
    Fault(
        "no re-check at send",
        (
            Edit(
                "vin/notices.py",
                """
from dataclasses import dataclass
""",
                """
from dataclasses import dataclass, replace
""",
            ),
            Edit(
                "vin/notices.py",
                """
            if side.status is Status.OPEN:
                found[places[side.match, side.signal]].append(side)
""",
                """
            found[places[side.match, side.signal]].append(replace(side, status=Status.OPEN))
""",
            ),
        ),
        (ORDERS, MACHINE),
    ),
    Fault(
        "the re-check at send does not hold what it checked",
        (
            Edit(
                "vin/notices.py",
                """
    await match_store.share_legs(db, matches | on_steps)
""",
                """
""",
            ),
        ),
        (ORDERS,),
    ),
    Fault(
        "household is transitive",
        (
            Edit(
                "matching/rules.py",
                """
    return sorted(found.values(), key=""",
                """
    for one, other in [(one, other) for one in found.values() for other in found.values()]:
        ends = {one.signal_a, one.signal_b} ^ {other.signal_a, other.signal_b}
        if len(ends) == 2:
            a, b = sorted(ends, key=lambda signal: signal.id)
            found[a.id, b.id] = Match(signal_a=a, signal_b=b, kind=one.kind)
    return sorted(found.values(), key=""",
            ),
        ),
        (MACHINE, RULES),
    ),
    Fault(
        "a date begins at midnight UTC",
        (
            Edit(
                "schemas/dates.py",
                """at.astimezone(LOCAL).date()""",
                """at.date()""",
            ),
        ),
        (MACHINE, RETENTION, RULES),
    ),
    Fault(
        "a hub counts from when the matcher noticed it",
        (
            Edit(
                "matching/hub_store.py",
                """[hubs[token] for token in tokens],""",
                """[at for _ in tokens],""",
            ),
        ),
        (MACHINE,),
    ),
    Fault(
        "a hub undoes matches that were made before",
        (
            Edit(
                "matching/rules.py",
                """
        if not both_since(a, b, token) <= matched_at < hubs[token].recorded_at
""",
                """
""",
            ),
        ),
        (RULES,),
    ),
    Fault(
        "a hub counts children by the keys that they have today",
        (
            Edit(
                "matching/model.py",
                """self.name if early and self.name is not None else self.child""",
                """self.child""",
            ),
        ),
        (RULES,),
    ),
    Fault(
        "a notice for each match instead of one for each reporter",
        (
            Edit(
                "vin/matches.py",
                """sides[signal.reporter, signal.organisation].append(""",
                """sides[signal.reporter, signal.organisation, each.id].append(""",
            ),
            Edit(
                "vin/matches.py",
                """for (reporter, party), matches in sorted(""",
                """for (reporter, party, _), matches in sorted(""",
            ),
        ),
        (MACHINE,),
    ),
    Fault(
        "a match that was there is told again",
        (
            Edit(
                "matching/store.py",
                """
    await insert_sides(db, matches, at)
    return matches
""",
                """
    await insert_sides(db, matches, at)
    return ordered
""",
            ),
        ),
        (MACHINE,),
    ),
    Fault(
        "an unjustified signal can still be found",
        (
            Edit(
                "vin/signals.py",
                """await store.delete_tokens(db, request.signal)""",
                """list[UUID]()""",
            ),
        ),
        (MACHINE, RETENTION),
    ),
    Fault(
        "the archive counts from the day of the sweep",
        (
            Edit(
                "vin/retention.py",
                """[archive_end(day) for _, day in due],""",
                """[archive_end(local_date(now)) for _ in due],""",
            ),
        ),
        (MACHINE,),
    ),
    Fault(
        "who matched with it before is told of history",
        (
            Edit(
                "vin/matches.py",
                """
        history = await history_store.leave_out_matched(db, history)
""",
                """
""",
            ),
        ),
        (HISTORY,),
    ),
    Fault(
        "one person with two employers matches with himself",
        (
            Edit(
                "matching/rules.py",
                """
        and a.persons.isdisjoint(b.persons)
""",
                """
""",
            ),
        ),
        (MACHINE,),
    ),
    Fault(
        "a death takes the signal that was named and no other",
        (
            Edit(
                "vin/retention.py",
                """
    signals = await lock(db, {signal, *same})
""",
                """
    signals = await lock(db, [signal])
""",
            ),
        ),
        (MACHINE, ORDERS, RETENTION),
    ),
    Fault(
        "a death does not look whether the number was found meanwhile",
        (
            Edit(
                "vin/retention.py",
                """if await retention_store.select_child(db, signal) != child:""",
                """if signal not in signals:""",
            ),
        ),
        (ORDERS,),
    ),
    Fault(
        "a death locks the signal that was named before the others",
        (
            Edit(
                "vin/retention.py",
                """
    signals = await lock(db, {signal, *same})
""",
                """
    await lock(db, [signal])
    signals = await lock(db, {signal, *same})
""",
            ),
        ),
        (ORDERS,),
    ),
    Fault(
        "who destroys does not wait for the matcher first",
        (
            Edit(
                "vin/retention.py",
                """
    await retention_store.lock_queued(db, signals)
""",
                """
""",
            ),
        ),
        (ORDERS,),
    ),
    Fault(
        "the log keeps the notice of an erased side",
        (
            Edit(
                "vin/audit.py",
                """ - 'signal' - 'notices'""",
                """ - 'signal'""",
            ),
        ),
        (MACHINE, RETENTION),
    ),
    Fault(
        "a hub outlives who carried it",
        (
            Edit(
                "vin/carried.py",
                """if await lock_kept(db, tokens):""",
                """if not tokens:""",
            ),
        ),
        (MACHINE, CARRIED),
    ),
    Fault(
        "two who give up a token do not wait for each other",
        (
            Edit(
                "vin/carried.py",
                """ ORDER BY token FOR UPDATE""",
            ),
            Edit(
                "vin/carried.py",
                """ ORDER BY child FOR UPDATE""",
            ),
        ),
        (CARRIED,),
    ),
    Fault(
        "two who empty a notice do not wait for each other",
        (
            Edit(
                "notify/ledger.py",
                """
          FROM notify.notice
         WHERE id = ANY($1)
         ORDER BY id
           FOR UPDATE
""",
                """
          FROM notify.notice
         WHERE id = ANY($1)
""",
            ),
            Edit(
                "notify/ledger.py",
                """
         WHERE notice_id = ANY($1)
         ORDER BY id
           FOR UPDATE
""",
                """
         WHERE notice_id = ANY($1)
""",
            ),
        ),
        (ORDERS,),
    ),
    Fault(
        "a match by address is of another kind than one by parent",
        (
            Edit(
                "matching/rules.py",
                """
        return Link(Kind.HOUSEHOLD, family) if family else None  # M2
""",
                """
        kind = Kind.HOUSEHOLD if a.parents & b.parents else Kind.POSSIBLE
        return Link(kind, family) if family else None
""",
            ),
        ),
        (WORLDS,),
    ),
    Fault(
        "a shielded organisation is shown by its own name",
        (
            Edit(
                "vin/registry.py",
                "_contact(standing, broker.box, standing.broker_name)",
                "_contact(standing, broker.box)",
            ),
        ),
        (WORLDS,),
    ),
    Fault(
        "a sibling's archive is offered",
        (
            Edit(
                "matching/rules.py",
                "new.child is None or new.child != old.child:",
                "new.child is None or (new.child != old.child and not new.parents & old.parents):",
            ),
        ),
        (WORLDS,),
    ),
    Fault(
        "others' matches count towards the next page",
        (
            Edit(
                "vin/matches.py",
                "        more = len(sides) > wanted.limit",
                """
        made = await db.fetchval("SELECT count(*) FROM matching.match")
        more = bool(sides) and made > wanted.limit
""",
            ),
        ),
        (WORLDS,),
    ),
    Fault(
        "an older attempt writes as if it were the latest",
        (
            Edit(
                "notify/attempts.py",
                """
           AND delivery.attempt = held.attempt
""",
                """
""",
            ),
            Edit(
                "notify/attempts.py",
                """
                AND delivery.attempt = ended.attempt
""",
                """
""",
            ),
        ),
        (ATTEMPTS,),
    ),
    Fault(
        "a mail leaves without a note that it is about to",
        (
            Edit(
                "notify/attempts.py",
                """
           SET phase = 'data', lease_until""",
                """
           SET lease_until""",
            ),
        ),
        (ATTEMPTS,),
    ),
    Fault(
        "a pause lets go what workers hold",
        (
            Edit(
                "notify/attempts.py",
                """
           AND channel NOT IN (SELECT name FROM notify.channel WHERE paused_at IS NOT NULL)
        RETURNING""",
                """
        RETURNING""",
            ),
        ),
        (ATTEMPTS,),
    ),
    Fault(
        "under hold what a dead worker held is sent again",
        (
            Edit(
                "notify/retry.py",
                """if doubtful and case.hold:""",
                """if result is Result.UNANSWERED and case.hold:""",
            ),
        ),
        (ATTEMPTS, OUTAGE, RETRY),
    ),
    Fault(
        "what may come twice is not flagged",
        (
            Edit(
                "notify/retry.py",
                """
    return Verdict(State.RETRY, max(wait, asked), spared=spared, doubtful=doubtful)
""",
                """
    return Verdict(State.RETRY, max(wait, asked), spared=spared)
""",
            ),
        ),
        (ATTEMPTS, RETRY),
    ),
    Fault(
        "an answer does not close the breaker",
        (
            Edit(
                "notify/breaker.py",
                """self._lines.pop(peer, None)""",
                """self._lines.get(peer)""",
            ),
        ),
        (BREAKER, OUTAGE),
    ),
    Fault(
        "a mail server that is away uses up the attempts",
        (
            Edit(
                "notify/worker.py",
                """
    return open_ and result""",
                """
    return not open_ and result""",
            ),
        ),
        (OUTAGE,),
    ),
    Fault(
        "no reader has a quiet time",
        (
            Edit(
                "notify/ledger.py",
                """
           SET quiet_until = told_at + $3
""",
                """
           SET quiet_until = told_at + $3 * 0
""",
            ),
        ),
        (DIGEST,),
    ),
    Fault(
        "a notice takes in more while a relay or a withdrawal has it",
        (
            Edit(
                "notify/ledger.py",
                """
           FOR UPDATE OF notice, delivery SKIP LOCKED
""",
                """
""",
            ),
        ),
        (DIGEST,),
    ),
    Fault(
        "a link works twice",
        (
            Edit(
                "vin/link_store.py",
                """
           AND link.used_at IS NULL
""",
                """
""",
            ),
            Edit(
                "vin/link_store.py",
                """
           AND used_at IS NULL
""",
                """
""",
            ),
        ),
        (LINKS,),
    ),
    Fault(
        "of two who use a link at once both are heard",
        (
            Edit(
                "vin/link_store.py",
                """
           AND used_at IS NULL
""",
                """
""",
            ),
        ),
        (FOLLOWING,),
    ),
    Fault(
        "a webhook leads to another address",
        (
            Edit(
                "notify/webhook.py",
                """allow_redirects=False""",
                """allow_redirects=True""",
            ),
        ),
        (CALLS,),
    ),
)
