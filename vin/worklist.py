"""The follow-up officer's list: matches on which nobody has spoken yet, and who leads (A2, A3).

It shows organisations, never a person, and a shielded one by its broker's name (A5).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from matching.model import Status
from schemas.database import Db
from schemas.dates import local_date
from vin import audit, follow_up_store, outcome_store
from vin.audit import Entry, Event
from vin.case_lead import CaseLead, find_lead
from vin.follow_up import is_settled


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A match on the list: since when, which organisations said nothing, and who leads."""

    number: str
    listed_on: date
    silent: Sequence[str]
    lead: CaseLead


async def list_cases(db: Db, municipality: str | None, operator: str, now: datetime) -> list[Case]:
    """The list of a municipality, or of all, oldest first; that somebody looked is logged (G3).

    A match stands on the list of each municipality that an organisation of it is in.
    """
    listed = await follow_up_store.select_listed(db)
    sides = await follow_up_store.select_sides(db, listed, local_date(now))
    outcomes = await outcome_store.select_outcomes(db, listed)
    leads = await find_leads(db, listed, now)
    cases = [
        Case(
            number=sides[match][0].number,
            listed_on=since,
            silent=[
                side.party.name for side in sides[match] if (match, side.signal) not in outcomes
            ],
            lead=leads[match],
        )
        for match, since in listed.items()
        if all(side.status is Status.OPEN for side in sides[match])
        and municipality in {None, *(side.party.municipality for side in sides[match])}
        and not is_settled(sides[match], outcomes)
    ]
    entry = Entry(
        event=Event.FOLLOW_UP_LISTED,
        actor_kind="operator",
        actor=operator,
        object_kind="municipality",
        object_id=None,
        detail={"matches": len(cases)} | ({"municipality": municipality} if municipality else {}),
    )
    await audit.append(db, now, [entry])
    return cases


async def find_leads(db: Db, matches: Collection[UUID], now: datetime) -> dict[UUID, CaseLead]:
    """Who leads the cooperation on matches by default, with the rule (A3)."""
    sides = await follow_up_store.select_sides(db, matches, local_date(now))
    teams = await follow_up_store.select_teams(db)
    return {match: find_lead([side.party for side in sides[match]], teams) for match in sides}
