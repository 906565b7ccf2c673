"""A2, A3: the follow-up officer's list, and who leads by which rule."""

from datetime import timedelta

import pytest

from schemas.database import Db
from tests.following import LISTED, Pair, follow, make_pair
from tests.officers import make_municipality
from tests.world import make_region, make_reporters
from vin.case_lead import Rule
from vin.contact_clock import Outcome
from vin.story import tell
from vin.worklist import list_cases

LATER = LISTED + timedelta(days=1)


@pytest.fixture
async def pair(db: Db) -> Pair:
    """Two schools in two municipalities, each with a local team of its own."""
    pair = await make_pair(db)
    await db.execute(
        "INSERT INTO registry.category VALUES ('team', 'Team', '2015-01-01', NULL, 'local_team')"
    )
    teams = await make_reporters(db, 2)
    for somebody, team, code in zip((pair.a, pair.b), teams, ("GM0361", "GM0405"), strict=True):
        await make_municipality(db, somebody.organisation, code)
        await make_municipality(db, team.organisation, code)
        await db.execute(
            "UPDATE registry.organisation SET category = 'team', name = $2 WHERE id = $1",
            team.organisation,
            f"Team of {code}",
        )
    await follow(db, LISTED)
    return pair


async def numbers(db: Db, municipality: str | None) -> list[str]:
    return [case.number for case in await list_cases(db, municipality, "operator", LATER)]


async def test_a2_a_match_is_on_the_list_of_each_municipality_that_it_is_in(
    db: Db, pair: Pair
) -> None:
    for municipality in ("GM0361", "GM0405", None):
        assert await numbers(db, municipality) == [pair.number]
    assert await numbers(db, "GM0400") == []


async def test_a2_the_list_names_organisations_that_said_nothing_and_nobody_in_person(
    db: Db, pair: Pair
) -> None:
    await pair.says(pair.a, Outcome.NOT_REACHABLE, LISTED)

    (case,) = await list_cases(db, "GM0361", "operator", LATER)

    assert case.listed_on == LISTED.date()
    name = await db.fetchval(
        "SELECT name FROM registry.organisation WHERE id = $1", pair.b.organisation
    )
    assert case.silent == [name]
    assert "Reporter" not in repr(case)


async def test_a2_the_oldest_come_first(db: Db) -> None:
    await make_region(db)
    both = await make_reporters(db, 2)
    later = await make_pair(db, 1, of=both)
    earlier = await make_pair(db, 2, of=both)
    await follow(db, LISTED)
    await db.execute(
        "UPDATE followup.clock SET listed_on = listed_on - 1 WHERE match_id = $1", earlier.match
    )

    assert await numbers(db, None) == [earlier.number, later.number]


async def test_a3_the_list_and_the_story_tell_who_leads_and_why(db: Db, pair: Pair) -> None:
    (case,) = await list_cases(db, None, "operator", LATER)
    (told,), _ = await tell(db, pair.number, 1, "operator", LATER)

    assert (case.lead.name, case.lead.rule) == ("Team of GM0361", Rule.LOCAL_TEAM_OF_MUNICIPALITY)
    assert told.lead == case.lead


async def test_a1_the_story_tells_what_each_side_said(db: Db, pair: Pair) -> None:
    await pair.says(pair.a, Outcome.NOT_REACHABLE, LISTED)

    (told,), trail = await tell(db, pair.number, 1, "operator", LATER)

    assert sorted(told.outcomes) == ["-", "not_reachable"]
    assert {"step.taken", "outcome.said"} <= {line.event for line in trail}


async def test_g3_a_look_at_the_list_is_logged_with_its_size(db: Db, pair: Pair) -> None:
    assert await numbers(db, "GM0361") == [pair.number]

    row = await db.fetchrow("SELECT * FROM audit.entry WHERE event = 'follow_up.listed'")
    assert row
    assert (row["actor_kind"], row["actor"]) == ("operator", "operator")
    assert row["detail"] == '{"matches": 1, "municipality": "GM0361"}'
