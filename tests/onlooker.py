"""An organisation that asks what it likes, and writes down all that it is answered and sent."""

import base64
import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from email import message_from_bytes
from email.policy import default
from typing import Any
from uuid import UUID, uuid4

from matching import number
from notify.carrier import UndeliveredError
from notify.letters import Letter, MatchLetter
from notify.render import render
from tests.api_on import DOMAINS, START, Value, access_token, element, permit_for
from tests.world import SECRETS, Somebody
from tests.worlds import World
from vin.notices import NoticeComposer

Json = dict[str, Any]

IDS = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
    r"|M-[0-9A-Z]{4}-[0-9A-Z]{4}-[0-9A-Z]"
)
UNTOLD = {"Date", "Content-Length"}


@dataclass(frozen=True, slots=True)
class Call:
    """One thing that the onlooker does; what it does not need of this it leaves alone.

    `place` chooses among the things that are its own, or others', or nobody's.
    """

    what: str
    by: int
    whose: str
    place: int
    child: Value
    family: tuple[Value, ...]
    twist: str


@dataclass
class Onlooker:
    """What it saw, with ids and numbers replaced in the order in which they appeared."""

    world: World
    reporters: Sequence[Somebody]
    saw: list[object] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    signals: list[str] = field(default_factory=list)
    last: tuple[str, Json] | None = None
    mailed: set[UUID] = field(default_factory=set)

    async def do(self, call: Call) -> None:
        self.saw.append(call.what)
        await ACTS[call.what](self, call)

    async def ask(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> Json:
        """Send a request, write its answer down, and give its body."""
        status, heads, answer = await self.send(method, path, body, headers)
        self.note([status, heads, answer])
        return answer

    async def send(
        self, method: str, path: str, body: object = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, list[tuple[str, str]], Json]:
        known = {"Authorization": f"Bearer {access_token()}", **(headers or {})}
        http = self.world.service.http
        async with http.request(method, path, json=body, headers=known) as answer:
            text = await answer.text()
            heads = sorted((k, v) for k, v in answer.headers.items() if k not in UNTOLD)
            return answer.status, heads, json.loads(text) if text else {}

    def note(self, seen: object) -> None:
        self.saw.append(IDS.sub(self.name, json.dumps(seen, sort_keys=True)))

    def name(self, found: re.Match[str]) -> str:
        return self.names.setdefault(found[0], f"<{len(self.names)}>")

    def unnamed(self, seen: object) -> str:
        """As far as it was seen before; for what comes in no order."""
        return IDS.sub(lambda found: self.names.get(found[0], "?"), json.dumps(seen))

    async def id(self, call: Call) -> str:
        """A signal's id."""
        own = self.signals
        others = [str(signal) for _, signal in self.world.others.values()]
        return pick(call, own, others, str(uuid4()))

    async def register(self, call: Call) -> None:
        idempotency_key, body = self.last = self.registration(call)
        headers = {"Idempotency-Key": idempotency_key}
        answer = await self.ask("POST", "/v1/signals", body, headers)
        if answer.get("id", "") not in {"", *self.signals}:
            self.signals.append(answer["id"])

    def registration(self, call: Call) -> tuple[str, Json]:
        """An idempotency key and a body; some are faulty, and some were sent before."""
        reporter_id = f"own-{call.by}"
        body: Json = {
            "reporterId": reporter_id,
            "reference": f"D-{len(self.saw)}",
            "child": {"kind": call.child[0], **key(call.child)},
            "household": household(call.family),
            "permit": permit_for(reporter_id, [call.child, *call.family]),
        }
        last_key, last_body = self.last or (str(uuid4()), body)
        match call.twist:
            case "again":
                return last_key, last_body
            case "same key":
                return last_key, body
            case "same permit":
                body["permit"] = last_body["permit"]
            case "foreign":
                body["child"]["domain"] = "other/child"
            case "unknown":
                body["reporterId"] = f"{self.world.name}-100"
            case _:
                pass
        return str(uuid4()), body

    async def read(self, call: Call) -> None:
        await self.ask("GET", f"/v1/signals/{await self.id(call)}")

    async def withdraw(self, call: Call) -> None:
        ground = "unjustified" if call.twist else "riskGone"
        path = f"/v1/signals/{await self.id(call)}/withdrawal"
        await self.ask("POST", path, {"ground": ground})

    async def find(self, call: Call) -> None:
        child = ("bsn", call.child[1])
        body = {
            "child": {"kind": "bsn", **key(child)},
            "permit": permit_for(f"own-{call.by}", [child]),
        }
        await self.ask("PUT", f"/v1/signals/{await self.id(call)}/child", body)

    async def rehouse(self, call: Call) -> None:
        permit = permit_for(f"own-{call.by}", call.family)
        body = {"household": household(call.family), "permit": permit}
        await self.ask("PUT", f"/v1/signals/{await self.id(call)}/household", body)

    async def open(self, call: Call) -> None:
        own = [await self.send("GET", f"/v1/signals/{signal}") for signal in self.signals]
        notices = [read["historyNoticeId"] for *_, read in own if "historyNoticeId" in read]
        others = await self.world.pool.fetch(
            """
            SELECT notice.id::text
              FROM matching.history_notice AS notice
              JOIN matching.signal ON signal.id = notice.signal_id
             WHERE reporter_id <> ALL($1)
            """,
            [each.id for each in self.reporters],
        )
        notice = pick(call, notices, [row["id"] for row in others], str(uuid4()))
        path = f"/v1/history-notices/{notice}/opening"
        await self.ask("POST", path, {"purpose": "to help"})

    async def match(self, call: Call) -> None:
        own = [seen for seen in self.names if seen.startswith("M-")]
        others = await self.world.pool.fetch(
            """
            SELECT number
              FROM matching.match
             WHERE NOT EXISTS (SELECT
                                 FROM matching.match_side
                                WHERE match_id = match.id
                                  AND reporter_id = ANY($1))
            """,
            [each.id for each in self.reporters],
        )
        chosen = pick(call, own, [row["number"] for row in others], number.draw())
        side = f"?signalId={await self.id(call)}" if call.twist else ""
        await self.ask("GET", f"/v1/matches/{chosen}{side}")

    async def list_signals(self, call: Call) -> None:
        await self.pages("/v1/signals", call)

    async def list_matches(self, call: Call) -> None:
        await self.pages("/v1/matches", call)

    async def pages(self, path: str, call: Call) -> None:
        """A list to its end. What came about at one instant has no order."""
        whose = f"&reporterId={self.code(call)}" if call.twist else ""
        query, items = f"?limit={1 + call.place}{whose}", []
        while query:
            status, heads, page = await self.send("GET", path + query)
            items += page["items"]
            self.note([status, heads, len(page["items"]), page["nextCursor"] is None])
            cursor = page["nextCursor"]
            query = f"?limit={1 + call.place}{whose}&cursor={cursor}" if cursor else ""
        at = [item.get("matchedAt", item.get("registeredAt")) for item in items]
        assert at == sorted(at)
        self.note(sorted(items, key=lambda item: (item.get("matchedAt", ""), self.unnamed(item))))

    def code(self, call: Call) -> str:
        """By which a reporter may be called."""
        other = f"{self.world.name}-100"
        return pick(call, ["own-0", "own-1"], [other], "nobody")

    async def team(self, call: Call) -> None:
        await self.ask("GET", "/v1/reporters" if call.twist else f"/v1/reporters/{self.code(call)}")

    async def leave(self, call: Call) -> None:
        successor = f"?successorId=own-{1 - call.by}" if call.twist else ""
        await self.ask("DELETE", f"/v1/reporters/own-{call.by}{successor}")

    async def feed(self, call: Call) -> None:
        await self.ask("POST", "/v1/relations/_import", key(call.child))

    async def mails(self) -> None:
        """What was sent since; letters that are put together at one instant have no order."""
        composer = NoticeComposer(SECRETS.contact, self.world.clock)
        letters: list[Any] = []
        async with self.world.pool.acquire() as db:
            rows = await db.fetch(
                "SELECT id FROM notify.notice WHERE reporter_id = ANY($1) AND id <> ALL($2)",
                [each.id for each in self.reporters],
                list(self.mailed),
            )
            for row in rows:
                self.mailed.add(row["id"])
                try:
                    async with db.transaction():
                        letters.append(await composer.compose(db, row["id"]))
                except UndeliveredError as error:
                    letters.append(error.outcome.result)
        texts = [self.written(each) if isinstance(each, Letter) else [each] for each in letters]
        for text in sorted(texts, key=self.unnamed):
            self.note(text)

    def written(self, letter: Letter) -> list[str]:
        """A letter as it is mailed."""
        if isinstance(letter, MatchLetter):
            items = sorted(letter.items, key=lambda item: self.unnamed(asdict(item)))
            letter = replace(letter, items=items)
        sent = render(letter, UUID(int=0), "vin@vin.test", START).as_bytes()
        mail = message_from_bytes(sent, policy=default)
        parts = [part.get_content() for part in mail.walk() if not part.is_multipart()]
        return [str(mail.items()), *parts]


def pick(call: Call, own: Sequence[str], others: Sequence[str], nobodys: str) -> str:
    """One of those that are meant, as far as there are any."""
    meant = {"own": own, "other": others}.get(call.whose, [])
    return meant[call.place % len(meant)] if meant else nobodys


def key(value: Value) -> Json:
    text = base64.urlsafe_b64encode(element(value)).rstrip(b"=").decode()
    return {"domain": DOMAINS[value[0]][1], "epoch": 1, "element": text}


def household(family: Sequence[Value]) -> list[Json]:
    return [{"role": value[0], **key(value)} for value in family]


ACTS: Mapping[str, Callable[[Onlooker, Call], Awaitable[None]]] = {
    "register": Onlooker.register,
    "read": Onlooker.read,
    "withdraw": Onlooker.withdraw,
    "find": Onlooker.find,
    "rehouse": Onlooker.rehouse,
    "open": Onlooker.open,
    "match": Onlooker.match,
    "signals": Onlooker.list_signals,
    "matches": Onlooker.list_matches,
    "team": Onlooker.team,
    "leave": Onlooker.leave,
    "feed": Onlooker.feed,
}
