"""Use cases of an operator on deliveries: look, retry, resolve, pause; each leaves a trace (G3).

He sees ids, states, organisations and match numbers, never contact data or an address.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time
from uuid import UUID

from notify import held, ledger
from notify.held import Answer, Standing
from notify.ledger import Attempt, Channel
from notify.retry import State
from schemas.database import Db
from schemas.dates import LOCAL
from vin import audit
from vin.audit import Entry, Event
from vin.errors import NotFoundError, StartError

RETRIED = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which deliveries an operator means; what is None matters not."""

    state: State | None = None
    channel: Channel | None = None
    organisation: str | None = None
    since: date | None = None
    limit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Act:
    """Who acts, and why."""

    operator: str
    purpose: str | None = None


@dataclass(frozen=True, slots=True)
class Story:
    """All of one delivery: what it tells of, and each attempt."""

    delivery: Standing
    numbers: Sequence[str]
    attempts: Sequence[Attempt]


async def list_deliveries(
    db: Db, wanted: Wanted, act: Act, now: datetime
) -> tuple[list[Standing], Mapping[UUID, str]]:
    """The deliveries that are wanted, newest first, and the codes of their organisations."""
    found = await held.select_deliveries(db, await _meant(db, wanted))
    detail = {
        "state": wanted.state,
        "channel": wanted.channel,
        "organisation": wanted.organisation,
        "deliveries": len(found),
    }
    given = {name: value for name, value in detail.items() if value is not None}
    entry = _entry(Event.DELIVERIES_LISTED, act, detail=given)
    await audit.append(db, now, [entry])
    parties = {each.party_id for each in found if each.party_id is not None}
    return found, await select_codes(db, parties)


async def show_delivery(db: Db, delivery: UUID, act: Act, now: datetime) -> Story:
    """One delivery; NotFoundError when it is gone."""
    found = await held.select_delivery(db, delivery)
    if found is None:
        raise NotFoundError
    await audit.append(db, now, [_entry(Event.DELIVERY_SHOWN, act, delivery)])
    attempts = await ledger.select_attempts(db, [found.notice_id])
    return Story(
        delivery=found,
        numbers=await select_numbers(db, found),
        attempts=[each for each in attempts if each.delivery_id == delivery and each.attempt],
    )


async def retry(db: Db, deliveries: Sequence[UUID], act: Act, now: datetime) -> list[UUID]:
    """Let dead or resting deliveries try at once, with all attempts before them; which did."""
    done = await held.retry(db, deliveries)
    entries = [
        _entry(Event.DELIVERY_RETRIED, act, each, {"channel": channel})
        for each, channel in done.items()
    ]
    await audit.append(db, now, entries)
    return list(done)


async def retry_all(db: Db, wanted: Wanted, act: Act, now: datetime) -> list[UUID]:
    """Retry what is wanted, at most `RETRIED` at once."""
    meant = await _meant(db, replace(wanted, limit=RETRIED))
    return await retry(db, [each.id for each in await held.select_deliveries(db, meant)], act, now)


async def resolve(db: Db, delivery: UUID, answer: Answer, act: Act, now: datetime) -> None:
    """Say what became of a delivery that may have arrived; NotFoundError unless it waits so."""
    channel = await held.resolve(db, delivery, answer)
    if channel is None:
        raise NotFoundError
    entry = _entry(Event.DELIVERY_RESOLVED, act, delivery, {"channel": channel})
    await audit.append(db, now, [replace(entry, result=answer)])


async def pause(db: Db, channel: Channel, act: Act, now: datetime) -> bool:
    """Keep a channel's deliveries in the ledger; False when that was so already."""
    paused = await ledger.pause(db, channel)
    await audit.append(db, now, [_channel_entry(Event.CHANNEL_PAUSED, channel, act)])
    return paused


async def resume(db: Db, channel: Channel, act: Act, now: datetime) -> bool:
    """Let a channel's deliveries go again; False when that was so already."""
    resumed = await ledger.resume(db, channel)
    await audit.append(db, now, [_channel_entry(Event.CHANNEL_RESUMED, channel, act)])
    return resumed


async def _meant(db: Db, wanted: Wanted) -> held.Wanted:
    """What is wanted, by id; StartError for an organisation that is not there."""
    party = None
    if wanted.organisation is not None:
        party = await select_organisation(db, wanted.organisation)
        if party is None:
            message = f"There is no organisation {wanted.organisation}."
            raise StartError(message)
    since = datetime.combine(wanted.since, time(), LOCAL) if wanted.since else None
    return held.Wanted(
        state=wanted.state, channel=wanted.channel, party=party, since=since, limit=wanted.limit
    )


async def select_organisation(db: Db, code: str) -> UUID | None:
    """The organisation with this code."""
    organisation: UUID | None = await db.fetchval(
        """
        -- delivery_desk.select_organisation
        SELECT id
          FROM registry.organisation
         WHERE code = $1
        """,
        code,
    )
    return organisation


async def select_codes(db: Db, organisations: Collection[UUID]) -> dict[UUID, str]:
    """The codes of organisations."""
    rows = await db.fetch(
        """
        -- delivery_desk.select_codes
        SELECT id, code
          FROM registry.organisation
         WHERE id = ANY($1)
        """,
        list(organisations),
    )
    return {row["id"]: row["code"] for row in rows}


async def select_numbers(db: Db, delivery: Standing) -> list[str]:
    """The numbers of the matches that a delivery tells of."""
    rows = await db.fetch(
        """
        -- delivery_desk.select_numbers
        SELECT number
          FROM matching.match
         WHERE id IN (
               SELECT match_id FROM notify.notice_match WHERE notice_id = $1
                UNION
               SELECT match_id FROM notify.notice_step WHERE notice_id = $1)
           AND ($2::uuid IS NULL OR id = $2)
         ORDER BY number
        """,
        delivery.notice_id,
        delivery.match_id,
    )
    return [row["number"] for row in rows]


def _channel_entry(event: Event, channel: Channel, act: Act) -> Entry:
    return replace(_entry(event, act, detail={"channel": channel}), object_kind="channel")


def _entry(
    event: Event,
    act: Act,
    delivery: UUID | None = None,
    detail: Mapping[str, str | int | bool | list[str]] | None = None,
) -> Entry:
    return Entry(
        event=event,
        actor_kind="operator",
        actor=act.operator,
        object_kind="delivery",
        object_id=delivery,
        purpose=act.purpose,
        detail=detail or {},
    )
