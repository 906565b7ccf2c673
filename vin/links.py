"""Links in mails, by which a side says what happened without logging in (A1).

A link names no child and no person. It works once and until its date; looking at its page
does nothing, since programs that check mail look at pages too.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from schemas.database import Db
from schemas.dates import local_date
from vin import link_store, match_store, outcome_store, outcomes
from vin.base64url import decode_base64url, encode_base64url
from vin.crypto.link import TAG_BYTES, LinkKey
from vin.errors import MatchNotOpenError, NotFoundError
from vin.link_store import Asked, NewLink, SideKey
from vin.outcomes import Saying

LIFETIME = timedelta(days=28)
PATH = "/answer"
_PURPOSE = "answer"
_ID_BYTES = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Makes links to the index at `api_url`."""

    key: LinkKey
    api_url: str

    async def offer(
        self, db: Db, notice: UUID, sides: Sequence[SideKey], now: datetime
    ) -> dict[SideKey, str]:
        """A link for each side that a mail is about, the same one at each attempt to send it.

        The caller holds the legs of the matches.
        """
        links = [
            NewLink(uuid5(notice, f"{match}/{signal}"), (match, signal)) for match, signal in sides
        ]
        await link_store.insert_links(db, links, now + LIFETIME)
        return {link.side: f"{self.api_url}{PATH}/{token_of(self.key, link.id)}" for link in links}


def token_of(key: LinkKey, link: UUID) -> str:
    """The part of a link that nobody else can make."""
    return encode_base64url(link.bytes + key.sign(_PURPOSE, link.bytes))


def read_token(key: LinkKey, token: str) -> UUID | None:
    """The link that a token is of; None for one that is not ours."""
    data = decode_base64url(token)
    if data is None or len(data) != _ID_BYTES + TAG_BYTES:
        return None
    link, tag = data[:_ID_BYTES], data[_ID_BYTES:]
    return UUID(bytes=link) if key.fits(_PURPOSE, link, tag) else None


async def find(db: Db, link: UUID, now: datetime) -> Asked | None:
    """What a link asks about, as long as it can be answered. Changes nothing."""
    return await link_store.select_asked(db, link, now, local_date(now))


async def answer(db: Db, link: UUID, saying: Saying, now: datetime) -> Asked | None:
    """Keep what is said through a link and use that up; None when it works no more."""
    asked = await find(db, link, now)
    if asked is None:
        return None
    # As whoever writes a mail with the link: the legs, the match, then the link.
    await match_store.share_legs(db, [asked.side[0]])
    await outcome_store.lock_match(db, asked.side[0])
    if not await link_store.use(db, link, now):
        return None
    try:
        await outcomes.say(db, asked.side, saying, now)
    except (NotFoundError, MatchNotOpenError):
        return None
    return asked
