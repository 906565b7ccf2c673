"""What an operator runs on a living index: `vin audit` and `vin deliveries`."""

import argparse
import asyncio
import getpass
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime

import asyncpg

from matching.errors import MatchNumberError
from matching.number import parse
from notify import ledger
from schemas.database import Db
from schemas.dates import LOCAL
from vin import audit, story
from vin.audit import Entry, Event
from vin.clock import Clock
from vin.databases import migrations
from vin.errors import StartError
from vin.migrate import check_schema
from vin.settings import OperatorSettings

CHANNELS = ("mail",)
SHOWN = 50

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
            async with db.transaction():
                await work(db, options, await Clock(given.clock_offset).now(db))
        finally:
            await db.close()

    return lambda options: asyncio.run(run(options))


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
