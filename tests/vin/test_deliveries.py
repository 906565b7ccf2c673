"""`vin deliveries` as an operator runs it, on a database with matches of three schools."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest

from notify import attempts, ledger
from notify.ledger import Channel
from notify.retry import Outcome, Result, State, Verdict
from schemas.database import Db
from tests.steps import match_all, register
from tests.world import Somebody, make_region, make_reporters, registration
from vin import delivery_desk
from vin.__main__ import main
from vin.clock import Clock
from vin.notices import journal_with

ENDS = {
    State.SENT: Outcome(Result.SENT, 250),
    State.RETRY: Outcome(Result.DEFERRED, 451),
    State.DEAD: Outcome(Result.REFUSED, 550),
    State.UNKNOWN: Outcome(Result.UNANSWERED),
}


@dataclass
class Desk:
    """An operator's terminal."""

    db: Db
    reporters: Sequence[Somebody]
    capsys: pytest.CaptureFixture[str]

    async def run(self, *words: str) -> str:
        """What a command writes; it must succeed."""
        assert await asyncio.to_thread(main, ["deliveries", *words]) == 0
        return self.capsys.readouterr().out

    async def fail(self, *words: str) -> str:
        """The sentence that a command ends with."""
        assert await asyncio.to_thread(main, ["deliveries", *words]) == 1
        return self.capsys.readouterr().err

    async def end(self, *states: State) -> list[UUID]:
        """Let an attempt of each delivery that is due end so, in turn."""
        journal = journal_with(Clock())
        ids = []
        for state in states:
            (held,) = await attempts.claim(
                self.db, await ledger.mark_queued(self.db, 1), "worker 1"
            )
            await journal(self.db, [attempts.started(held)])
            rest = Verdict(state, timedelta(hours=5))
            assert await attempts.finish(self.db, held, ENDS[state], rest)
            ids.append(held.delivery_id)
        return ids

    async def states(self) -> dict[State, int]:
        return await ledger.count_by_state(self.db)

    async def trail(self, event: str) -> list[tuple[UUID | None, str, str | None, str]]:
        """What the log holds of an event: on what, how it went, why, and the rest."""
        rows = await self.db.fetch(
            """
            SELECT object_id, result, purpose, detail
              FROM audit.entry
             WHERE event = $1 AND actor_kind = 'operator'
             ORDER BY id
            """,
            event,
        )
        return [tuple(row) for row in rows]

    async def organisation(self, delivery: UUID) -> str:
        code: str = await self.db.fetchval(
            """
            SELECT code
              FROM registry.organisation
              JOIN notify.delivery ON party_id = organisation.id
             WHERE delivery.id = $1
            """,
            delivery,
        )
        return code


