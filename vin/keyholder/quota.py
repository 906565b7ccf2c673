"""How much was asked today, counted before it is evaluated and never given back."""

from datetime import date, datetime, time, timedelta

from schemas.database import Db
from schemas.dates import LOCAL, local_date
from vin.errors import QuotaExceededError
from vin.keyholder.store import Client

# Long enough to look into a complaint about a quota.
KEPT = timedelta(days=7)


async def reserve(db: Db, client: Client, reporter_id: str, elements: int, now: datetime) -> int:
    """Count the elements for reporter and organisation in the caller's transaction.

    Returns how many are left today for whichever has least. Where either has too few:
    QuotaExceededError, which must roll the transaction back.
    """
    today = local_date(now)
    # Every transaction takes the reporter's row first, so that none waits in a circle.
    by_reporter = await _count_for_reporter(db, client, reporter_id, elements, today)
    by_all = await _count_for_organisation(db, client, elements, today)
    if by_reporter is None or by_all is None:
        raise QuotaExceededError(seconds_to_midnight(now))
    if by_all == elements:
        await _delete_before(db, today - KEPT)
    return min(client.reporter_quota - by_reporter, client.organisation_quota - by_all)


def seconds_to_midnight(now: datetime) -> int:
    """How long until the next local day, also in the nights when the clock changes."""
    midnight = datetime.combine(local_date(now) + timedelta(days=1), time(), LOCAL)
    return -int((now - midnight) // timedelta(seconds=1))


async def _count_for_reporter(
    db: Db, client: Client, reporter_id: str, elements: int, day: date
) -> int | None:
    counted: int | None = await db.fetchval(
        """
        -- quota.count_for_reporter
        INSERT INTO keyholder.reporter_usage AS u (day, organisation_id, reporter_id, elements)
        SELECT $1, $2, $3, $4::bigint
         WHERE $4::bigint <= $5
            ON CONFLICT ON CONSTRAINT reporter_usage_pk DO UPDATE
           SET elements = u.elements + excluded.elements
         WHERE u.elements + excluded.elements <= $5
        RETURNING elements
        """,
        day,
        client.organisation_id,
        reporter_id,
        elements,
        client.reporter_quota,
    )
    return counted


async def _count_for_organisation(db: Db, client: Client, elements: int, day: date) -> int | None:
    counted: int | None = await db.fetchval(
        """
        -- quota.count_for_organisation
        INSERT INTO keyholder.organisation_usage AS u (day, organisation_id, elements)
        SELECT $1, $2, $3::bigint
         WHERE $3::bigint <= $4
            ON CONFLICT ON CONSTRAINT organisation_usage_pk DO UPDATE
           SET elements = u.elements + excluded.elements
         WHERE u.elements + excluded.elements <= $4
        RETURNING elements
        """,
        day,
        client.organisation_id,
        elements,
        client.organisation_quota,
    )
    return counted


async def _delete_before(db: Db, day: date) -> None:
    for statement in (
        """
        -- quota.delete_reporters_before
        DELETE FROM keyholder.reporter_usage
         WHERE day < $1
        """,
        """
        -- quota.delete_organisations_before
        DELETE FROM keyholder.organisation_usage
         WHERE day < $1
        """,
    ):
        await db.execute(statement, day)
