"""Hypothesis strategies for the nouns of the domain, drawn from so few values that they overlap."""

from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from hypothesis import strategies as st

from matching.model import OrganisationId, ReporterId, Signal, SignalId, Token

START = datetime(2026, 11, 22, 9, 0, tzinfo=UTC)
FAR = date(2028, 11, 22)


def uuid_of(family: int, number: int) -> UUID:
    """A recognisable id: the family tells what it stands for."""
    return UUID(int=(family << 64) | number)


def tokens(family: int, count: int) -> st.SearchStrategy[Token]:
    return st.integers(1, count).map(lambda number: Token(uuid_of(family, number)))


def persons() -> st.SearchStrategy[frozenset[UUID]]:
    return st.frozensets(st.integers(1, 6).map(lambda n: uuid_of(9, n)), max_size=2)


@st.composite
def signals(draw: st.DrawFn, number: int = 1) -> Signal:
    """One signal; `number` gives it its id, and with that its place in time."""
    child = draw(st.none() | tokens(1, 4))
    weak = draw(tokens(2, 3) if child is None else st.none() | tokens(2, 3))
    reporter = draw(st.integers(1, 6))
    return Signal(
        id=SignalId(uuid_of(7, number)),
        organisation=OrganisationId(uuid_of(5, reporter)),
        reporter=ReporterId(uuid_of(6, reporter)),
        persons=draw(persons()),
        match_unit=uuid_of(8, draw(st.integers(1, 4))),
        live=True,
        registered_at=START + timedelta(minutes=number),
        remove_on=FAR,
        destroy_by=FAR,
        child=child,
        weak=weak,
        parents=draw(st.frozensets(tokens(3, 4), max_size=3)),
        address=draw(st.none() | tokens(4, 3)),
    )


@st.composite
def arrivals(draw: st.DrawFn, most: int = 8) -> list[Signal]:
    """Signals in the order in which they register."""
    count = draw(st.integers(0, most))
    return [draw(signals(number)) for number in range(1, count + 1)]