@pytest.fixture
async def desk(
    db: Db,
    db_url: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Desk:
    """Two matches: four mails that wait."""
    monkeypatch.setenv("DATABASE_URL", db_url)
    await make_region(db)
    reporters = await make_reporters(db, 3)
    for one, other in ((0, 1), (0, 2)):
        await register(db, *(registration(reporters[each], child=other) for each in (one, other)))
        await match_all(db)
    return Desk(db, reporters, capsys)


def no_person_in(text: str, reporters: Sequence[Somebody]) -> bool:
    return not any(each.email in text for each in reporters) and "@" not in text


async def test_without_a_filter_the_list_counts(desk: Desk) -> None:
    await desk.end(State.DEAD, State.SENT)
    await desk.run("pause", "webhook")

    told = await desk.run("list")

    assert [line.split()[:2] for line in told.splitlines()[:3]] == [
        ["dead", "1"],
        ["pending", "2"],
        ["sent", "1"],
    ]
    assert "webhook is paused since" in told


async def test_a_filtered_list_tells_of_each_delivery_and_of_no_person(desk: Desk) -> None:
    dead, resting = await desk.end(State.DEAD, State.RETRY)

    told = await desk.run("list", "--state", "dead", "--channel", "mail", "--since", "2020-01-01")

    (line,) = told.splitlines()
    assert line.startswith(str(dead))
    assert await desk.organisation(dead) in line
    assert "refused 550" in line
    assert "1 attempt  " in line
    assert no_person_in(told, desk.reporters)
    assert f"{resting}" in await desk.run("list", "--state", "retry")
    assert await desk.run("list", "--state", "suppressed") == "No delivery.\n"
    assert len((await desk.run("list", "--limit", "3")).splitlines()) == 3
    (first, *_) = await desk.trail("deliveries.listed")
    assert first == (None, "done", None, '{"state": "dead", "channel": "mail", "deliveries": 1}')


async def test_the_list_of_one_organisation_is_its_own(desk: Desk) -> None:
    (delivery,) = await desk.end(State.SENT)
    code = await desk.organisation(delivery)

    told = await desk.run("list", "--organisation", code)

    assert all(code in line for line in told.splitlines())
    assert str(delivery) in told
    assert "There is no organisation nowhere." in await desk.fail(
        "list", "--organisation", "nowhere"
    )


async def test_a_delivery_is_shown_with_each_attempt_and_its_match_numbers(desk: Desk) -> None:
    (delivery,) = await desk.end(State.RETRY)
    await desk.run("retry", str(delivery), "--purpose", "the server is back")
    await desk.db.execute(
        "UPDATE notify.delivery SET next_at = next_at - interval '1 hour' WHERE id = $1", delivery
    )
    await desk.end(State.SENT)

    told = await desk.run("show", str(delivery))

    number = await desk.db.fetchval(
        """
        SELECT number
          FROM matching.match
          JOIN notify.notice_match ON match_id = match.id
          JOIN notify.delivery USING (notice_id)
         WHERE delivery.id = $1
        """,
        delivery,
    )
    assert f"matches: {number}\n" in told
    assert "1 attempts spared" in told
    first, second = told.splitlines()[-2:]
    assert first.split()[0] == "1"
    assert first.endswith("worker 1  deferred 451")
    assert second.endswith("worker 1  sent 250")
    assert no_person_in(told, desk.reporters)
    assert await desk.trail("delivery.shown") == [(delivery, "done", None, "{}")]


async def test_a_delivery_that_is_gone_cannot_be_shown(desk: Desk) -> None:
    assert "There is no such delivery." in await desk.fail("show", str(UUID(int=1)))


async def test_one_delivery_is_retried_with_a_reason(desk: Desk) -> None:
    dead, other = await desk.end(State.DEAD, State.DEAD)

    assert await desk.run("retry", str(dead), "--purpose", "asked by the school") == (
        "1 of them go out again.\n"
    )

    assert await desk.states() == {State.DEAD: 1, State.RETRY: 1, State.PENDING: 2}
    assert await desk.trail("delivery.retried") == [
        (dead, "done", "asked by the school", '{"channel": "mail"}')
    ]
    assert other not in await ledger.mark_queued(desk.db, 10)


async def test_all_dead_letters_of_a_channel_are_retried_at_once(desk: Desk) -> None:
    ids = await desk.end(State.DEAD, State.DEAD, State.UNKNOWN)

    await desk.run("retry", "--channel", "mail", "--purpose", "the filter was wrong")

    assert await desk.states() == {State.RETRY: 2, State.UNKNOWN: 1, State.PENDING: 1}
    retried = [line[0] for line in await desk.trail("delivery.retried")]
    assert sorted(map(str, retried)) == sorted(map(str, ids[:2]))


async def test_the_dead_letters_of_one_organisation_are_retried_alone(desk: Desk) -> None:
    first, second = await desk.end(State.DEAD, State.DEAD)
    code = await desk.organisation(first)
    assert code != await desk.organisation(second)

    await desk.run("retry", "--state", "dead", "--organisation", code, "--purpose", "moved")

    assert [line[0] for line in await desk.trail("delivery.retried")] == [first]


async def test_a_retry_of_everything_has_to_be_said(desk: Desk) -> None:
    told = await desk.fail("retry", "--purpose", "try")

    assert "Name either deliveries or a filter" in told
    both = ("retry", str(UUID(int=1)), "--channel", "mail", "--purpose", "try")
    assert "Name either deliveries or a filter" in await desk.fail(*both)
    with pytest.raises(SystemExit):
        await asyncio.to_thread(main, ["deliveries", "retry", "--state", "dead"])


@pytest.mark.parametrize(
    ("answer", "state"),
    [("sent", State.SENT), ("resend", State.RETRY), ("dropped", State.DEAD)],
)
async def test_what_may_have_arrived_is_resolved_with_a_reason(
    desk: Desk, answer: str, state: State
) -> None:
    (unknown,) = await desk.end(State.UNKNOWN)
    words = ("resolve", str(unknown), "--as", answer, "--purpose", "asked the reader")

    await desk.run(*words)

    assert (await desk.states())[state] == 1
    assert await desk.trail("delivery.resolved") == [
        (unknown, answer, "asked the reader", '{"channel": "mail"}')
    ]
    assert "that waits for an answer" in await desk.fail(*words)


@pytest.mark.parametrize("channel", list(Channel))
async def test_a_channel_is_paused_and_resumed_with_a_trace(desk: Desk, channel: Channel) -> None:
    await desk.run("pause", channel, "--purpose", "mail server moves")
    assert list(await ledger.select_paused(desk.db)) == [channel]
    await desk.run("resume", channel)
    assert await ledger.select_paused(desk.db) == {}

    told = f'{{"channel": "{channel}"}}'
    assert await desk.trail("channel.paused") == [(None, "done", "mail server moves", told)]
    assert await desk.trail("channel.resumed") == [(None, "done", None, told)]


async def test_a_list_tells_what_may_have_come_twice(desk: Desk) -> None:
    (unknown,) = await desk.end(State.UNKNOWN)
    await desk.run("resolve", str(unknown), "--as", "resend", "--purpose", "reader has nothing")

    told = await desk.run("list", "--state", "retry")

    assert told.rstrip().endswith("maybe twice")


async def test_a_retry_of_very_many_says_that_there_may_be_more(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery_desk, "RETRIED", 1)
    await desk.end(State.DEAD, State.DEAD)

    told = await desk.run("retry", "--state", "dead", "--purpose", "filter corrected")

    assert told == "1 of them go out again.\nThere may be more: run this again.\n"


async def test_a_database_that_is_away_is_told_in_a_sentence(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql:///vin?host={tmp_path}")

    assert "database cannot be reached" in await desk.fail("list")
