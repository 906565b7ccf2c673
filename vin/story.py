"""The story of a match for an administrator: who registered, what was found, what became of it.

It shows organisations and internal ids, never a token, a reference or contact data.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from schemas.database import Db
from vin import audit, worklist
from vin.audit import Entry, Event
from vin.case_lead import CaseLead
from vin.match_store import share_matches


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A match in one line; who leads its case is told where one match was asked for."""

    id: UUID
    number: str
    kind: str
    status: str
    matched_at: datetime
    organisations: Sequence[str]
    deliveries: Sequence[str]
    outcomes: Sequence[str]
    lead: CaseLead | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One entry of the log on a match, its signals or its deliveries."""

    at: datetime
    event: str
    actor: str
    object_kind: str
    object_id: UUID
    result: str


async def tell(
    db: Db, number: str | None, limit: int, operator: str, now: datetime
) -> tuple[list[Told], list[Line]]:
    """The latest matches, or one and its log; that an administrator looked is logged too (G3)."""
    told = await select_matches(db, number, limit)
    if number and told:
        # What is destroyed leaves the log too (G3), so it may not go before this is logged.
        await share_matches(db, [told[0].id])
        told = await select_matches(db, number, limit)
    entry = Entry(
        event=Event.MATCHES_AUDITED,
        actor_kind="operator",
        actor=operator,
        object_kind="match",
        object_id=told[0].id if number and told else None,
        result="done" if told else "nothing found",
        detail={"number": number} if number and told else {},
    )
    await audit.append(db, now, [entry])
    if not number or not told:
        return told, []
    leads = await worklist.find_leads(db, [told[0].id], now)
    return [replace(told[0], lead=leads.get(told[0].id))], await select_trail(db, told[0].id)


async def select_matches(db: Db, number: str | None, limit: int) -> list[Told]:
    """Matches, newest first, with the organisations on both sides and the deliveries' states."""
    rows = await db.fetch(
        """
        -- story.select_matches
        SELECT match.id, match.number, match.kind, match.status, match.matched_at,
               ARRAY(SELECT organisation.name
                       FROM matching.match_side
                       JOIN registry.organisation
                         ON organisation.id = match_side.organisation_id
                      WHERE match_side.match_id = match.id
                      ORDER BY match_side.signal_id) AS organisations,
               ARRAY(SELECT delivery.channel || ' ' || delivery.state
                       FROM notify.notice_match
                       JOIN notify.delivery ON delivery.notice_id = notice_match.notice_id
                      WHERE notice_match.match_id = match.id
                        AND (delivery.match_id IS NULL OR delivery.match_id = match.id)
                      ORDER BY notice_match.signal_id, delivery.channel) AS deliveries,
               ARRAY(SELECT coalesce(outcome.outcome, '-')
                       FROM matching.match_side
                       LEFT JOIN followup.outcome USING (match_id, signal_id)
                      WHERE match_side.match_id = match.id
                      ORDER BY match_side.signal_id) AS outcomes
          FROM matching.match
         WHERE $1::text IS NULL OR match.number = $1
         ORDER BY match.matched_at DESC, match.id
         LIMIT $2
        """,
        number,
        limit,
    )
    return [Told(**dict(row)) for row in rows]


async def select_trail(db: Db, match: UUID) -> list[Line]:
    """What the log holds on a match, on both its signals and on its deliveries, in order."""
    rows = await db.fetch(
        """
        -- story.select_trail
        SELECT at, event, actor, object_kind, object_id, result
          FROM audit.entry
         WHERE object_id IN (
               SELECT $1::uuid
                UNION
               SELECT signal_id FROM matching.match_side WHERE match_id = $1
                UNION
               SELECT delivery.id
                 FROM notify.notice_match
                 JOIN notify.delivery ON delivery.notice_id = notice_match.notice_id
                WHERE notice_match.match_id = $1
                  AND (delivery.match_id IS NULL OR delivery.match_id = $1)
                UNION
               SELECT delivery.id
                 FROM notify.notice_step
                 JOIN notify.delivery ON delivery.notice_id = notice_step.notice_id
                WHERE notice_step.match_id = $1)
         ORDER BY id
        """,
        match,
    )
    return [Line(**dict(row)) for row in rows]
