"""A living signal's keys change: matches with it, at once, and nobody can tell why (M11, M12)."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from schemas.database import Db
from tests.changing import find, own_permit, rehouse
from tests.steps import NOW, end, look, match_all, register, sides_of
from tests.world import SECRETS, Somebody, make_region, make_reporters, registration
from vin.clock import Clock
from vin.errors import (
    DuplicateSignalError,
    NotEntitledError,
    NotFoundError,
    OtherChildError,
    PermitRefusedError,
    PermitSpentError,
    SignalEndedError,
    VinError,
)
from vin.notices import NoticeComposer

LATER = NOW + timedelta(hours=1)


@pytest.fixture
async def reporters(db: Db) -> list[Somebody]:
    await make_region(db)
    return await make_reporters(db, 4)


async def matches(db: Db) -> list[tuple[str, str]]:
    rows = await db.fetch("SELECT kind, status FROM matching.match ORDER BY matched_at, number")
    return sorted((row["kind"], row["status"]) for row in rows)


async def test_s13_m11_a_number_found_later_makes_the_match_then_with_the_original_dates(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    await register(db, registration(a, 1))
    (named,) = await register(db, registration(b, weak=1))
    await match_all(db)
    before = await look(db, named, b)
    assert await matches(db) == []

    await find(db, named, b, 1, now=LATER)
    await match_all(db, now=LATER)

    assert await matches(db) == [("child", "open")]
    assert await look(db, named, b) == before
    assert (await sides_of(db, a, LATER))[0].matched_at == LATER


@pytest.mark.parametrize(
    ("child", "parents", "outcome"),
    [
        (1, [], ("child", "open")),
        (2, [7], ("household", "open")),
        (2, [], ("possible", "void")),
    ],
)
async def test_m11_what_was_possible_proves_right_or_wrong_in_place(
    db: Db, reporters: list[Somebody], child: int, parents: list[int], outcome: tuple[str, str]
) -> None:
    a, b, *_ = reporters
    first = registration(a, 1, weak=1, parents=parents)
    (_, named) = await register(db, first, registration(b, weak=1, parents=parents))
    await match_all(db)
    assert await matches(db) == [("possible", "open")]
    (number,) = [side.number for side in await sides_of(db, a)]

    await find(db, named, b, child)

    assert await matches(db) == [outcome]
    await match_all(db)
    assert await matches(db) == [outcome]
    assert [side.number for side in await sides_of(db, a)] == [number]
    assert await db.fetchval("SELECT count(*) FROM notify.notice") == 2


async def test_m11_one_number_of_two_leaves_it_possible(db: Db, reporters: list[Somebody]) -> None:
    a, b, *_ = reporters
    (named, _) = await register(db, registration(a, weak=1), registration(b, weak=1))
    await match_all(db)

    await find(db, named, a, 1)
    await match_all(db)

    assert await matches(db) == [("possible", "open")]


async def test_m11_the_same_number_again_changes_nothing_and_another_is_refused(
    db: Db, reporters: list[Somebody]
) -> None:
    a = reporters[0]
    (named,) = await register(db, registration(a, weak=1))

    await find(db, named, a, 1)
    shown = own_permit(a)
    await find(db, named, a, 1, shown=shown)
    with pytest.raises(PermitSpentError):
        await find(db, named, a, 1, shown=shown)
    with pytest.raises(OtherChildError):
        await find(db, named, a, 2)

    assert await db.fetchval("SELECT count(*) FROM matching.token WHERE role = 'child'") == 1
    found = "SELECT count(*) FROM audit.entry WHERE event = 'signal.child_found'"
    assert await db.fetchval(found) == 1


async def test_m7_a_number_that_was_found_is_the_reporters_claim_on_the_child(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    (named, other) = await register(db, registration(a, weak=1), registration(a, weak=2))
    await find(db, named, a, 1)

    assert await register(db, registration(a, 1)) == [named]
    with pytest.raises(DuplicateSignalError):
        await find(db, other, a, 1)
    (elsewhere,) = await register(db, registration(b, weak=1))
    await find(db, elsewhere, b, 1)
    await end(db, named, a)
    await find(db, other, a, 1)
    assert await register(db, registration(a, 1)) == [other]


async def test_m12_a_lost_link_takes_the_contact_data_at_once_also_in_queued_mail(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    (_, moved) = await register(
        db, registration(a, 1, parents=[1]), registration(b, 2, parents=[1])
    )
    await match_all(db)
    composer = NoticeComposer(SECRETS.contact, Clock(NOW - await Clock().now(db)))
    notices = [row["id"] for row in await db.fetch("SELECT id FROM notify.notice")]
    async with db.transaction():
        assert all([await composer.compose(db, notice) for notice in notices])

    await rehouse(db, moved, b, [2])

    for reporter in (a, b):
        (side,) = await sides_of(db, reporter)
        assert (side.status, side.other) == ("void", None)
    async with db.transaction():
        assert [await composer.compose(db, notice) for notice in notices] == [None, None]


async def test_m12_a_link_that_comes_back_is_a_new_match_with_a_number_and_mail_of_its_own(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    (_, moved) = await register(
        db, registration(a, 1, parents=[1]), registration(b, 2, parents=[1])
    )
    await match_all(db)
    await rehouse(db, moved, b)
    await rehouse(db, moved, b, [1], now=LATER)
    await match_all(db, now=LATER)

    assert await matches(db) == [("household", "open"), ("household", "void")]
    first, second = await sides_of(db, a, LATER)
    assert first.number != second.number
    assert (first.other, bool(second.other)) == (None, True)
    assert await db.fetchval("SELECT count(*) FROM notify.notice") == 4


async def test_m12_one_link_of_two_is_enough_and_the_same_household_again_changes_nothing(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    (_, moved) = await register(
        db, registration(a, 1, parents=[1, 2]), registration(b, 2, parents=[1, 2])
    )
    await match_all(db)
    tokens = await db.fetch("SELECT * FROM matching.token ORDER BY signal_id, token")

    await rehouse(db, moved, b, [2, 1], now=LATER)
    assert await db.fetch("SELECT * FROM matching.token ORDER BY signal_id, token") == tokens
    await rehouse(db, moved, b, [2], now=LATER)
    await match_all(db, now=LATER)

    assert await matches(db) == [("household", "open")]


async def test_m12_a_closed_match_stays_closed(db: Db, reporters: list[Somebody]) -> None:
    a, b, *_ = reporters
    (gone, moved) = await register(
        db, registration(a, 1, parents=[1]), registration(b, 2, parents=[1])
    )
    await match_all(db)
    await end(db, gone, a)

    await rehouse(db, moved, b, [2])

    assert await matches(db) == [("household", "closed")]


async def test_m12_a_match_whose_other_side_has_expired_is_closed_whoever_sweeps(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    short = replace(registration(a, 1, parents=[1]), remove_on=(NOW + timedelta(days=2)).date())
    (_, moved) = await register(db, short, registration(b, 2, parents=[1]))
    await match_all(db)
    after = NOW + timedelta(days=3)

    await rehouse(db, moved, b, [2], now=after)

    (side,) = await sides_of(db, b, after)
    assert side.status == "closed"


async def test_m12_no_match_is_made_with_a_side_that_ended_before_the_link_came_about(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    short = replace(registration(a, 1, parents=[1]), remove_on=(NOW + timedelta(days=2)).date())
    (_, moved) = await register(db, short, registration(b, 2))
    await match_all(db)
    after = NOW + timedelta(days=3)

    await rehouse(db, moved, b, [1], now=after)
    await match_all(db, now=after)

    assert await matches(db) == []


async def arrive(db: Db, by: Somebody, child: int, parent: int) -> None:
    """Register and match at a minute of the child's own."""
    at = NOW + timedelta(minutes=child)
    await register(db, registration(by, child, parents=[parent]), now=at)
    await match_all(db, now=at)


