"""A1: links in mails, by which a side says what happened without logging in."""

from datetime import datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.letters import MatchLetter
from schemas.database import Db
from tests.following import LINK_KEY, LINKS, MATCHED, MINUTE, REMINDED, Pair, follow, make_pair
from tests.following import reminders as written_reminders
from tests.life import Stopped
from tests.world import SECRETS, make_reporter
from vin import links
from vin.base64url import decode_base64url, encode_base64url
from vin.contact_clock import Outcome
from vin.crypto.link import LinkKey
from vin.follow_up import follow_batch
from vin.handover import hand_over
from vin.link_store import Asked
from vin.notices import NoticeComposer
from vin.outcomes import Saying
from vin.retention import Ending, end_by_operator

BASE = "https://vin.test/answer/"


@pytest.fixture
async def pair(db: Db) -> Pair:
    return await make_pair(db)


async def mailed(db: Db, at: datetime = MATCHED) -> dict[str, str]:
    """The links of the mails on matches, by recipient."""
    composer = NoticeComposer(SECRETS.contact, Stopped(at=at), LINKS)
    found = {}
    for row in await db.fetch("SELECT id FROM notify.notice WHERE kind = 'match'"):
        async with db.transaction():
            letter = await composer.compose(db, row["id"])
        assert isinstance(letter, MatchLetter)
        (item,) = letter.items
        assert item.answer_url
        assert item.answer_url.startswith(BASE)
        found[letter.recipient] = item.answer_url.removeprefix(BASE)
    return found


async def answer(db: Db, token: str, outcome: Outcome, at: datetime = MATCHED) -> Asked | None:
    link = links.read_token(LINK_KEY, token)
    assert link
    saying = Saying(
        outcome=outcome,
        new_to_me=True,
        via="link",
        actor_kind="system",
        actor="link",
        request_id=uuid4(),
    )
    async with db.transaction():
        return await links.answer(db, link, saying, at)


async def works(db: Db, token: str, at: datetime = MATCHED) -> bool:
    link = links.read_token(LINK_KEY, token)
    assert link
    return await links.find(db, link, at) is not None


async def test_a1_each_side_answers_by_the_link_in_its_own_mail(db: Db, pair: Pair) -> None:
    tokens = await mailed(db)

    asked = await answer(db, tokens[pair.b.email], Outcome.SPOKEN)

    assert asked
    assert asked.number == pair.number
    seen = await pair.view(pair.a)
    assert (seen.own_outcome, seen.other_outcome and seen.other_outcome.outcome) == (
        None,
        Outcome.SPOKEN,
    )


async def test_a1_to_look_at_a_link_changes_nothing(db: Db, pair: Pair) -> None:
    token = (await mailed(db))[pair.a.email]

    for _ in range(3):
        assert await works(db, token)

    assert (await pair.view(pair.a)).own_outcome is None


async def test_a1_a_link_works_once_and_the_other_sides_still_does(db: Db, pair: Pair) -> None:
    tokens = await mailed(db)
    assert await answer(db, tokens[pair.a.email], Outcome.SPOKEN)

    assert await answer(db, tokens[pair.a.email], Outcome.NOT_REACHABLE) is None

    assert not await works(db, tokens[pair.a.email])
    assert await works(db, tokens[pair.b.email])
    own = (await pair.view(pair.a)).own_outcome
    assert own
    assert own.outcome is Outcome.SPOKEN


async def test_a1_a_link_works_for_28_days(db: Db, pair: Pair) -> None:
    token = (await mailed(db))[pair.a.email]
    end = MATCHED + timedelta(days=28)

    assert await works(db, token, end - MINUTE)
    assert not await works(db, token, end)
    assert await answer(db, token, Outcome.SPOKEN, end) is None
    async with db.transaction():
        await follow_batch(db, end)
    assert await db.fetchval("SELECT count(*) FROM followup.link") == 0


