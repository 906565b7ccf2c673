"""The archive: offered once, to a new reporter, when he registers (L6)."""

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from schemas.database import Db
from tests.changing import rehouse
from tests.steps import NOW, end, look, match_all, register, sides_of
from tests.views import everything
from tests.world import SECRETS, Somebody, make_region, make_reporter, make_reporters, registration
from vin.errors import HistoryOpenedError, NotFoundError
from vin.history import Opening, open_history
from vin.retention import Ending, end_by_operator


@pytest.fixture
async def reporters(db: Db) -> list[Somebody]:
    await make_region(db)
    return await make_reporters(db, 4)


async def notice_of(db: Db, signal: UUID, by: Somebody, now: datetime = NOW) -> UUID | None:
    return (await look(db, signal, by, now)).history_notice_id


async def opened(db: Db, notice: UUID, by: Somebody, now: datetime = NOW) -> list[str]:
    """The addresses that opening shows."""
    opening = Opening(
        organisation=by.organisation,
        client="client",
        request_id=uuid4(),
        notice=notice,
        purpose="help for the child",
    )
    async with db.transaction():
        history = await open_history(db, opening, SECRETS.contact, now)
    return [contact.email for contact, _ in history.contacts]


async def archived(db: Db, by: Somebody, child: int = 1) -> UUID:
    (signal,) = await register(db, registration(by, child))
    await end(db, signal, by)
    return signal


async def arrive(db: Db, by: Somebody, now: datetime, child: int = 1) -> UUID:
    (signal,) = await register(db, registration(by, child), now=now)
    await match_all(db, now=now)
    return signal


