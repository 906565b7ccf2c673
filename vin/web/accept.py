"""Whether a caller takes what is offered, by RFC 9110, section 12.5.1."""

from aiohttp import hdrs, web


def accepts(request: web.Request, media_type: str) -> bool:
    """Tell whether `Accept` leaves room for a media type."""
    header = ",".join(request.headers.getall(hdrs.ACCEPT, []))
    if not header.strip():
        return True
    weights = dict(map(_weight, header.lower().split(",")))
    # From the vaguest to the most exact: the most exact range that fits decides.
    ranges = ("*/*", f"{media_type.partition('/')[0]}/*", media_type)
    named = [weights[name] for name in ranges if name in weights]
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
