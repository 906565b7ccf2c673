"""W3 whatever the order: sequences of designations and successions, and two sessions at once."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from itertools import count
from typing import TYPE_CHECKING
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notify.carrier import UndeliveredError
from notify.retry import Result
from schemas.database import Db
from tests.interleave import Observer, Session, Work, orders, play
from tests.officers import make_municipality, make_officer
from tests.steps import undone
from tests.team import NOW, TODAY, Team, make_team
from tests.world import SECRETS, Somebody, registration
from vin.errors import InvalidBodyError, VinError
from vin.matches import match_batch
from vin.registry import select_recipients
from vin.signals import Registered, register_batch
from vin.succession import Departure

if TYPE_CHECKING:
    from asyncpg import Pool, Record

Answer = Registered | VinError
ENOUGH = 60


@pytest.fixture
async def team(db: Db) -> Team:
    return await make_team(db)


class Turnover:
    """Who is there, and whose the three signals are; `stand_in` is for who left."""

    def __init__(self, team: Team, stand_in: str) -> None:
        self.team = team
        self.stand_in = stand_in
        self.people = [team.one, team.two, team.three]
        self.there = {place: each.email for place, each in enumerate(self.people)}
        self.owners = [0, 1, 2]

    async def designate(self, whom: int, email: str) -> None:
        self.there[whom] = email
        await self.team.designate(self.people[whom], email)

    async def end(self, whom: int) -> None:
        if self.there.pop(whom, None):
            await self.team.end(self.people[whom])

    async def succeed(self, whom: int, by: int) -> None:
        if {whom, by} <= self.there.keys() and whom != by:
            del self.there[whom]
            await self.team.end(self.people[whom], self.people[by])
            self.owners = [by if owner == whom else owner for owner in self.owners]

    async def check(self) -> None:
        """Wherever an address shows, it is that of the owner, or of the stand-in."""
        expected = sorted(self.there.get(owner, self.stand_in) for owner in self.owners)
        assert sorted(map(str, await self.team.seen_by_other())) == expected
        assert sorted(to for to, _ in await self.team.letters()) == expected
        assert await self.team.addresses() == set(expected)
        reached = await select_recipients(self.team.db, [each.id for each in self.people], TODAY)
        addresses = [each.open(SECRETS.contact).email for each in reached.values()]
        assert len(addresses) == 3
        assert set(addresses) <= {self.stand_in, *self.there.values()}


@pytest.fixture
async def officer(team: Team) -> str:
    """A match for each of the team, and a follow-up officer behind it; his address."""
    for child, reporter in enumerate([team.one, team.two, team.three]):
        await team.register(reporter, child)
        await team.register(team.other, child)
    await team.match()
    code = await make_municipality(team.db, team.organisation)
    return await make_officer(team.db, "follow_up_officer", municipality=code)


# What happens to three reporters: (what, whom, by whom he is succeeded).
steps = st.lists(
    st.tuples(st.sampled_from(["designate", "end", "succeed"]), *[st.integers(0, 2)] * 2),
    max_size=12,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=steps, coordinated=st.booleans())
async def test_w3_whatever_happens_no_address_is_that_of_somebody_who_left(
    team: Team, officer: str, steps: list[tuple[str, int, int]], *, coordinated: bool
) -> None:
    async with undone(team.db):
        stand_in = officer
        if coordinated:
            stand_in = await make_officer(team.db, "coordinator", team.organisation)
        await take_steps(Turnover(team, stand_in), steps)


async def take_steps(turnover: Turnover, steps: list[tuple[str, int, int]]) -> None:
    for number, (what, whom, by) in enumerate(steps):
        match what:
            case "designate":
                await turnover.designate(whom, f"r{whom}.{number}@school.test")
            case "end":
                await turnover.end(whom)
            case _:
                await turnover.succeed(whom, by)
        await turnover.check()


STOPS = frozenset(
    {
        "registry.entitle",
        "store.insert_signals",
        "reporter_store.lock_reporters",
        "succession_store.lock_signals",
        "matching.claim_queued",
        "matching.lock_signals",
        "matching.insert_matches",
        "registry.hold_reporters",
        "match_store.share_legs",
        "commit",
    }
)


@pytest.fixture
async def connections(pool: "Pool[Record]") -> AsyncIterator[list[Db]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(pool.acquire()) for _ in range(2)]


async def race(team: Team, connections: Sequence[Db], order: Sequence[int], *works: Work) -> None:
    observer = Observer(team.db)
    sessions = zip(connections, works, strict=True)
    await play(order, [Session(db, STOPS, [work], observer) for db, work in sessions])


async def anew(team: Team) -> None:
    """Forget what happened; a statement each, since truncating costs far more."""
    for table in ("matching.match", "matching.signal", "notify.notice"):
        await team.db.execute(f"DELETE FROM {table}")  # noqa: S608
    await team.db.execute("UPDATE registry.reporter SET ended_at = NULL, successor_id = NULL")


def registering(team: Team, child: int, answers: list[Answer]) -> Work:
    async def register(db: Db) -> None:
        answers.extend(await register_batch(db, [registration(team.one, child)], SECRETS, NOW))

    return register


async def test_w3_no_interleaving_leaves_a_live_signal_with_a_reporter_who_left(
    team: Team, connections: list[Db]
) -> None:
    leave = team.ending(Departure(team.one.reporter_id, team.two.reporter_id))
    answers: list[Answer] = []
    for child, order in zip(count(1), orders(4, 4), strict=False):
        await race(team, connections, order, registering(team, child, answers), leave)

        signals = await team.db.fetch("SELECT reporter_id FROM matching.signal")
        moved = [team.two.id] if isinstance(answers[-1], Registered) else []
        assert [row["reporter_id"] for row in signals] == moved
        await anew(team)
    assert {type(answer) for answer in answers} == {Registered, InvalidBodyError}


async def test_w3_no_interleaving_with_the_matcher_leaves_a_match_or_notice_behind(
    team: Team, connections: list[Db]
) -> None:
    leave = team.ending(Departure(team.one.reporter_id, team.two.reporter_id))

    async def match(db: Db) -> None:
        await match_batch(db, 100, NOW)

    for child, order in zip(count(1), orders(5, 4), strict=False):
        await team.register(team.one, child)
        await team.register(team.other, child)
        await race(team, connections, order, match, leave)

        for table in ("matching.signal", "matching.match_side", "notify.notice"):
            rows = await team.db.fetch(f"SELECT reporter_id FROM {table}")  # noqa: S608
            assert {row["reporter_id"] for row in rows} == {team.two.id, team.other.id}, table
        await anew(team)


class Post:
    """Sends and leaves at once, and notes which came first."""

    def __init__(self, team: Team, departure: Departure) -> None:
        self.team = team
        self.departure = departure
        self.written: list[str] = []
        self.left_after: list[bool] = []

    async def send(self, db: Db) -> None:
        notice = await db.fetchval(
            "SELECT id FROM notify.notice WHERE reporter_id <> $1", self.team.other.id
        )
        await db.execute("INSERT INTO public.sent VALUES (now())")
        try:
            letter = await self.team.composer.compose(db, notice)
        except UndeliveredError as error:
            self.written.append(error.outcome.result)
        else:
            self.written.append(letter.recipient if letter else "nothing")

    async def leave(self, db: Db) -> None:
        await self.team.ending(self.departure)(db)
        self.left_after.append(await db.fetchval("SELECT count(*) > 0 FROM public.sent"))


@pytest.mark.parametrize("succeeded", [True, False])
async def test_w3_no_interleaving_with_sending_writes_to_somebody_who_left_before(
    team: Team, connections: list[Db], *, succeeded: bool
) -> None:
    stand_in = await make_officer(team.db, "coordinator", team.organisation)
    successor = team.two.reporter_id if succeeded else None
    post = Post(team, Departure(team.one.reporter_id, successor))
    await team.db.execute("CREATE TABLE public.sent (at timestamptz NOT NULL)")
    for child, order in zip(count(1), orders(4, 4), strict=False):
        await team.register(team.one, child)
        await team.register(team.other, child)
        await team.match()
        await race(team, connections, order, post.send, post.leave)
        await team.db.execute("TRUNCATE public.sent")
        await anew(team)

    assert {team.one.email} < set(post.written)
    assert set(post.written) <= {team.one.email, team.two.email, stand_in, Result.RELEASED}
    for to, left_after in zip(post.written, post.left_after, strict=True):
        assert to != team.one.email or left_after


async def test_w3_two_who_succeed_each_other_at_once_do_not_both_leave(
    pool: "Pool[Record]", team: Team
) -> None:
    async def leave(reporter: Somebody, successor: Somebody) -> bool:
        end = team.ending(Departure(reporter.reporter_id, successor.reporter_id))
        async with pool.acquire() as db, db.transaction():
            try:
                await end(db)
            except InvalidBodyError:
                return False
            return True

    for _ in range(10):
        left = await asyncio.gather(leave(team.one, team.two), leave(team.two, team.one))
        assert sorted(left) == [False, True]
        await anew(team)


async def test_w3_one_comes_and_goes_while_many_register_and_nothing_is_lost(
    pool: "Pool[Record]", team: Team
) -> None:
    answers: list[Answer] = []
    children = count()

    def registered() -> set[UUID]:
        return {each.signal.id for each in answers if isinstance(each, Registered)}

    async def register() -> None:
        while len(registered()) < ENOUGH:
            async with pool.acquire() as db, db.transaction():
                await registering(team, next(children), answers)(db)

    async def come_and_go() -> None:
        while len(registered()) < ENOUGH:
            await team.end(team.one, team.two)
            await asyncio.sleep(0.01)
            await team.designate(team.one, f"r{len(answers)}@school.test")
            await asyncio.sleep(0.01)

    await asyncio.gather(come_and_go(), *(register() for _ in range(3)))
    await team.end(team.one, team.two)

    rows = await team.db.fetch("SELECT signal_id FROM matching.live_child")
    assert {row["signal_id"] for row in rows} == registered()
    owners = await team.db.fetch(
        "SELECT reporter_id FROM matching.signal UNION SELECT reporter_id FROM matching.live_child"
    )
    assert [row["reporter_id"] for row in owners] == [team.two.id]