async def test_s19_the_same_mail_sent_again_has_the_same_link(db: Db, pair: Pair) -> None:
    first = await mailed(db)

    assert await mailed(db, MATCHED + MINUTE) == first
    await answer(db, first[pair.a.email], Outcome.SPOKEN)
    assert await mailed(db, MATCHED + 2 * MINUTE) == first
    assert not await works(db, first[pair.a.email])


async def test_a2_a_reminder_has_a_link_of_its_own(db: Db, pair: Pair) -> None:
    tokens = await mailed(db)
    await follow(db, REMINDED)

    (letter, _) = await written_reminders(db, REMINDED)

    url = letter.items[0].answer_url
    assert url
    assert letter.items[0].number == pair.number
    assert url.removeprefix(BASE) not in tokens.values()
    assert await answer(db, url.removeprefix(BASE), Outcome.SPOKEN, REMINDED)


@pytest.mark.parametrize("ground", ["risk_gone", "unjustified"])
async def test_l5_a_link_to_a_match_that_ended_does_not_work(
    db: Db, pair: Pair, ground: str
) -> None:
    tokens = await mailed(db)

    await pair.ends(pair.b, ground)

    for token in tokens.values():
        assert not await works(db, token)
        assert await answer(db, token, Outcome.SPOKEN) is None


async def test_l4_a_link_goes_with_either_leg(db: Db, pair: Pair) -> None:
    tokens = await mailed(db)
    order = Ending(signal=pair.signals[0], ground="erased", purpose="order", operator="o")
    async with db.transaction():
        await end_by_operator(db, order, MATCHED)

    for token in tokens.values():
        assert not await works(db, token)
    kept = await db.fetch("SELECT signal_id FROM followup.link")
    assert [row["signal_id"] for row in kept] == [pair.signals[1]]


async def test_w2_a_link_in_a_mail_to_who_takes_part_no_more_goes_at_the_hand_over(
    db: Db, pair: Pair
) -> None:
    tokens = await mailed(db)
    holder = await make_reporter(db, 8)
    await db.execute(
        "UPDATE registry.agreement SET valid_to = $2 WHERE organisation_id = $1",
        pair.a.organisation,
        MATCHED.date(),
    )
    await db.execute(
        "UPDATE registry.region SET holder_organisation_id = $1, holder_reporter_id = $2",
        holder.organisation,
        holder.id,
    )
    async with db.transaction():
        assert await hand_over(db, SECRETS.contact, REMINDED) == 1

    assert not await works(db, tokens[pair.a.email], REMINDED)
    assert await works(db, tokens[pair.b.email], REMINDED)


async def test_g3_an_answer_by_link_is_in_the_log_without_the_link(db: Db, pair: Pair) -> None:
    token = (await mailed(db))[pair.a.email]
    await answer(db, token, Outcome.SPOKEN)

    row = await db.fetchrow("SELECT * FROM audit.entry WHERE event = 'outcome.said'")

    assert row
    assert row["object_id"] == pair.match
    assert '"link"' in row["detail"]
    assert token not in str(row)


@given(st.uuids())
def test_a1_a_token_leads_to_its_link(link: UUID) -> None:
    token = links.token_of(LINK_KEY, link)

    assert links.read_token(LINK_KEY, token) == link
    assert links.read_token(LinkKey(b"1" * 32), token) is None


@given(st.uuids(), st.integers(0, 31), st.integers(1, 255))
def test_a1_a_token_that_was_changed_leads_nowhere(link: UUID, place: int, by: int) -> None:
    data = bytearray(decode_base64url(links.token_of(LINK_KEY, link)) or b"")
    data[place] ^= by

    assert links.read_token(LINK_KEY, encode_base64url(bytes(data))) is None


@pytest.mark.parametrize("token", ["", "x", "A" * 43, "A" * 44, "ä" * 43, "A" * 4000])
def test_a1_what_is_no_token_leads_nowhere(token: str) -> None:
    assert links.read_token(LINK_KEY, token) is None
