"""`vin deliveries`: what an operator sees of deliveries, and what he does with them."""

import argparse
import getpass
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, datetime
from uuid import UUID

from notify import ledger
from notify.held import Answer, Standing
from notify.ledger import Attempt, Channel
from notify.retry import State
from schemas.database import Db
from vin import delivery_desk
from vin.delivery_desk import Act, Wanted
from vin.errors import NotFoundError, StartError
from vin.terminal import Settings, local, one_line, running, say

SHOWN = 50
LISTED = range(1, 1001)


def add_commands(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", settings: Settings
) -> None:
    """Add the commands; `settings` is read when one runs."""
    deliveries = commands.add_parser("deliveries", help="look after mail and webhooks")
    verbs = deliveries.add_subparsers(required=True)
    listing = verbs.add_parser("list", help="how many are in which state, or which these are")
    add_filter(listing, list(State))
    listing.add_argument("--since", type=date.fromisoformat, metavar="YYYY-MM-DD")
    listing.add_argument("--limit", type=int, choices=LISTED, metavar="N")
    listing.set_defaults(run=running(list_deliveries, settings))

    showing = verbs.add_parser("show", help="all attempts of one")
    showing.add_argument("delivery", type=UUID, metavar="ID")
    showing.set_defaults(run=running(show_delivery, settings))

    retrying = verbs.add_parser("retry", help="try what is dead, or rests, again now")
    retrying.add_argument("deliveries", type=UUID, nargs="*", metavar="ID")
    add_filter(retrying, [State.DEAD, State.RETRY])
    retrying.add_argument("--purpose", required=True, type=one_line)
    retrying.set_defaults(run=running(retry, settings))

    resolving = verbs.add_parser("resolve", help="decide on one that may have arrived")
    resolving.add_argument("delivery", type=UUID, metavar="ID")
    resolving.add_argument("--as", dest="answer", required=True, type=Answer, choices=list(Answer))
    resolving.add_argument("--purpose", required=True, type=one_line)
    resolving.set_defaults(run=running(resolve, settings))

    for name, work, text in (
        ("pause", pause, "keep deliveries in the ledger"),
        ("resume", resume, "let deliveries go out again"),
    ):
        command = verbs.add_parser(name, help=text)
        command.add_argument("channel", type=Channel, choices=list(Channel))
        command.add_argument("--purpose", type=one_line)
        command.set_defaults(run=running(work, settings))


def add_filter(command: argparse.ArgumentParser, states: list[State]) -> None:
    """Let deliveries be chosen."""
    command.add_argument("--state", type=State, choices=states)
    command.add_argument("--channel", type=Channel, choices=list(Channel))
    command.add_argument("--organisation", metavar="CODE")


async def list_deliveries(db: Db, options: argparse.Namespace, now: datetime) -> None:
    if not is_filtered(options) and options.since is None and options.limit is None:
        await count_deliveries(db)
        return
    wanted = replace(filter_of(options), since=options.since, limit=options.limit or SHOWN)
    found, codes = await delivery_desk.list_deliveries(db, wanted, act_of(options), now)
    for each in found:
        say(line_of(each, codes))
    if not found:
        say("No delivery.")


async def count_deliveries(db: Db) -> None:
    for state, count in sorted((await ledger.count_by_state(db)).items()):
        say(f"{state:10}  {count}")
    for channel, since in (await ledger.select_paused(db)).items():
        say(f"{channel} is paused since {local(since)}")


def line_of(each: Standing, codes: Mapping[UUID, str]) -> str:
    """One delivery in a line."""
    organisation = codes.get(each.party_id, "-") if each.party_id else "-"
    parts = [
        f"{each.id}",
        f"{each.channel:7}",
        f"{each.kind:10}",
        f"{each.state:10}",
        organisation,
        f"since {local(each.created_at)}",
        f"{each.attempt} attempt{'' if each.attempt == 1 else 's'}",
        end_of(each.result, each.code),
    ]
    if each.state is State.RETRY:
        parts.append(f"next {local(each.next_at)}")
    if each.maybe_duplicate:
        parts.append("maybe twice")
    return "  ".join(part for part in parts if part)


def end_of(result: str | None, code: int | None) -> str:
    """How an attempt ended, with the other server's reply."""
    return " ".join(str(part) for part in (result, code) if part is not None)


async def show_delivery(db: Db, options: argparse.Namespace, now: datetime) -> None:
    try:
        story = await delivery_desk.show_delivery(db, options.delivery, act_of(options), now)
    except NotFoundError as error:
        message = "There is no such delivery."
        raise StartError(message) from error
    party = story.delivery.party_id
    codes = await delivery_desk.select_codes(db, [party] if party else [])
    say(line_of(story.delivery, codes))
    say(f"  notice {story.delivery.notice_id}, {story.delivery.spared} attempts spared")
    say(f"  matches: {', '.join(story.numbers) or 'none'}")
    for attempt in story.attempts:
        say(f"  {attempt_line(attempt)}")


def attempt_line(attempt: Attempt) -> str:
    """One attempt in a line."""
    parts = [
        f"{attempt.attempt:3}",
        local(attempt.started_at) if attempt.started_at else "",
        attempt.worker or "",
        end_of(attempt.result, attempt.code) if attempt.finished_at else "runs",
        f"reported {attempt.reported}" if attempt.reported else "",
    ]
    return "  ".join(part for part in parts if part)


async def retry(db: Db, options: argparse.Namespace, now: datetime) -> None:
    if bool(options.deliveries) is is_filtered(options):
        message = "Name either deliveries or a filter, such as --state dead."
        raise StartError(message)
    act = act_of(options)
    if options.deliveries:
        done = await delivery_desk.retry(db, options.deliveries, act, now)
    else:
        wanted = filter_of(options)
        wanted = replace(wanted, state=wanted.state or State.DEAD)
        done = await delivery_desk.retry_all(db, wanted, act, now)
    say(f"{len(done)} of them go out again.")
    if len(done) == delivery_desk.RETRIED:
        say("There may be more: run this again.")


async def resolve(db: Db, options: argparse.Namespace, now: datetime) -> None:
    act = act_of(options)
    try:
        await delivery_desk.resolve(db, options.delivery, options.answer, act, now)
    except NotFoundError as error:
        message = "There is no such delivery that waits for an answer."
        raise StartError(message) from error


async def pause(db: Db, options: argparse.Namespace, now: datetime) -> None:
    await delivery_desk.pause(db, options.channel, act_of(options), now)


async def resume(db: Db, options: argparse.Namespace, now: datetime) -> None:
    await delivery_desk.resume(db, options.channel, act_of(options), now)


def is_filtered(options: argparse.Namespace) -> bool:
    return filter_of(options) != Wanted()


def filter_of(options: argparse.Namespace) -> Wanted:
    """What the filters say."""
    return Wanted(state=options.state, channel=options.channel, organisation=options.organisation)


def act_of(options: argparse.Namespace) -> Act:
    return Act(operator=getpass.getuser(), purpose=getattr(options, "purpose", None))
