"""What happens in two worlds that one organisation must not tell apart, drawn at random.

What others do is drawn twice where it must not matter: by which key they meet, how a signal
ended, when they registered, what a shielded organisation is called, and who else there is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import TypeVar

from hypothesis import strategies as st

from schemas.dates import local_date
from tests.api_on import START, Value
from tests.onlooker import ACTS, Call
from tests.worlds import SHELTER, World

T = TypeVar("T")

TODAY = local_date(START)

# The onlooker's keys. Who shares one of the couple's shares them all, as far as it can see.
# What stands here more often is drawn more often.
COUPLE: tuple[Value, ...] = (("parent", 1), ("parent", 2))
HOME: Value = ("address", 1)
ALONE: Value = ("parent", 3)
CHILDREN: tuple[Value, ...] = (("bsn", 1), ("bsn", 1), ("bsn", 2), ("demographic", 1))
FAMILIES: tuple[tuple[Value, ...], ...] = (
    (*COUPLE, HOME),
    (*COUPLE, HOME),
    (*COUPLE, HOME),
    (),
    (ALONE,),
    (SHELTER,),
    (ALONE, SHELTER),
)
# Others' keys, of which the onlooker knows nothing.
STRANGER: Value = ("parent", 50)


@dataclass(frozen=True, slots=True)
class Detail:
    """What one world does not share with the other: of the couple at least one."""

    couple: tuple[Value, ...]
    stranger: bool
    address: Value | None
    seconds_ago: int


@dataclass(slots=True)
class Come:
    """Another organisation registers a child, its own or one of the onlooker's."""

    number: int
    child: Value
    couple: bool
    alone: bool
    shielded: bool
    details: Sequence[Detail]
    until: list[date | None] = field(default_factory=lambda: [None, None])
    told: bool = False

    @property
    def unknown(self) -> bool:
        return self.child not in CHILDREN

    def values(self, place: int) -> list[Value]:
        detail = self.details[place]
        address = detail.address if self.couple or detail.address == SHELTER else None
        return [
            self.child,
            *(detail.couple if self.couple else ()),
            *((ALONE,) if self.alone else ()),
            *((STRANGER,) if detail.stranger else ()),
            *((address,) if address else ()),
        ]

    async def happen(self, world: World, place: int) -> None:
        await world.come(
            self.number,
            self.values(place),
            remove_on=self.until[place],
            shielded=self.shielded,
            seconds_ago=self.details[place].seconds_ago,
        )


@dataclass(slots=True)
class End:
    """What another organisation registered ends, somehow."""

    come: Come
    days: int
    how: Sequence[str]

    async def happen(self, world: World, place: int) -> None:
        world.wait(self.days)
        match self.how[place]:
            case "erased":
                await world.erase(self.come.number)
            case "rehoused":
                await world.rehouse(self.come.number, [STRANGER])
            case "risk_gone" | "unjustified" as ground:
                await world.withdraw(self.come.number, ground)
            case _:
                pass  # the day has come


# What others do among themselves, to children of their own or without anyone's seeing it:
# whom they register with which household, and how that ends at once.
AMONG_OTHERS: Mapping[str, tuple[Value | None, tuple[Value, ...], str]] = {
    "third party": (None, (STRANGER,), ""),
    "neighbour": (None, (STRANGER, SHELTER), ""),
    "leaver": (None, (STRANGER,), "leaves"),
    "archived sibling": (None, (*COUPLE, HOME), "risk_gone"),
    "mistake": (CHILDREN[0], COUPLE, "unjustified"),
}


@dataclass(slots=True)
class Secret:
    """What happens among others, or does not."""

    number: int
    what: Sequence[str]

    async def happen(self, world: World, place: int) -> None:
        if self.what[place] == "nothing":
            return
        child, family, ends = AMONG_OTHERS[self.what[place]]
        await world.come(self.number, [child or ("bsn", self.number), *family])
        if ends == "leaves":
            await world.leave(self.number)
        elif ends:
            await world.withdraw(self.number, ends)


@dataclass(slots=True)
class Told:
    """The population register confirms the household of a child, or does not."""

    come: Come
    told: Sequence[bool]

    async def happen(self, world: World, place: int) -> None:
        if self.told[place]:
            await world.tell(self.come.values(place))


@dataclass(slots=True)
class Wait:
    days: int

    async def happen(self, world: World, place: int) -> None:
        del place
        world.wait(self.days)


Step = Call | Come | End | Secret | Told | Wait


@dataclass(slots=True)
class Script:
    """What happens; with the day that it has come to, and whose signals are live."""

    address_rule: bool
    mail_late: bool
    steps: list[Step] = field(default_factory=list)
    day: date = TODAY
    there: list[Come] = field(default_factory=list)

    @property
    def asked(self) -> set[str]:
        return {step.what for step in self.steps if isinstance(step, Call)}


