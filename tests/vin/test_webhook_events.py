"""What a webhook is told: signed, thin, and only while there is something to tell."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import asyncpg
import pytest
from standardwebhooks import Webhook as Receiver
from standardwebhooks import WebhookVerificationError

from notify import attempts, ledger
from notify.attempts import Claim
from notify.carrier import UndeliveredError
from notify.ledger import Channel
from notify.retry import Result
from notify.webhook import Call
from schemas.database import Db
from tests import steps
from tests.life import Stopped
from tests.world import SECRETS, Somebody, make_region, make_reporters, registration
from vin import webhook_store, webhooks
from vin.clock import Clock
from vin.crypto import keyfile
from vin.crypto.webhook import WebhookKey, new_secret, secret_text
from vin.errors import NotFoundError
from vin.webhook_events import WebhookComposer
from vin.webhook_store import Form
from vin.webhooks import Actor, Wanted, Webhook

if TYPE_CHECKING:
    from asyncpg import Pool, Record

URL = "https://case.school.example/vin"
SOURCE = "urn:nld:oin:00000001823288444000:systeem:vin"


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> WebhookKey:
    folder = tmp_path_factory.mktemp("own") / "keys"
    keyfile.generate_index(folder)
    return WebhookKey.load(folder / keyfile.WEBHOOK_SIGNING)


@dataclass
class Index:
    """Two organisations, of which the first has a system that is told of matches."""

    db: Db
    key: WebhookKey
    now: datetime
    one: Somebody
    other: Somebody
    secret: bytes

    async def put(self, **changes: Any) -> Webhook:  # noqa: ANN401 (fields of Wanted)
        wanted = Wanted(name="case", url=URL, form=Form.STANDARD, secret=self.secret)
        async with self.db.transaction():
            webhook, _, _ = await webhooks.put_webhook(
                self.db, replace(wanted, **changes), self.actor, SECRETS.contact, self.now
            )
        return webhook

    @property
    def actor(self) -> Actor:
        return Actor(organisation=self.one.organisation, client="client", request_id=uuid4())

    async def meet(self) -> UUID:
        """Both register the same child and are matched; the signal of the first."""
        child = registration(self.one, 1), registration(self.other, 1)
        first, _ = await steps.register(self.db, *child, now=self.now)
        await steps.match_all(self.db, now=self.now)
        return first

    async def number(self) -> str:
        number: str = await self.db.fetchval("SELECT number FROM matching.match")
        return number

    async def claims(self) -> list[Claim]:
        """What waits for webhooks, taken as a worker does."""
        queued = await ledger.mark_queued(self.db, 100)
        taken = await attempts.claim(self.db, queued, "worker")
        return [held for held in taken if held.channel is Channel.WEBHOOK]

    def composer(self, clock: Clock | None = None) -> WebhookComposer:
        return WebhookComposer(
            data_keys=SECRETS.contact, key=self.key, clock=clock or Clock(), source=SOURCE
        )

    async def call(self, held: Claim, clock: Clock | None = None) -> Call | None:
        async with self.db.transaction():
            return await self.composer(clock).compose(self.db, held)

    async def told(self) -> Call:
        """The one call that waits."""
        await self.meet()
        (held,) = await self.claims()
        call = await self.call(held)
        assert call is not None
        return call

    async def disable(self, held: Claim, url: str = URL) -> bool:
        async with self.db.transaction():
            await self.composer().disable(self.db, held, url)
        return bool(await self.db.fetchval("SELECT disabled_at FROM registry.webhook"))


@pytest.fixture
async def index(db: Db, key: WebhookKey) -> Index:
    await make_region(db)
    one, other = await make_reporters(db, 2)
    index = Index(db, key, await Clock().now(db), one, other, new_secret())
    await index.put()
    return index


async def test_a_system_is_told_of_its_own_match_and_no_more(index: Index) -> None:
    call = await index.told()

    assert call.url == URL
    assert call.headers["Content-Type"] == "application/json"
    number = await index.number()
    assert call.body == f'{{"type":"nl.vin.match.created","matchNumber":"{number}"}}'.encode()


async def test_a_receiver_that_others_wrote_takes_it(index: Index) -> None:
    call = await index.told()

    Receiver(secret_text(index.secret)).verify(call.body, dict(call.headers))
    assert " v1a," in call.headers["webhook-signature"]


async def test_only_the_time_changes_between_attempts(index: Index) -> None:
    await index.meet()
    (held,) = await index.claims()
    first = await index.call(held, Stopped(at=index.now))
    second = await index.call(replace(held, attempt=2), Stopped(at=index.now + timedelta(hours=5)))

    assert first
    assert second
    assert first.headers["webhook-id"] == second.headers["webhook-id"] == str(held.delivery_id)
    assert first.body == second.body
    later = int(second.headers["webhook-timestamp"]) - int(first.headers["webhook-timestamp"])
    assert later == 5 * 3600


async def test_the_second_is_real_where_the_domain_has_an_offset(index: Index) -> None:
    await index.meet()
    (held,) = await index.claims()
    call = await index.call(held, Clock(timedelta(days=30)))

    assert call
    Receiver(secret_text(index.secret)).verify(call.body, dict(call.headers))


async def test_the_other_form_is_a_cloud_event(index: Index) -> None:
    await index.put(form=Form.CLOUDEVENTS)
    call = await index.told()

    event = json.loads(call.body)
    made = await index.db.fetchval("SELECT matched_at FROM matching.match")
    assert call.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert event == {
        "specversion": "1.0",
        "id": call.headers["webhook-id"],
        "source": SOURCE,
        "type": "nl.vin.match.created",
        "time": made.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "datacontenttype": "application/json",
        "data": {"matchNumber": await index.number()},
    }
    Receiver(secret_text(index.secret)).verify(call.body, dict(call.headers))


@pytest.mark.parametrize(("hours", "good"), [(23, 2), (24, 1)])
async def test_for_a_day_the_old_secret_signs_too(index: Index, hours: int, good: int) -> None:
    new = new_secret()
    await index.put(secret=new)
    await index.meet()
    (held,) = await index.claims()
    after = timedelta(hours=hours)
    call = await index.call(held, Stopped(offset=after, at=index.now + after))

    assert call
    taken = []
    for secret in (new, index.secret):
        try:
            Receiver(secret_text(secret)).verify(call.body, dict(call.headers))
            taken.append(secret)
        except WebhookVerificationError:
            pass
    assert taken == [new, index.secret][:good]


async def test_each_system_of_an_organisation_is_told(index: Index) -> None:
    await index.put(name="second", url=URL + "2")
    await index.meet()

    calls = [await index.call(held) for held in await index.claims()]
    assert sorted(call.url for call in calls if call) == [URL, URL + "2"]
    assert len({call.headers["webhook-id"] for call in calls if call}) == 2


async def test_each_match_of_a_notice_is_told_by_itself(index: Index) -> None:
    for reporter in (index.other, index.one):
        batch = [registration(reporter, child, reference=f"D-{child}") for child in (1, 2)]
        await steps.register(index.db, *batch, now=index.now)
    await steps.match_all(index.db, now=index.now)
    claims = await index.claims()
    calls = [await index.call(held) for held in claims]

    rows = await index.db.fetch("SELECT id, number FROM matching.match")
    numbers = {row["id"]: row["number"] for row in rows}
    assert len({held.notice_id for held in claims}) == 1
    assert [json.loads(call.body)["matchNumber"] for call in calls if call] == [
        numbers[held.match_id] for held in claims if held.match_id
    ]


@pytest.mark.parametrize("ground", ["risk_gone", "unjustified"])
async def test_nothing_is_told_of_a_match_that_ended(index: Index, ground: str) -> None:
    first = await index.meet()
    (held,) = await index.claims()
    await steps.end(index.db, first, index.one, ground, index.now)

    assert await index.call(held) is None


async def test_nothing_is_told_past_the_end_of_a_signal(index: Index) -> None:
    await index.meet()
    (held,) = await index.claims()

    assert await index.call(held, Stopped(at=index.now + timedelta(days=800))) is None


async def test_nothing_is_told_of_what_is_another_organisations_by_now(index: Index) -> None:
    await index.meet()
    (held,) = await index.claims()
    await index.db.execute(
        "UPDATE matching.match_side SET organisation_id = $1", index.other.organisation
    )

    assert await index.call(held) is None


async def test_a_disabled_webhook_is_not_told(index: Index) -> None:
    await index.meet()
    (held,) = await index.claims()
    assert await index.disable(held)

    assert await index.call(held) is None
    enabled = await webhook_store.select_enabled(index.db, [index.one.organisation])
    assert enabled == {}


async def test_disabling_is_logged_once(index: Index) -> None:
    await index.meet()
    (held,) = await index.claims()
    for _ in range(2):
        await index.disable(held)

    rows = await index.db.fetch(
        "SELECT actor, object_id, detail FROM audit.entry WHERE event = 'webhook.disabled'"
    )
    assert [tuple(row) for row in rows] == [
        ("notifier", held.webhook_id, json.dumps({"organisation": str(index.one.organisation)}))
    ]


async def test_who_moved_meanwhile_is_not_disabled(index: Index) -> None:
    await index.meet()
    (held,) = await index.claims()
    await index.put(url=URL + "new")

    assert not await index.disable(held)


async def test_a_change_in_between_keeps_the_webhook_enabled(index: Index) -> None:
    (row,) = await webhook_store.select_page(
        index.db, index.one.organisation, (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0)), 1
    )
    await index.put(url=URL + "new")

    assert not await webhook_store.disable_webhook(index.db, row, index.now)


async def test_what_waits_for_a_removed_webhook_goes_with_it(index: Index) -> None:
    await index.meet()
    (held,) = await index.claims()
    async with index.db.transaction():
        await webhooks.remove_webhook(index.db, "case", index.actor, index.now)

    assert await index.call(held) is None
    left = await index.db.fetch("SELECT DISTINCT channel FROM notify.delivery")
    assert [row["channel"] for row in left] == ["mail"]
    with pytest.raises(NotFoundError):
        await webhooks.read_webhook(index.db, index.one.organisation, "case", SECRETS.contact)


async def test_webhooks_are_found_by_organisation(index: Index) -> None:
    second = await index.put(name="second")
    organisations = [index.one.organisation, index.other.organisation]
    enabled = await webhook_store.select_enabled(index.db, organisations)

    assert enabled.keys() == {index.one.organisation}
    assert second.id in enabled[index.one.organisation]
    assert len(enabled[index.one.organisation]) == 2


# Two at once


@asynccontextmanager
async def impatient(pool: "Pool[Record]") -> AsyncIterator[Db]:
    """A session that gives up at once where it would have to wait."""
    async with pool.acquire() as db, db.transaction():
        await db.execute("SET LOCAL lock_timeout = '50ms'")
        yield db


async def test_a_webhook_cannot_be_removed_while_matches_are_told_to_it(
    index: Index, pool: "Pool[Record]"
) -> None:
    async with index.db.transaction():
        await webhook_store.select_enabled(index.db, [index.one.organisation])
        with pytest.raises(asyncpg.LockNotAvailableError):
            async with impatient(pool) as db:
                await webhooks.remove_webhook(db, "case", index.actor, index.now)
        async with impatient(pool) as db:  # but it can change
            wanted = Wanted(name="case", url=URL + "2", form=Form.STANDARD)
            await webhooks.put_webhook(db, wanted, index.actor, SECRETS.contact, index.now)


async def test_a_webhook_stays_as_it_is_until_the_call_is_noted(
    index: Index, pool: "Pool[Record]"
) -> None:
    await index.meet()
    (held,) = await index.claims()

    async def remove(db: Db) -> None:
        await webhooks.remove_webhook(db, "case", index.actor, index.now)

    async def disable(db: Db) -> None:
        await index.composer().disable(db, held, URL)

    async with index.db.transaction():
        assert await index.composer().compose(index.db, held)
        for change in (remove, disable):
            with pytest.raises(asyncpg.LockNotAvailableError):
                async with impatient(pool) as db:
                    await change(db)


@pytest.mark.parametrize("side", ["one", "other"])
async def test_w2_a_call_waits_while_an_organisation_in_the_match_has_no_agreement(
    index: Index, side: str
) -> None:
    await index.meet()
    (held,) = await index.claims()
    await index.db.execute(
        "UPDATE registry.agreement SET valid_to = $2 WHERE organisation_id = $1",
        getattr(index, side).organisation,
        (index.now - timedelta(days=2)).date(),
    )
    with pytest.raises(UndeliveredError) as waits:
        await index.call(held)
    assert waits.value.outcome.result is Result.NOBODY

    await index.db.execute("UPDATE registry.agreement SET valid_to = NULL")

    assert await index.call(held) is not None