async def test_s10_each_new_reporter_opens_once_with_a_log_line_and_not_after_five_years(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, c, d = reporters
    await archived(db, a)
    day = NOW + timedelta(days=1)
    month = NOW + timedelta(days=31)
    five_years = datetime(2031, 11, 22, 0, tzinfo=UTC)

    b_signal = await arrive(db, b, day)
    notice = await notice_of(db, b_signal, b, day)
    assert notice
    assert await opened(db, notice, b, day) == [a.email]
    with pytest.raises(HistoryOpenedError):
        await opened(db, notice, b, day)
    entry = await db.fetchrow("SELECT * FROM audit.entry WHERE event = 'history.opened'")
    assert entry
    assert (entry["object_id"], entry["purpose"]) == (notice, "help for the child")

    own = await notice_of(db, await arrive(db, c, month), c, month)
    assert own
    assert own != notice
    assert await opened(db, own, c, month) == [a.email]

    last = await notice_of(db, await arrive(db, d, five_years), d, five_years)
    assert last
    assert a.email not in await opened(db, last, d, five_years)


async def test_s04_after_risk_gone_the_new_reporter_alone_is_told_and_after_unjustified_nobody(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, c, d = reporters
    await archived(db, a, child=1)
    (unjustified,) = await register(db, registration(c, 2))
    await end(db, unjustified, c, "unjustified")
    later = NOW + timedelta(hours=1)

    told = await arrive(db, b, later, child=1)
    untold = await arrive(db, d, later, child=2)

    assert await notice_of(db, told, b, later)
    assert await notice_of(db, untold, d, later) is None
    assert await sides_of(db, a, later) == await sides_of(db, b, later) == []
    assert await db.fetchval("SELECT count(*) FROM notify.notice") == 0


async def test_l6_a_siblings_archive_and_ones_own_are_not_offered(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    colleague = await make_reporter(db, 70, a.organisation, a.match_unit)
    (sibling,) = await register(db, registration(a, 1, parents=[1]))
    await end(db, sibling, a)
    later = NOW + timedelta(hours=1)

    (other,) = await register(db, registration(b, 2, parents=[1]), now=later)
    again = await arrive(db, a, later)
    near = await arrive(db, colleague, later)

    assert await notice_of(db, other, b, later) is None
    assert await notice_of(db, again, a, later) is None
    assert await notice_of(db, near, colleague, later) is None


async def test_l6_who_matched_with_it_knows_of_it_and_is_not_told_when_his_keys_change(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    (old,) = await register(db, registration(a, 1))
    later = NOW + timedelta(hours=1)
    own = await arrive(db, b, later)
    await end(db, old, a, now=later)

    await rehouse(db, own, b, [7], now=later)
    await match_all(db, now=later)

    assert await notice_of(db, own, b, later) is None


async def test_l6_anothers_history_is_not_there_and_an_ended_signal_opens_nothing(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, c, _ = reporters
    await archived(db, a)
    later = NOW + timedelta(hours=1)
    signal = await arrive(db, b, later)
    notice = await notice_of(db, signal, b, later)
    assert notice

    with pytest.raises(NotFoundError):
        await opened(db, notice, c, later)
    await end(db, signal, b, now=later)
    with pytest.raises(HistoryOpenedError):
        await opened(db, notice, b, later)


@pytest.mark.parametrize("ground", ["erased", "deceased"])
async def test_l6_history_goes_with_what_it_told_of(
    db: Db, reporters: list[Somebody], ground: str
) -> None:
    a, b, *_ = reporters
    old = await archived(db, a)
    later = NOW + timedelta(hours=1)
    signal = await arrive(db, b, later)
    notice = await notice_of(db, signal, b, later)
    assert notice
    order = Ending(signal=old, ground=ground, purpose="request", operator="operator")
    async with db.transaction():
        await end_by_operator(db, order, later)

    with pytest.raises(NotFoundError):
        await opened(db, notice, b, later)
    if ground == "erased":
        assert await notice_of(db, signal, b, later) is None
    assert [row for row in await everything(db) if str(notice) in row] == []


async def test_l6_history_is_told_no_longer_than_the_archive_keeps_it(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    await archived(db, a)
    last_day = datetime(2031, 11, 21, 10, tzinfo=UTC)
    signal = await arrive(db, b, last_day)
    notice = await notice_of(db, signal, b, last_day)
    assert notice

    after = last_day + timedelta(days=1)

    assert await notice_of(db, signal, b, after) is None
    with pytest.raises(NotFoundError):
        await opened(db, notice, b, after)


async def test_l6_a_former_reporter_is_shown_once_however_often_he_registered(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    for _ in range(3):
        await archived(db, a)
    later = NOW + timedelta(hours=1)
    notice = await notice_of(db, await arrive(db, b, later), b, later)
    assert notice

    assert await opened(db, notice, b, later) == [a.email]


async def test_l6_history_is_not_spent_while_nobody_can_be_shown(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    await archived(db, a)
    later = NOW + timedelta(hours=1)
    notice = await notice_of(db, await arrive(db, b, later), b, later)
    assert notice
    await db.execute("UPDATE registry.reporter SET ended_at = now() WHERE id = $1", a.id)
    assert await opened(db, notice, b, later) == []

    await db.execute("UPDATE registry.reporter SET ended_at = NULL")

    assert await opened(db, notice, b, later) == [a.email]
    results = await db.fetch("SELECT result FROM audit.entry WHERE event = 'history.opened'")
    assert [row["result"] for row in results] == ["nobody", "done"]


@pytest.mark.parametrize("ground", ["erased", "deceased"])
async def test_g3_of_an_opened_history_no_purpose_and_no_signal_stay_after_destruction(
    db: Db, reporters: list[Somebody], ground: str
) -> None:
    a, b, *_ = reporters
    await archived(db, a)
    later = NOW + timedelta(hours=1)
    signal = await arrive(db, b, later)
    notice = await notice_of(db, signal, b, later)
    assert notice
    await opened(db, notice, b, later)
    order = Ending(signal=signal, ground=ground, purpose="request", operator="operator")

    async with db.transaction():
        await end_by_operator(db, order, later)

    traces = [str(signal), str(notice), "help for the child"]
    assert [row for row in await everything(db) if any(each in row for each in traces)] == []


async def test_l7_withdrawal_and_registration_at_once_end_one_way_in_either_order(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, c, d = reporters
    for first, second, child, withdrawn_first in ((a, b, 1, True), (c, d, 2, False)):
        (old,) = await register(db, registration(first, child))
        if withdrawn_first:
            await end(db, old, first)
        (new,) = await register(db, registration(second, child), now=NOW + timedelta(seconds=1))
        if not withdrawn_first:
            await match_all(db)
            await end(db, old, first)
        await match_all(db)

        sides = await sides_of(db, second)
        history = await notice_of(db, new, second)
        if withdrawn_first:
            assert (sides, bool(history)) == ([], True)
        else:
            assert ([side.status for side in sides], history) == (["closed"], None)