calls = st.builds(
    Call,
    what=st.sampled_from([*ACTS, *["register", "matches", "register", "matches"]]),
    by=st.integers(0, 1),
    whose=st.sampled_from(["own", "own", "other", "nobody"]),
    place=st.integers(0, 3),
    child=st.sampled_from(CHILDREN),
    family=st.sampled_from(FAMILIES),
    twist=st.sampled_from(["", "", "same permit", "same key", "again", "foreign", "unknown"]),
)


LAST = [
    Call(what, by=0, whose=whose, place=0, child=CHILDREN[0], family=(), twist="")
    for what, whose in (
        ("signals", "own"),
        ("matches", "own"),
        ("open", "own"),
        ("read", "other"),
        ("match", "other"),
        ("open", "other"),
    )
]


def details(*, address_rule: bool) -> st.SearchStrategy[Detail]:
    couples: list[tuple[Value, ...]] = [COUPLE[:1], COUPLE[1:], COUPLE]
    addresses = [None, SHELTER, HOME]
    usual = st.builds(
        Detail,
        couple=st.sampled_from(couples),
        stranger=st.booleans(),
        address=st.sampled_from(addresses),
        seconds_ago=st.integers(0, 50),
    )
    home = st.builds(Detail, st.just(()), st.booleans(), st.just(HOME), st.integers(0, 50))
    return usual | home if address_rule else usual


@st.composite
def scripts(draw: st.DrawFn) -> Script:
    script = Script(draw(st.booleans()), draw(st.booleans()))
    others = [come, come, end, end, former, secret, told]
    for number in range(100, 100 + draw(st.integers(1, 4))):
        script.steps.append(draw(st.sampled_from(others))(draw, script, number))
    script.steps.append(replace(draw(calls), what="register", twist=""))
    for number in range(200, 200 + draw(st.integers(4, 9))):
        make = draw(st.sampled_from([call, call, call, wait, *others]))
        script.steps.append(make(draw, script, number))
    script.steps += LAST
    return script


def call(draw: st.DrawFn, _script: Script, _number: int) -> Step:
    return draw(calls)


def wait(draw: st.DrawFn, script: Script, _number: int) -> Step:
    days = draw(st.sampled_from([1, 40]))
    script.day += timedelta(days=days)
    return Wait(days)


def come(draw: st.DrawFn, script: Script, number: int) -> Come:
    detail = details(address_rule=script.address_rule)
    step = Come(
        number,
        child=draw(st.sampled_from([*CHILDREN, *[("bsn", number)] * 2])),
        couple=draw(st.booleans()),
        alone=draw(st.booleans()),
        shielded=draw(st.booleans()),
        details=(draw(detail), draw(detail)),
    )
    script.there.append(step)
    return step


def end(draw: st.DrawFn, script: Script, number: int) -> Step:
    if not script.there:
        return come(draw, script, number)
    ended = draw(st.sampled_from(script.there))
    script.there.remove(ended)
    if draw(st.booleans()):
        return close(draw, script, ended)
    # What was closed before is not made void by other parents.
    fleeting = ended.unknown and not ended.told and "withdraw" not in script.asked
    rehoused = ["rehoused"] if fleeting else []
    return End(ended, 0, draw(pairs("unjustified", "erased", *rehoused)))


def close(draw: st.DrawFn, script: Script, ended: Come) -> Step:
    script.day += timedelta(days=1)
    how = draw(pairs("risk_gone", "expired"))
    ended.until = [script.day if each == "expired" else None for each in how]
    return End(ended, 1, how)


def former(draw: st.DrawFn, script: Script, number: int) -> Step:
    """Somebody was involved with one of the onlooker's children, and is no more."""
    ended = come(draw, script, number)
    script.there.remove(ended)
    ended.child = CHILDREN[0]
    script.steps.append(ended)
    return close(draw, script, ended)


def secret(draw: st.DrawFn, _script: Script, number: int) -> Step:
    return Secret(number, draw(pairs("nothing", *AMONG_OTHERS)))


def told(draw: st.DrawFn, script: Script, number: int) -> Step:
    unknown = [each for each in script.there if each.unknown]
    if not unknown:
        return secret(draw, script, number)
    about = draw(st.sampled_from(unknown))
    about.told = True
    return Told(about, (draw(st.booleans()), draw(st.booleans())))


def pairs(*choices: T) -> st.SearchStrategy[tuple[T, T]]:
    """One for each world."""
    return st.tuples(st.sampled_from(choices), st.sampled_from(choices))
