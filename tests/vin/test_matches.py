"""Matching on real PostgreSQL: the rules through SQL, notices, and what each side sees."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from matching import store as matching_store
from matching.model import SignalId, Status
from notify.letters import MatchLetter
from schemas.database import Db
from tests.oracle import Fact, expected
from tests.steps import NOW, end, look, match_all, reader, register, sides_of, undone
from tests.world import SECRETS, Somebody, make_region, make_reporter, make_reporters, registration
from vin.clock import Clock
from vin.errors import AmbiguousSideError, NotFoundError
from vin.matches import read_match
from vin.notices import NoticeComposer
from vin.retention import expire_batch
from vin.signals import Registration

if TYPE_CHECKING:
    from asyncpg import Pool, Record


async def arrive(db: Db, *batch: Registration) -> list[UUID]:
    """Register at the database's own time, which tells the order."""
    return await register(db, *batch, now=await Clock().now(db))


async def found(db: Db) -> dict[frozenset[UUID], str]:
    rows = await db.fetch("SELECT signal_a, signal_b, kind FROM matching.match")
    return {frozenset({row["signal_a"], row["signal_b"]}): row["kind"] for row in rows}


@pytest.fixture
async def reporters(db: Db) -> list[Somebody]:
    await make_region(db)
    return await make_reporters(db, 4)


@st.composite
def facts(draw: st.DrawFn) -> list[Fact]:
    """Signals on few children, parents and addresses, by six reporters who are five people."""
    drawn = []
    for _ in range(draw(st.integers(0, 14))):
        reporter = draw(st.integers(0, 5))
        child = draw(st.none() | st.integers(1, 6))
        drawn.append(
            Fact(
                reporter=reporter,
                person=reporter % 5,
                match_unit=min(reporter, 4),
                child=child,
                name=draw(st.integers(1, 3)) if child is None else None,
                parents=draw(st.frozensets(st.integers(1, 3), max_size=2)),
                address=draw(st.none() | st.integers(1, 2)),
            )
        )
    return drawn


def request(fact: Fact, place: int, reporters: Sequence[Somebody]) -> Registration:
    """The registration of a fact; each on a file of its own."""
    return registration(
        reporters[int(str(fact.reporter))],
        fact.child,
        weak=fact.name,
        parents=sorted(fact.parents),
        address=fact.address,
        reference=f"D-{place}",
    )


async def six_reporters(db: Db, *, address_rule: bool) -> list[Somebody]:
    """A region: one person with two employers, and two employers with one match unit."""
    await make_region(db, hub_limit=2, address_rule=address_rule)
    reporters = await make_reporters(db, 5)
    return [*reporters, await make_reporter(db, 0, match_unit=reporters[4].match_unit)]


@dataclass
class Course:
    """What was registered, in order, and which signal is which."""

    reporters: Sequence[Somebody]
    facts: list[Fact] = field(default_factory=list)
    places: dict[UUID, int] = field(default_factory=dict)

    async def register(self, db: Db, fact: Fact) -> None:
        """Register a fact; one that returns a live signal adds nothing."""
        (signal,) = await arrive(db, request(fact, len(self.facts), self.reporters))
        if signal not in self.places:
            self.places[signal] = len(self.facts)
            self.facts.append(fact)

    async def found(self, db: Db) -> dict[tuple[int, ...], str]:
        return {
            tuple(sorted(self.places[each] for each in pair)): kind
            for pair, kind in (await found(db)).items()
        }


quick = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@quick
@given(facts=facts(), batch=st.integers(1, 5), late=st.booleans(), address_rule=st.booleans())
async def test_the_database_gives_the_oracles_matches_whenever_the_matcher_looks(
    db: Db, facts: list[Fact], batch: int, *, late: bool, address_rule: bool
) -> None:
    async with undone(db):
        course = Course(await six_reporters(db, address_rule=address_rule))
        for fact in facts:
            await course.register(db, fact)
            if not late:
                await match_all(db, batch)
        await match_all(db, batch)

        wanted = expected(course.facts, hub_limit=2, address_rule=address_rule)
        assert await course.found(db) == wanted
        assert await one_notice_a_side(db)


