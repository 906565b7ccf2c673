"""What an operator runs on a living index: `vin audit` and `vin deliveries`."""

import argparse
import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import datetime
from functools import partial
from uuid import UUID

import asyncpg
from pydantic import TypeAdapter, ValidationError

from matching.errors import MatchNumberError
from matching.number import parse
from notify import ledger
from schemas.database import Db
from schemas.dates import LOCAL
from vin import audit, hubs, retention, story
from vin.audit import Entry, Event
from vin.clock import Clock
from vin.databases import migrations
from vin.errors import NotFoundError, StartError
from vin.fields import Line
from vin.hubs import Release
from vin.migrate import check_schema
from vin.settings import OperatorSettings

CHANNELS = ("mail",)
LINE = TypeAdapter[str](Line)
SHOWN = 50
TRIES = 3

Settings = Callable[[], OperatorSettings]
Work = Callable[[Db, argparse.Namespace, datetime], Awaitable[None]]


def add_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", settings: Settings
) -> None:
    """Add the commands; `settings` is read when one runs."""
    audits = commands.add_parser("audit", help="look into the log").add_subparsers(required=True)
    matches = audits.add_parser("matches", help="the latest matches, or the story of one")
    matches.add_argument("--number", metavar="M-…")
    matches.set_defaults(run=running(audit_matches, settings))
    crowds = audits.add_parser("hubs", help="parents and addresses of too many children")
    crowds.set_defaults(run=running(audit_hubs, settings))

    deliveries = commands.add_parser("deliveries", help="look after mail").add_subparsers(
        required=True
    )
    listing = deliveries.add_parser("list", help="how many deliveries are in which state")
    listing.set_defaults(run=running(list_deliveries, settings))
    for name, work, text in (
        ("pause", pause, "keep deliveries in the ledger"),
        ("resume", resume, "let deliveries go out again"),
    ):
        command = deliveries.add_parser(name, help=text)
        command.add_argument("channel", choices=CHANNELS)
        command.set_defaults(run=running(work, settings))

    decisions = commands.add_parser("hubs", help="decide on a hub").add_subparsers(required=True)
    release = decisions.add_parser("release", help="let what its members share link them again")
    release.add_argument("hub", type=UUID, metavar="ID")
    release.add_argument("--purpose", required=True, type=one_line)
    release.set_defaults(run=running(release_hub, settings))

    ends = commands.add_parser("signals", help="end what no feed and no reporter ends")
    end = ends.add_subparsers(required=True).add_parser("end", help="destroy a signal, for good")
    end.add_argument("signal", type=UUID, metavar="ID")
    end.add_argument("--ground", required=True, choices=("erased", "objected", "deceased"))
    end.add_argument("--purpose", required=True, type=one_line)
    end.set_defaults(run=running(end_signal, settings))


def one_line(text: str) -> str:
    """What the API takes as a purpose too."""
    try:
        return LINE.validate_python(text)
    except ValidationError as error:
        message = "expected one line of visible text, of at most 100 characters"
        raise argparse.ArgumentTypeError(message) from error


def running(work: Work, settings: Settings) -> Callable[[argparse.Namespace], None]:
    """Make a command of work that is done in one transaction."""

    async def run(options: argparse.Namespace) -> None:
        given = settings()
        try:
            db = await asyncpg.connect(given.database_url)
        except (OSError, asyncpg.PostgresError) as error:
            message = f"The index's database cannot be reached: {type(error).__name__}."
            raise StartError(message) from error
        try:
            await check_schema(db, migrations("vin"))
            await in_turn(db, partial(work, db, options), Clock(given.clock_offset))
        finally:
            await db.close()

    return lambda options: asyncio.run(run(options))


async def in_turn(db: Db, work: Callable[[datetime], Awaitable[None]], clock: Clock) -> None:
    """Work in a transaction, again for those that the database undid for another's sake."""
    for _ in range(TRIES - 1):
        with suppress(asyncpg.DeadlockDetectedError, asyncpg.SerializationError):
            return await once(db, work, clock)
    return await once(db, work, clock)


async def once(db: Db, work: Callable[[datetime], Awaitable[None]], clock: Clock) -> None:
    async with db.transaction():
        await work(await clock.now(db))


async def audit_matches(db: Db, options: argparse.Namespace, now: datetime) -> None:
    try:
        number = parse(options.number) if options.number else None
    except MatchNumberError as error:
        message = "This is no match number: a symbol was misread."
        raise StartError(message) from error
    told, trail = await story.tell(db, number, SHOWN, getpass.getuser(), now)
    for match in told:
        say(
            f"{match.number}  {match.kind:9}  {match.status:6}  {local(match.matched_at)}  "
            f"{' / '.join(match.organisations)}  [{', '.join(match.deliveries)}]"
        )
    for line in trail:
        say(
            f"  {local(line.at)}  {line.event:18}  {line.result:10}  "
            f"by {line.actor}  on {line.object_kind} {line.object_id}"
        )
    if not told:
        say("No match.")


async def audit_hubs(db: Db, _options: argparse.Namespace, now: datetime) -> None:
    found = await hubs.list_hubs(db, getpass.getuser(), now)
    for hub in found:
        say(
            f"{hub.id}  {hub.role or 'gone':7}  since {local(hub.since)}  "
            f"recorded {local(hub.recorded_at)}  {hub.signals} signals  {hub.children} children"
            f"{'  released ' + local(hub.released_at) if hub.released_at else ''}"
        )
    if not found:
        say("No hub.")


async def release_hub(db: Db, options: argparse.Namespace, now: datetime) -> None:
    order = Release(hub=options.hub, purpose=options.purpose, operator=getpass.getuser())
    count = await hubs.release_hub(db, order, now)
    say(f"Released. {count} signals are matched again.")


async def list_deliveries(db: Db, _options: argparse.Namespace, _now: datetime) -> None:
    for state, count in sorted((await ledger.count_by_state(db)).items()):
        say(f"{state:10}  {count}")
    for channel, since in (await ledger.select_paused(db)).items():
        say(f"{channel} is paused since {local(since)}")


async def pause(db: Db, options: argparse.Namespace, now: datetime) -> None:
    await ledger.pause(db, options.channel)
    await audit.append(db, now, [channel_entry(Event.CHANNEL_PAUSED, options.channel)])


async def resume(db: Db, options: argparse.Namespace, now: datetime) -> None:
    await ledger.resume(db, options.channel)
    await audit.append(db, now, [channel_entry(Event.CHANNEL_RESUMED, options.channel)])


async def end_signal(db: Db, options: argparse.Namespace, now: datetime) -> None:
    order = retention.Ending(
        signal=options.signal,
        ground=options.ground,
        purpose=options.purpose,
        operator=getpass.getuser(),
    )
    try:
        ended = await retention.end_by_operator(db, order, now)
    except NotFoundError as error:
        message = "There is no such signal."
        raise StartError(message) from error
    say(f"Destroyed {ended} signal{'s' if ended > 1 else ''}.")


def channel_entry(event: Event, channel: str) -> Entry:
    return Entry(
        event=event,
        actor_kind="operator",
        actor=getpass.getuser(),
        object_kind="channel",
        object_id=None,
        detail={"channel": channel},
    )


def local(at: datetime) -> str:
    return f"{at.astimezone(LOCAL):%Y-%m-%d %H:%M:%S %Z}"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
