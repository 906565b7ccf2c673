"""Compares what a database shows to each side, and all that it holds, with what is on record."""

from collections.abc import Mapping
from uuid import UUID

from schemas.database import Db
from tests import steps
from tests.law import Notice
from tests.life import FAMILIES, NUMBERS, Life
from tests.strategies import uuid_of
from tests.world import SECRETS
from vin import signals

Told = tuple[UUID, frozenset[tuple[UUID, UUID]]]


async def compare(life: Life) -> None:
    """What every organisation sees, what everybody is told, and what the database holds."""
    await life.learn_queue()
    await compare_notices(life)
    async with life.rolled_back():
        for organisation in {each.organisation for each in life.docket.rules.reporters}:
            await compare_signals(life, organisation)
            await compare_matches(life, organisation)
    await compare_traces(life)


async def compare_notices(life: Life) -> None:
    """M9: each reporter has one notice on what one turn found, under an id of its own."""
    rows = await life.db.fetch(
        """
        SELECT notice.id, reporter_id, array_agg(ARRAY[match_id, signal_id]) AS tells,
               (SELECT count(*) FROM notify.delivery WHERE notice_id = notice.id) AS mails
          FROM notify.notice
          LEFT JOIN notify.notice_match ON notice_id = notice.id
         GROUP BY notice.id
        """
    )
    found = {(row["reporter_id"], frozenset(map(tuple, row["tells"]))): row for row in rows}
    said = {told_by(life, notice): notice for notice in life.docket.notices if notice.tells}
    assert len(found) == len(rows)
    assert found.keys() == said.keys(), "notices"
    for told, row in found.items():
        assert row["mails"] == 1
        assert life.notices.setdefault(said[told], row["id"]) == row["id"]


def told_by(life: Life, notice: Notice) -> Told:
    tells = frozenset((life.matches[match], life.ids[leg]) for match, leg in notice.tells)
    return life.reporters[notice.reporter].id, tells


async def compare_signals(life: Life, organisation: int) -> None:
    docket = life.docket
    wanted = signals.Wanted(
        organisation=organisation_id(life, organisation),
        reporter_id=None,
        after=steps.FIRST[:2],
        limit=200,
    )
    shown, _ = await signals.list_signals(life.db, wanted, SECRETS.contact, life.now)
    seen = [
        (each.id, each.reporter_id, each.status, each.history_notice_id is not None)
        for each in shown
    ]
    said = [
        (
            life.ids[each],
            life.owner(each).reporter_id,
            "live" if docket.is_live(each) else "ended",
            docket.has_history(each),
        )
        for each in docket.signals
        if docket.is_visible(each)
        and docket.rules.reporters[each.reporter].organisation == organisation
    ]
    assert seen == said, "own signals"


async def compare_matches(life: Life, organisation: int) -> None:
    """D4, L5: one's own sides, with the other's contact data only where open."""
    somebody = next(
        life.reporters[place]
        for place, each in enumerate(life.docket.rules.reporters)
        if each.organisation == organisation
    )
    seen: Mapping[tuple[UUID, UUID], object] = {
        (each.id, each.signal): (
            each.kind,
            each.status,
            each.reference,
            each.other and each.other[0].email,
        )
        for each in await steps.sides_of(life.db, somebody, life.now)
    }
    said = {
        (life.matches[match], life.ids[own]): (
            match.kind,
            life.docket.status(match),
            own.file,
            life.email(life.docket.contact(match, own)),
        )
        for match, own in life.docket.sides(organisation)
    }
    assert seen == said, "own matches"


async def compare_traces(life: Life) -> None:
    """L3, L4: what was destroyed is nowhere, nor a token that nobody carries any more."""
    carried = {key for each in life.ids if each.ground != "unjustified" for key in each.keys}
    told = {key for family in life.docket.families.values() for key in family}
    known = {(kind, number) for kind in FAMILIES for number in NUMBERS}
    lost = known - carried - told - life.docket.rules.excluded
    traces = life.gone | {str(uuid_of(FAMILIES[kind], number)) for kind, number in lost}
    found = [row for row in await everything(life.db) if any(each in row for each in traces)]
    assert found == [], "traces"


def organisation_id(life: Life, organisation: int) -> UUID:
    return next(
        life.reporters[place].organisation
        for place, each in enumerate(life.docket.rules.reporters)
        if each.organisation == organisation
    )


async def everything(db: Db) -> list[str]:
    """All rows of all tables as text, each with its table."""
    query = await db.fetchval(
        """
        SELECT string_agg(
                   format('SELECT %L || t::text AS row FROM %I.%I AS t',
                          tablename, schemaname, tablename),
                   ' UNION ALL ')
          FROM pg_tables
         WHERE schemaname NOT IN ('pg_catalog', 'information_schema')
        """
    )
    return [row["row"] for row in await db.fetch(query)]