async def one_notice_a_side(db: Db) -> bool:
    """Every side of every match has exactly one notice, addressed to its reporter (M9)."""
    odd = await db.fetchval(
        """
        SELECT count(*)
          FROM matching.match_side AS side
          FULL JOIN notify.notice_match USING (match_id, signal_id)
          LEFT JOIN notify.notice ON notice.id = notice_match.notice_id
         WHERE side.match_id IS NULL
            OR notice.reporter_id IS DISTINCT FROM side.reporter_id
            OR NOT EXISTS (SELECT FROM notify.delivery WHERE delivery.notice_id = notice.id)
        """
    )
    sides = await db.fetchval("SELECT count(*) FROM matching.match_side")
    matches = await db.fetchval("SELECT count(*) FROM matching.match")
    return bool(odd == 0 and sides == 2 * matches)


@quick
@given(facts=facts())
async def test_sql_narrows_to_too_many_pairs_perhaps_but_never_to_too_few(
    db: Db, facts: list[Fact]
) -> None:
    async with undone(db):
        course = Course(await six_reporters(db, address_rule=True))
        for fact in facts:
            await course.register(db, fact)
            await match_all(db)
        signals = {place: SignalId(signal) for signal, place in course.places.items()}

        for earlier, later in expected(course.facts, hub_limit=2, address_rule=True):
            candidates = await matching_store.select_candidates(db, [signals[later]])
            assert (signals[later], signals[earlier]) in candidates


async def test_m9_a_third_reporter_gets_one_notice_and_the_others_one_each_on_him(
    db: Db, reporters: list[Somebody]
) -> None:
    for reporter in reporters[:3]:
        await arrive(db, registration(reporter, 1))
        await match_all(db)

    rows = await db.fetch(
        """
        SELECT reporter_id, count(*) AS matches
          FROM notify.notice JOIN notify.notice_match ON notice_id = notice.id
         GROUP BY notice.id, reporter_id
        """
    )
    notices = Counter((row["reporter_id"], row["matches"]) for row in rows)

    assert notices == {
        (reporters[0].id, 1): 2,
        (reporters[1].id, 1): 2,
        (reporters[2].id, 2): 1,
    }


async def test_m9_what_is_found_while_a_notice_waits_goes_into_it(
    db: Db, reporters: list[Somebody]
) -> None:
    await db.execute("UPDATE registry.region SET digest_seconds = 20")
    for reporter in reporters[:3]:
        await arrive(db, registration(reporter, 1))
        await match_all(db)

    rows = await db.fetch(
        """
        SELECT reporter_id, party_id, array_agg(match_id ORDER BY match_id) AS matches
          FROM notify.notice JOIN notify.notice_match ON notice_id = notice.id
         GROUP BY notice.id
        """
    )
    assert Counter((row["reporter_id"], len(row["matches"])) for row in rows) == {
        (reporter.id, 2): 1 for reporter in reporters[:3]
    }
    assert {row["party_id"] for row in rows} == {each.organisation for each in reporters[:3]}
    logged = await db.fetch(
        """
        SELECT object_id, jsonb_array_elements_text(detail -> 'notices')::uuid AS notice_id
          FROM audit.entry
         WHERE event = 'match.made'
        """
    )
    told = await db.fetch("SELECT match_id, notice_id FROM notify.notice_match")
    assert Counter(map(tuple, logged)) == Counter(map(tuple, told))


async def test_m9_when_several_register_at_once_each_gets_one_notice(
    db: Db, reporters: list[Somebody]
) -> None:
    await arrive(db, *(registration(reporter, 1) for reporter in reporters))
    await match_all(db, limit=100)

    assert await db.fetchval("SELECT count(*) FROM notify.notice") == 4
    assert await db.fetchval("SELECT count(*) FROM notify.notice_match") == 12


