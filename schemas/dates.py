"""Dates as people in the Netherlands count them; one definition for index and client."""

from datetime import date, datetime, time
from zoneinfo import ZoneInfo

LOCAL = ZoneInfo("Europe/Amsterdam")
LIVE_YEARS = 2
DESTROY_YEARS = 7
ARCHIVE_YEARS = 5


def local_date(at: datetime) -> date:
    """The calendar date in the Netherlands at this instant."""
    return at.astimezone(LOCAL).date()


def local_midnight(day: date) -> datetime:
    """The instant at which a calendar date begins in the Netherlands."""
    return datetime.combine(day, time(), LOCAL)


def years_after(day: date, years: int) -> date:
    """The same day so many years later; 29 February becomes 1 March where there is none."""
    try:
        return day.replace(year=day.year + years)
    except ValueError:
        return date(day.year + years, 3, 1)
