"""Whatever changes in whatever order, the open matches are those of the keys as they are now."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.database import Db
from tests.changing import find, rehouse, relate, relation
from tests.oracle import Course, Fact
from tests.steps import NOW, match_all, register, undone
from tests.world import Somebody, make_region, make_reporter, make_reporters, registration, token
from vin.errors import DuplicateSignalError, OtherChildError

FAMILIES = {
    "parents": st.frozensets(st.integers(1, 3), max_size=2),
    "address": st.none() | st.integers(1, 2),
}
EXCLUDED = 2


@dataclass(frozen=True)
class Step:
    """One thing that happens; `place` chooses a signal, as far as there are any."""

    what: str
    reporter: int
    child: int | None
    name: int
    place: int
    parents: frozenset[int]
    address: int | None

    @property
    def fact(self) -> Fact:
        return Fact(
            reporter=self.reporter,
            person=self.reporter % 5,
            match_unit=min(self.reporter, 4),
            child=self.child,
            name=self.name if self.child is None else None,
            parents=self.parents,
            address=self.address,
        )


steps = st.builds(
    Step,
    what=st.sampled_from(["register", "register", "register", "find", "rehouse", "tell"]),
    reporter=st.integers(0, 5),
    child=st.none() | st.integers(1, 4),
    name=st.integers(1, 2),
    place=st.integers(0, 20),
    **FAMILIES,
)


@dataclass
class Index:
    """The service on an empty database, driven by steps; places are signals in order."""

    db: Db
    course: Course
    reporters: list[Somebody]
    signals: list[UUID]

    async def take(self, step: Step) -> None:
        now = NOW + timedelta(minutes=self.course.step + 1)
        if step.what == "register":
            await self.register(step, now)
        elif step.what == "tell":
            child = step.child or 1
            self.course.tell(child, step.fact)
            await relate(self.db, relation(child, sorted(step.parents), step.address), now)
        elif self.signals:
            await self.change(step, step.place % len(self.signals), now)

    async def register(self, step: Step, now: datetime) -> None:
        by = self.reporters[step.reporter]
        request = registration(
            by,
            step.child,
            weak=step.name if step.child is None else None,
            parents=sorted(step.parents),
            address=step.address,
            reference=f"D-{len(self.signals)}",
        )
        (signal,) = await register(self.db, request, now=now)
        if self.course.register(step.fact):
            self.signals.append(signal)
        else:
            assert signal in self.signals

    async def change(self, step: Step, place: int, now: datetime) -> None:
        signal = self.signals[place]
        by = self.reporters[int(str(self.course.facts[place].reporter))]
        if step.what == "rehouse":
            self.course.rehouse(place, step.fact)
            await rehouse(self.db, signal, by, sorted(step.parents), step.address, now=now)
            return
        accepted = self.course.find(place, step.child or 1)
        refused = True
        with suppress(OtherChildError, DuplicateSignalError):
            await find(self.db, signal, by, step.child or 1, now=now)
            refused = False
        assert accepted is not refused

    async def match(self) -> None:
        await match_all(self.db, 3, NOW + timedelta(minutes=self.course.step))

    async def open_matches(self) -> dict[tuple[int, ...], str]:
        places = {signal: place for place, signal in enumerate(self.signals)}
        rows = await self.db.fetch(
            "SELECT signal_a, signal_b, kind FROM matching.match WHERE status = 'open'"
        )
        return {
            tuple(sorted((places[row["signal_a"]], places[row["signal_b"]]))): row["kind"]
            for row in rows
        }


@asynccontextmanager
async def empty_index(db: Db, course: Course) -> AsyncIterator[Index]:
    """Six reporters who are five people of five match units, and one excluded address."""
    async with undone(db):
        await make_region(db, hub_limit=course.hub_limit, address_rule=course.address_rule)
        excluded = token(4, EXCLUDED).lookup
        await db.execute("INSERT INTO matching.excluded_address VALUES ($1)", excluded)
        reporters = await make_reporters(db, 5)
        reporters.append(await make_reporter(db, 0, match_unit=reporters[4].match_unit))
        yield Index(db, course, reporters, [])


thorough = settings(
    max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@thorough
@given(taken=st.lists(steps, max_size=14), address_rule=st.booleans())
async def test_m11_m12_the_open_matches_are_those_of_the_keys_of_the_moment(
    db: Db, taken: list[Step], *, address_rule: bool
) -> None:
    async with empty_index(db, Course(2, address_rule, frozenset({EXCLUDED}))) as index:
        for step in taken:
            await index.take(step)
            await index.match()

            assert await index.open_matches() == index.course.expected()


@thorough
@given(taken=st.lists(steps, max_size=14))
async def test_m11_m12_so_they_are_when_the_matcher_comes_late(db: Db, taken: list[Step]) -> None:
    course = Course(100, address_rule=True, excluded=frozenset({EXCLUDED}))
    async with empty_index(db, course) as index:
        for step in taken:
            await index.take(step)
        await index.match()

        assert await index.open_matches() == index.course.expected()