async def test_m10_many_matchers_on_overlapping_families_miss_and_double_nothing(
    pool: "Pool[Record]", db: Db
) -> None:
    await make_region(db)
    reporters = await make_reporters(db, 8)
    kept = [
        Fact(reporter=r, person=r, match_unit=r, child=child, parents=frozenset({child // 3}))
        for child in range(12)
        for r in range(8)
        if (child + r) % 2
    ]
    requests = [request(fact, place, reporters) for place, fact in enumerate(kept)]
    done = asyncio.Event()

    async def register_some(part: Sequence[Registration]) -> None:
        async with pool.acquire() as own:
            for each in part:
                await arrive(own, each)

    async def match_some() -> None:
        async with pool.acquire() as own:
            while not done.is_set():
                await match_all(own, 3)
            await match_all(own, 3)

    matchers = [asyncio.create_task(match_some()) for _ in range(3)]
    await asyncio.gather(*(register_some(requests[start::4]) for start in range(4)))
    done.set()
    await asyncio.gather(*matchers)

    places = {each.signal: place for place, each in enumerate(requests)}
    assert await Course(reporters, kept, places).found(db) == expected(kept)
    assert await one_notice_a_side(db)


async def test_m5_a_hub_neither_floods_nor_stalls_and_is_on_record(db: Db) -> None:
    await make_region(db, hub_limit=12)
    for child, reporter in enumerate(await make_reporters(db, 40)):
        await arrive(db, registration(reporter, child, parents=[1]))
        await match_all(db)

    assert await db.fetchval("SELECT count(*) FROM matching.match") == 12 * 11 // 2
    assert await db.fetchval("SELECT count(*) FROM matching.hub") == 1
    recorded = "SELECT count(*) FROM audit.entry WHERE event = 'hub.recorded'"
    assert await db.fetchval(recorded) == 1


async def test_each_side_sees_the_others_contact_data_and_the_look_is_logged(
    db: Db, reporters: list[Somebody]
) -> None:
    await arrive(db, *(registration(reporter, 1) for reporter in reporters[:2]))
    await match_all(db)

    (one,) = await sides_of(db, reporters[0])
    (other,) = await sides_of(db, reporters[1])

    assert one.number == other.number
    assert one.other
    assert one.other[0].email == reporters[1].email
    assert other.other
    assert other.other[0].email == reporters[0].email
    assert await sides_of(db, reporters[2]) == []
    opened = await db.fetch("SELECT object_id FROM audit.entry WHERE event = 'contact.opened'")
    assert [row["object_id"] for row in opened] == [one.id, other.id]


async def test_s01_who_meets_by_mother_and_who_by_father_stay_apart(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, c = reporters[:3]
    await arrive(
        db,
        registration(a, 1, parents=[1]),
        registration(b, 2, parents=[1, 2]),
        registration(c, 3, parents=[2]),
    )
    await match_all(db)

    async def met(somebody: Somebody) -> set[str]:
        return {side.other[0].email for side in await sides_of(db, somebody) if side.other}

    assert await met(a) == {b.email}
    assert await met(b) == {a.email, c.email}
    assert await met(c) == {b.email}


@pytest.mark.parametrize(("ground", "status"), [("risk_gone", "closed"), ("unjustified", "void")])
async def test_l5_a_withdrawal_takes_the_contact_data_from_both_sides(
    db: Db, reporters: list[Somebody], ground: str, status: str
) -> None:
    signal, _ = await arrive(db, *(registration(each, 1) for each in reporters[:2]))
    await match_all(db)
    composer = NoticeComposer(SECRETS.contact, Clock())
    notices = [row["id"] for row in await db.fetch("SELECT id FROM notify.notice")]
    async with db.transaction():
        assert all([await composer.compose(db, notice) for notice in notices])

    await end(db, signal, reporters[0], ground)

    for reporter in reporters[:2]:
        (side,) = await sides_of(db, reporter)
        assert side.status is Status(status)
        assert side.other is None
    async with db.transaction():
        assert [await composer.compose(db, notice) for notice in notices] == [None, None]


async def test_a_match_is_read_by_number_and_a_side_is_named_where_both_are_own(
    db: Db, reporters: list[Somebody]
) -> None:
    colleague = await make_reporter(db, 60, reporters[0].organisation)
    first, _ = await arrive(db, registration(reporters[0], 1), registration(colleague, 1))
    await match_all(db)
    number = (await sides_of(db, colleague))[0].number

    with pytest.raises(AmbiguousSideError):
        await read_match(db, number, None, reader(colleague), SECRETS.contact, NOW)
    with pytest.raises(NotFoundError):
        await read_match(db, number, uuid4(), reader(colleague), SECRETS.contact, NOW)
    with pytest.raises(NotFoundError):
        await read_match(db, number, None, reader(reporters[1]), SECRETS.contact, NOW)
    side = await read_match(db, number, first, reader(colleague), SECRETS.contact, NOW)
    assert side.signal == first


async def test_the_matcher_marks_what_it_looked_at_also_without_a_match(
    db: Db, reporters: list[Somebody]
) -> None:
    await arrive(db, registration(reporters[0], 1))
    await match_all(db)

    assert await db.fetchval("SELECT processed_at FROM matching.processed") == NOW


async def test_a_letter_names_exactly_the_counterparts(db: Db, reporters: list[Somebody]) -> None:
    files = {each.id: f"D-{number}" for number, each in enumerate(reporters)}
    await arrive(db, *(registration(each, 1, reference=files[each.id]) for each in reporters))
    await match_all(db)
    composer = NoticeComposer(SECRETS.contact, Clock())

    for row in await db.fetch("SELECT id, reporter_id FROM notify.notice"):
        me = next(each for each in reporters if each.id == row["reporter_id"])
        async with db.transaction():
            letter = await composer.compose(db, row["id"])
        assert isinstance(letter, MatchLetter)
        assert letter.recipient == await composer.recipient(db, row["id"]) == me.email
        assert {item.reference for item in letter.items} == {files[me.id]}
        assert {item.email for item in letter.items} == {
            each.email for each in reporters if each is not me
        }


BEFORE = datetime(2026, 11, 22, 22, 59, 30, tzinfo=UTC)  # half a minute before midnight
AFTER = BEFORE + timedelta(minutes=1)


async def after_midnight(db: Db, *, swept: bool) -> None:
    if swept:
        async with db.transaction():
            assert await expire_batch(db, AFTER)
    await match_all(db, now=AFTER)


@pytest.mark.parametrize("swept", [False, True])
async def test_l4_a_match_is_the_same_however_far_the_sweeper_is(
    db: Db, reporters: list[Somebody], *, swept: bool
) -> None:
    one, other, *_ = reporters
    ends = replace(registration(one, 1), remove_on=date(2026, 11, 23))
    await register(db, ends, now=BEFORE - timedelta(minutes=1))
    await match_all(db, now=BEFORE)
    (new,) = await register(db, registration(other, 1), now=BEFORE)

    await after_midnight(db, swept=swept)

    assert await db.fetchval("SELECT status FROM matching.match") == "closed"
    assert [side.status for side in await sides_of(db, other, AFTER)] == ["closed"]
    assert (await look(db, new, other, AFTER)).history_notice_id is None


@pytest.mark.parametrize("swept", [False, True])
async def test_l4_a_hub_is_the_same_however_far_the_sweeper_is(
    db: Db, reporters: list[Somebody], *, swept: bool
) -> None:
    await db.execute("UPDATE registry.region SET hub_limit = 2")
    for child, by in enumerate(reporters[:3]):
        ends = replace(registration(by, child, parents=[1]), remove_on=date(2026, 11, 23))
        await register(db, ends if child == 0 else registration(by, child, parents=[1]), now=BEFORE)

    await after_midnight(db, swept=swept)

    assert await db.fetchval("SELECT count(*) FROM matching.hub") == 1
