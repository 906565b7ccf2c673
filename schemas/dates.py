"""Instants as they travel, dates as people in the Netherlands count them; defined once."""

from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

LOCAL = ZoneInfo("Europe/Amsterdam")
LIVE_YEARS = 2
DESTROY_YEARS = 7
ARCHIVE_YEARS = 5


def instant_text(at: datetime) -> str:
    """Write an instant in UTC, in milliseconds, with Z."""
    text = at.astimezone(UTC).isoformat(timespec="milliseconds")
    return text.removesuffix("+00:00") + "Z"


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
