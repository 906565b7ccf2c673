"""Random steps for the life of signals; what they lead to is compared after each."""

import asyncio
from collections.abc import Coroutine, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeVar

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from schemas.database import Db
from tests.law import AMSTERDAM, VOID_DAYS, Law, Reporter, Signal, years_later
from tests.life import NUMBERS, Life
from tests.world import Somebody, make_region, make_reporter

# Organisation, match unit, person: two colleagues of one match unit and one of another; the
# last is the first at a second employer.
REPORTERS = [
    Reporter(*each)
    for each in ((0, 0, 0), (1, 1, 1), (2, 2, 2), (3, 3, 3), (3, 3, 4), (3, 4, 5), (4, 5, 0))
]
# An ordinary day, the night before the clock changes, and a leap day.
STARTS = [
    datetime(2026, 11, 22, 10, tzinfo=UTC),
    datetime(2027, 3, 27, 22, 30, tzinfo=UTC),
    datetime(2028, 2, 29, 11, tzinfo=UTC),
]
JUMPS = [timedelta(hours=1)] * 4 + [timedelta(days=each) for each in (1, 1, 31, 400, 1100)]
MINUTE = timedelta(minutes=1)
FRESH = """
    TRUNCATE matching.signal, matching.match, matching.hub, matching.permit, matching.given_number,
             matching.relation, notify.notice, audit.entry CASCADE
"""
T = TypeVar("T")

numbers = st.integers(NUMBERS.start, NUMBERS.stop - 1)
days = st.sampled_from([None, None, 1, 2, 30, 400])
wishes = st.fixed_dictionaries(
    {
        "reporter": st.integers(0, len(REPORTERS) - 1),
        "child": st.sampled_from([None, *NUMBERS]),
        "name": numbers,
        "parents": st.frozensets(numbers, max_size=2),
        "address": st.none() | numbers,
        "remove_in": days,
        "destroy_in": days,
    }
)
picks = st.integers(0, 30)


def at_once(least: int) -> st.SearchStrategy[list[dict[str, Any]]]:
    """What different reporters register in one batch."""
    return st.lists(
        wishes, min_size=least, max_size=least + 2, unique_by=lambda wish: wish["reporter"]
    )


class Bench:
    """A loop, a connection and a registry, which all examples share."""

    def __init__(self, url: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.db: Db = self.run(asyncpg.connect(url))
        self.reporters = self.run(self.settle())

    def run(self, work: Coroutine[object, object, T]) -> T:
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self.db.close())
        self.loop.close()

    async def settle(self) -> list[Somebody]:
        """The reporters of the law, each in the organisation and match unit that it says."""
        await make_region(self.db)
        made: list[Somebody] = []
        for each in REPORTERS:
            known = dict(zip(REPORTERS, made, strict=False))
            organisation = [s.organisation for r, s in known.items() if r.organisation == each.organisation]
            match_unit = [s.match_unit for r, s in known.items() if r.match_unit == each.match_unit]
            made.append(
                await make_reporter(
                    self.db, each.person, *(organisation[:1] or [None]), *(match_unit[:1])
                )
            )
        return made

    async def clear(self, *, hub_limit: int, address_rule: bool) -> None:
        await self.db.execute(FRESH)
        await self.db.execute(
            "UPDATE registry.region SET hub_limit = $1, address_rule = $2", hub_limit, address_rule
        )


