"""Whether a caller takes JSON, by RFC 9110, section 12.5.1."""

from aiohttp import hdrs, web

# From the vaguest to the most exact: the most exact range that fits decides.
RANGES = ("*/*", "application/*", "application/json")


def accepts_json(request: web.Request) -> bool:
    """Tell whether `Accept` leaves room for application/json."""
    header = ",".join(request.headers.getall(hdrs.ACCEPT, []))
    if not header.strip():
        return True
    weights = dict(map(_weight, header.lower().split(",")))
    named = [weights[name] for name in RANGES if name in weights]
    return bool(named) and named[-1] > 0


def _weight(media_range: str) -> tuple[str, float]:
    """Take a media range apart; a weight that is no number counts as given in full."""
    name, *parameters = (part.strip() for part in media_range.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return name, _number(value)
    return name, 1.0


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 1.0
