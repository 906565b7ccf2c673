"""A1, D6: what the sides of a match say happened, who sees it, and until when."""

from datetime import timedelta

import pytest

from schemas.database import Db
from schemas.dates import local_midnight
from tests.following import MATCHED, MINUTE, Pair, make_pair
from tests.world import make_reporter
from vin.contact_clock import Outcome
from vin.errors import AmbiguousSideError, MatchNotOpenError, NotFoundError
from vin.retention import Ending, destroy_batch, end_by_operator


@pytest.fixture
async def pair(db: Db) -> Pair:
    return await make_pair(db)


async def entries(db: Db) -> list[str]:
    rows = await db.fetch("SELECT detail FROM audit.entry WHERE event = 'outcome.said' ORDER BY id")
    return [row["detail"] for row in rows]


async def test_a1_each_side_says_what_happened_and_sees_what_the_other_said(pair: Pair) -> None:
    await pair.says(pair.a, Outcome.SPOKEN, MATCHED + MINUTE, new_to_me=False)

    own, other = await pair.view(pair.a), await pair.view(pair.b)
    assert own.own_outcome
    assert (own.own_outcome.outcome, own.own_outcome.new_to_me) == (Outcome.SPOKEN, False)
    assert own.own_outcome.said_at == MATCHED + MINUTE
    assert own.other_outcome is None
    assert (other.own_outcome, other.other_outcome) == (None, own.own_outcome)


async def test_a1_who_says_something_else_is_believed_and_both_are_in_the_log(pair: Pair) -> None:
    await pair.says(pair.a, Outcome.NOT_REACHABLE)
    await pair.says(pair.a, Outcome.SPOKEN, MATCHED + MINUTE)

    said = (await pair.view(pair.a)).own_outcome
    assert said
    assert said.outcome is Outcome.SPOKEN
    log = await entries(pair.db)
    assert len(log) == 2
    assert '"not_reachable"' in log[0]
    assert '"spoken"' in log[1]


@pytest.mark.parametrize("ground", ["risk_gone", "unjustified"])
async def test_a1_on_a_match_that_has_ended_nothing_can_be_said(pair: Pair, ground: str) -> None:
    await pair.ends(pair.b, ground)

    with pytest.raises(MatchNotOpenError):
        await pair.says(pair.a, Outcome.SPOKEN)


async def test_a1_dates_end_a_match_however_far_the_sweeper_is(pair: Pair) -> None:
    last = await pair.db.fetchval("SELECT min(remove_on) FROM matching.signal")

    await pair.says(pair.a, Outcome.SPOKEN, local_midnight(last) - MINUTE)
    with pytest.raises(MatchNotOpenError):
        await pair.says(pair.a, Outcome.SPOKEN, local_midnight(last))


async def test_d4_what_a_third_organisation_says_of_a_match_is_refused(db: Db, pair: Pair) -> None:
    stranger = await make_reporter(db, 9)

    with pytest.raises(NotFoundError):
        await pair.says(stranger, Outcome.SPOKEN)
    assert await entries(db) == []


async def test_l5_of_a_void_match_nobody_learns_what_the_other_said(pair: Pair) -> None:
    await pair.says(pair.a, Outcome.SPOKEN)
    await pair.says(pair.b, Outcome.NOT_REACHABLE)
    await pair.ends(pair.b, "unjustified")

    seen = await pair.view(pair.a)
    assert seen.own_outcome
    assert seen.other_outcome is None


async def test_l5_of_a_closed_match_it_stays_known(pair: Pair) -> None:
    await pair.says(pair.b, Outcome.SPOKEN)
    await pair.ends(pair.b, "risk_gone")

    assert (await pair.view(pair.a)).other_outcome


@pytest.mark.parametrize("ground", ["erased", "deceased"])
async def test_d6_what_was_said_goes_with_its_signal_from_the_log_too(
    pair: Pair, ground: str
) -> None:
    await pair.says(pair.a, Outcome.SPOKEN)
    await pair.says(pair.b, Outcome.NOT_REACHABLE)
    order = Ending(signal=pair.signals[0], ground=ground, purpose="order", operator="o")
    async with pair.db.transaction():
        await end_by_operator(pair.db, order, MATCHED)

    left = await pair.db.fetch("SELECT signal_id FROM followup.outcome")
    assert [row["signal_id"] for row in left] == ([pair.signals[1]] if ground == "erased" else [])
    log = await entries(pair.db)
    assert len(log) == 2
    assert log[0] == "{}"
    assert ("not_reachable" in log[1]) is (ground == "erased")
    assert not any(str(pair.signals[0]) in each for each in log)


async def test_l4_destroyed_by_its_date_a_match_leaves_no_outcome_link_or_clock(
    db: Db, pair: Pair
) -> None:
    await pair.says(pair.a, Outcome.SPOKEN)
    async with db.transaction():
        await destroy_batch(db, MATCHED + timedelta(days=8 * 365))

    for table in ("outcome", "link", "clock"):
        assert await db.fetchval(f"SELECT count(*) FROM followup.{table}") == 0  # noqa: S608


async def test_a1_who_has_both_sides_must_say_which(db: Db, pair: Pair) -> None:
    colleague = await make_reporter(db, 7, pair.a.organisation)
    both = await make_pair(db, 2, of=(pair.a, colleague))

    with pytest.raises(AmbiguousSideError):
        await both.says(pair.a, Outcome.SPOKEN)