class Machine(RuleBasedStateMachine):
    """Signals of seven reporters on three children, by number or by name, of three parents."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.files = 0

    @initialize(
        start=st.sampled_from(STARTS),
        hub_limit=st.sampled_from([2, 12]),
        address_rule=st.booleans(),
        drawn=at_once(4),
    )
    def begin(
        self, start: datetime, hub_limit: int, address_rule: bool, drawn: list[dict[str, Any]]
    ) -> None:
        self.law = Law(REPORTERS, start, hub_limit=hub_limit, address_rule=address_rule)
        self.life = Life(self.bench.db, self.bench.reporters, self.law)
        self.bench.run(self.bench.clear(hub_limit=hub_limit, address_rule=address_rule))
        self.register(drawn)

    def wish(
        self, *, remove_in: int | None, destroy_in: int | None, child: int | None, **facts: Any
    ) -> Signal:
        today = self.law.today
        if child is not None:
            facts["name"] = None
        return Signal(
            child=child,
            file=f"F-{facts['reporter']}",
            registered_at=self.law.now,
            remove_on=today + timedelta(remove_in) if remove_in else years_later(today, 2),
            destroy_by=today + timedelta(destroy_in) if destroy_in else years_later(today, 7),
            **facts,
        )

    def pick(self, place: int) -> Signal:
        alive = [signal for signal in self.law.signals if not signal.destroyed]
        return alive[place % len(alive)]

    @rule(drawn=at_once(1))
    def register(self, drawn: list[dict[str, Any]]) -> None:
        """Several at once, as the api does on its tick."""
        self.law.now += timedelta(seconds=1)
        self.bench.run(self.life.register([self.wish(**each) for each in drawn]))

    @rule(limit=st.integers(1, 5))
    def match(self, limit: int) -> None:
        self.bench.run(self.life.match(limit))

    @rule()
    def match_all(self) -> None:
        while self.law.waiting:
            self.bench.run(self.life.match(10))

    @rule(by=st.sampled_from(JUMPS))
    def let_time_pass(self, by: timedelta) -> None:
        self.law.now += by

    @precondition(lambda self: self.law.signals)
    @rule(place=st.integers(0, 3), before=st.booleans())
    def come_to_the_edge_of_a_date(self, place: int, before: bool) -> None:
        """A minute before or after a local midnight at which something ends."""
        moments = sorted({edge for s in self.law.signals if not s.destroyed for edge in edges(s)})
        ahead = [edge for edge in moments if edge > self.law.now]
        if ahead:
            edge = ahead[place % len(ahead)]
            self.law.now = max(self.law.now, edge - MINUTE if before else edge + MINUTE)

    @precondition(lambda self: self.law.signals)
    @rule(place=picks, ground=st.sampled_from(["unjustified", "risk_gone"]))
    def withdraw(self, place: int, ground: str) -> None:
        live = [signal for signal in self.law.signals if self.law.is_live(signal)]
        if live:
            self.bench.run(self.life.withdraw(live[place % len(live)], ground))

    @rule()
    def sweep(self) -> None:
        self.match_all()
        self.bench.run(self.life.sweep())

    @precondition(lambda self: self.life.ids)
    @rule(place=picks, ground=st.sampled_from(["erased", "objected", "deceased"]))
    def end(self, place: int, ground: str) -> None:
        self.bench.run(self.life.end(self.pick(place), ground))

    @precondition(lambda self: any(self.law.has_history(s) for s in self.law.signals))
    @rule(place=picks)
    def open_history(self, place: int) -> None:
        told = [signal for signal in self.law.signals if self.law.has_history(signal)]
        self.bench.run(self.life.open_history(told[place % len(told)]))

    @precondition(lambda self: self.life.notices)
    @rule(place=picks)
    def read_letter(self, place: int) -> None:
        notices = [notice for notice in self.law.notices if notice.tells]
        self.bench.run(self.life.read_letter(notices[place % len(notices)]))

    @invariant()
    def agree(self) -> None:
        if hasattr(self, "life"):
            self.bench.run(self.life.compare())


def edges(signal: Signal) -> list[datetime]:
    """When something about a signal changes by itself."""
    dates = {signal.remove_on, signal.destroy_by, signal.archive_ends_on}
    moments = [datetime.combine(day, time(), AMSTERDAM) for day in dates]
    return moments + ([signal.withdrawn_at + VOID_DAYS] if signal.withdrawn_at else [])
