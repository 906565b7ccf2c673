"""Random acts in the life of signals; after each, the service is compared with the law."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, time, timedelta
from typing import Any, TypeVar

import asyncpg
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from schemas.database import Db
from tests.docket import Docket
from tests.law import AMSTERDAM, VOID_KEPT, Key, Reporter, Rules, Signal, years_later
from tests.life import NUMBERS, Life
from tests.strategies import uuid_of
from tests.views import compare
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
SHELTER = ("address", 3)
T = TypeVar("T")
Drawn = dict[str, Any]

numbers = st.integers(NUMBERS.start, NUMBERS.stop - 1)
days = st.sampled_from([None, None, 1, 2, 30, 400])
picks = st.integers(0, 30)
families = st.builds(
    lambda parents, address: frozenset(
        [*(("parent", each) for each in parents), *([("address", address)] if address else [])]
    ),
    st.frozensets(numbers, max_size=2),
    st.none() | numbers,
)
wishes = st.fixed_dictionaries(
    {
        "reporter": st.integers(0, len(REPORTERS) - 1),
        "child": st.sampled_from([None, *NUMBERS]),
        "name": numbers,
        "household": families,
        "remove_in": days,
        "destroy_in": days,
    }
)


def at_once(least: int) -> st.SearchStrategy[list[Drawn]]:
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

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run_until_complete(work)

    def close(self) -> None:
        self.run(self.db.close())
        self.loop.close()

    async def settle(self) -> list[Somebody]:
        """The reporters of the law, each in the organisation and match unit that it says."""
        await make_region(self.db)
        await self.db.execute(
            "INSERT INTO matching.excluded_address VALUES ($1)", uuid_of(4, SHELTER[1])
        )
        made: list[Somebody] = []
        for each in REPORTERS:
            before = list(zip(REPORTERS, made, strict=False))
            employers = [s.organisation for r, s in before if r.organisation == each.organisation]
            units = [s.match_unit for r, s in before if r.match_unit == each.match_unit]
            organisation, match_unit = (next(iter(known), None) for known in (employers, units))
            made.append(await make_reporter(self.db, each.person, organisation, match_unit))
        return made

    async def clear(self, rules: Rules) -> None:
        """An empty index under other rules, with everybody at his post."""
        await self.db.execute(
            """
            TRUNCATE matching.signal, matching.match, matching.hub, matching.permit,
                     matching.given_number, matching.relation, notify.notice, audit.entry CASCADE
            """
        )
        await self.db.execute("UPDATE registry.reporter SET ended_at = NULL, successor_id = NULL")
        await self.db.execute(
            "UPDATE registry.region SET hub_limit = $1, address_rule = $2",
            rules.hub_limit,
            rules.address_rule,
        )


class Machine(RuleBasedStateMachine):
    """Signals of seven reporters on three children, by number or by name, of three parents."""

    bench: Bench
    docket: Docket
    life: Life

    @initialize(
        start=st.sampled_from(STARTS),
        hub_limit=st.sampled_from([2, 12]),
        address_rule=st.booleans(),
        drawn=at_once(4),
    )
    def begin(
        self, start: datetime, hub_limit: int, *, address_rule: bool, drawn: list[Drawn]
    ) -> None:
        rules = Rules(REPORTERS, hub_limit, address_rule, frozenset({SHELTER}))
        self.bench.run(self.bench.clear(rules))
        self.docket = Docket(rules, start)
        self.life = Life(self.bench.db, self.bench.reporters, self.docket)
        self.register(drawn)

    @rule(drawn=at_once(1))
    def register(self, drawn: list[Drawn]) -> None:
        """Several at once, as the api does on its tick."""
        asked = [self.wish(**each) for each in drawn if each["reporter"] not in self.docket.left]
        self.bench.run(self.life.register(asked))

    def wish(
        self,
        *,
        reporter: int,
        child: int | None,
        name: int,
        household: frozenset[Key],
        remove_in: int | None,
        destroy_in: int | None,
    ) -> Signal:
        today = self.docket.today
        return Signal(
            reporter=reporter,
            match_unit=REPORTERS[reporter].match_unit,
            child=child,
            name=None if child else name,
            file=f"F-{reporter}",
            household=household,
            registered_at=self.docket.now,
            remove_on=today + timedelta(remove_in) if remove_in else years_later(today, 2),
            destroy_by=today + timedelta(destroy_in) if destroy_in else years_later(today, 7),
        )

    @rule(limit=st.integers(1, 5))
    def match(self, limit: int) -> None:
        self.bench.run(self.life.match(limit))

    @rule()
    def match_all(self) -> None:
        while self.docket.waiting:
            self.match(10)
            self.bench.run(self.life.learn_queue())

    @rule(by=st.sampled_from(JUMPS))
    def let_time_pass(self, by: timedelta) -> None:
        self.docket.now += by

    @rule(place=st.integers(0, 3), before=st.booleans())
    def come_to_the_edge_of_a_date(self, place: int, *, before: bool) -> None:
        """A minute before or after an instant at which something ends by itself."""
        there = [signal for signal in self.docket.signals if not signal.destroyed]
        ahead = sorted({at for each in there for at in edges(each) if at > self.docket.now})
        if ahead:
            edge = ahead[place % len(ahead)]
            self.docket.now = max(self.docket.now, edge - MINUTE if before else edge + MINUTE)

    def pick(self, place: int, *, live: bool = True) -> list[Signal]:
        """One of the signals that there are, or none."""
        there = [
            each
            for each in self.docket.signals
            if not each.destroyed and (self.docket.is_live(each) or not live)
        ]
        return there[place % len(there) :][:1] if there else []

    @rule(place=picks, ground=st.sampled_from(["unjustified", "risk_gone"]))
    def withdraw(self, place: int, ground: str) -> None:
        for signal in self.pick(place):
            self.bench.run(self.life.withdraw(signal, ground))

    @rule(place=picks, child=numbers)
    def find_child(self, place: int, child: int) -> None:
        for signal in self.pick(place):
            if signal.reporter not in self.docket.left:
                self.bench.run(self.life.find_child(signal, child))

    @rule(place=picks, family=families)
    def replace_family(self, place: int, family: frozenset[Key]) -> None:
        for signal in self.pick(place):
            if signal.reporter not in self.docket.left:
                self.bench.run(self.life.replace_family(signal, family))

    @rule(child=numbers, family=families)
    def hear_from_the_population_register(self, child: int, family: frozenset[Key]) -> None:
        self.bench.run(self.life.register_tells(child, family))

    @rule(who=st.sampled_from([0, 3, 4, 5]), to=st.sampled_from([None, 3, 4, 5]))
    def leave(self, who: int, to: int | None) -> None:
        """The first reporter has no colleague."""
        if not {who, to} & self.docket.left.keys() and who != to:
            self.bench.run(self.life.leave(who, to if who else None))

    @rule()
    def sweep(self) -> None:
        self.match_all()
        self.bench.run(self.life.sweep())

    @rule(place=picks, ground=st.sampled_from(["erased", "objected", "deceased"]))
    def end(self, place: int, ground: str) -> None:
        for signal in self.pick(place, live=False):
            self.bench.run(self.life.end(signal, ground))

    @rule(place=picks)
    def open_history(self, place: int) -> None:
        told = [
            s
            for s in self.docket.signals
            if self.docket.has_history(s) and self.docket.is_visible(s)
        ]
        for signal in told[place % len(told) :][:1] if told else []:
            self.bench.run(self.life.open_history(signal))

    @rule(place=picks)
    def read_letter(self, place: int) -> None:
        notices = [notice for notice in self.docket.notices if notice.tells]
        for notice in notices[place % len(notices) :][:1] if notices else []:
            self.bench.run(self.life.read_letter(notice))

    @invariant()
    def agree(self) -> None:
        """No two acts are at one instant."""
        if hasattr(self, "life"):
            self.bench.run(compare(self.life))
            self.docket.now += timedelta(seconds=1)


def machine_on(bench: Bench) -> type[Machine]:
    return type("BenchMachine", (Machine,), {"bench": bench})


def edges(signal: Signal) -> list[datetime]:
    """When something about a signal changes by itself."""
    dates = {signal.remove_on, signal.destroy_by, signal.archive_ends_on}
    moments = [datetime.combine(day, time(), AMSTERDAM) for day in dates]
    return moments + ([signal.withdrawn_at + VOID_KEPT] if signal.withdrawn_at else [])