async def test_m5_what_matched_before_a_key_was_a_hub_stays_when_another_key_changes(
    db: Db,
) -> None:
    await make_region(db, hub_limit=2)
    a, b, c, d = await make_reporters(db, 4)
    (first,) = await register(db, registration(a, 1, parents=[1]))
    for child, reporter in enumerate((b, c, d), 2):
        await arrive(db, reporter, child, parent=1)
    assert await matches(db) == [("household", "open")]

    await rehouse(db, first, a, [1, 2], now=LATER + timedelta(hours=1))
    await match_all(db, now=LATER + timedelta(hours=1))

    assert await matches(db) == [("household", "open")]


async def test_m5_who_gets_a_hub_later_comes_later(db: Db) -> None:
    await make_region(db, hub_limit=2)
    a, *others = await make_reporters(db, 4)
    (first,) = await register(db, registration(a, 1))
    for child, reporter in enumerate(others, 2):
        await arrive(db, reporter, child, parent=1)
    before = await matches(db)

    await rehouse(db, first, a, [1], now=LATER + timedelta(hours=1))
    await match_all(db, now=LATER + timedelta(hours=1))

    assert await matches(db) == before == [("household", "open")]


async def test_l6_a_number_found_later_offers_the_archive_and_a_former_match_does_not(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, c, _ = reporters
    (old, met) = await register(db, registration(a, 1), registration(b, 1, parents=[1]))
    await match_all(db)
    await end(db, old, a)
    (named,) = await register(db, registration(c, weak=1), now=LATER)
    await match_all(db, now=LATER)

    await find(db, named, c, 1, now=LATER)
    await rehouse(db, met, b, [2], now=LATER)
    await match_all(db, now=LATER)

    assert (await look(db, named, c, LATER)).history_notice_id
    assert (await look(db, met, b, LATER)).history_notice_id is None


async def refused(db: Db, error: type[VinError], signal: UUID, by: Somebody) -> None:
    """Both changes are refused, and neither spends its permit."""
    before = await db.fetchval("SELECT count(*) FROM matching.permit")
    with pytest.raises(error):
        await find(db, signal, by, 9)
    with pytest.raises(error):
        await rehouse(db, signal, by, [9])
    assert await db.fetchval("SELECT count(*) FROM matching.permit") == before


async def test_anothers_signal_and_one_that_ended_do_not_change(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    (signal, gone) = await register(db, registration(a, weak=1), registration(a, weak=2))
    short = replace(registration(a, weak=3), remove_on=(NOW + timedelta(days=1)).date())
    (over,) = await register(db, short, now=NOW - timedelta(days=30))
    await end(db, gone, a)

    await refused(db, NotFoundError, signal, b)
    await refused(db, NotFoundError, uuid4(), a)
    await refused(db, SignalEndedError, gone, a)
    with pytest.raises(SignalEndedError):
        await find(db, over, a, 9, now=NOW + timedelta(days=1))


async def test_w1_who_may_not_register_may_not_change(db: Db, reporters: list[Somebody]) -> None:
    a = reporters[0]
    (signal,) = await register(db, registration(a, weak=1))
    await db.execute("UPDATE registry.agreement SET valid_to = '2026-11-21'")

    await refused(db, NotEntitledError, signal, a)


async def test_a_permit_is_the_reporters_own(db: Db, reporters: list[Somebody]) -> None:
    a, b, *_ = reporters
    (signal,) = await register(db, registration(a, weak=1))

    for shown in (own_permit(b), PermitRefusedError("No.")):
        with pytest.raises(PermitRefusedError):
            await find(db, signal, a, 1, shown=shown)


async def test_the_log_tells_what_became_of_a_match_and_no_key(
    db: Db, reporters: list[Somebody]
) -> None:
    a, b, *_ = reporters
    (_, moved) = await register(
        db, registration(a, 1, parents=[1]), registration(b, 2, parents=[1])
    )
    await match_all(db)
    await rehouse(db, moved, b)

    row = await db.fetchrow(
        """
        SELECT entry.actor, entry.detail::text, match.number
          FROM audit.entry JOIN matching.match ON match.id = entry.object_id
         WHERE event = 'match.changed'
        """
    )
    assert row
    assert row["actor"] == "client"
    assert row["detail"] == (
        f'{{"kind": "household", "number": "{row["number"]}", "status": "void"}}'
    )
