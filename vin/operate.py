"""What an operator runs on a living index."""

import argparse
import getpass
from datetime import datetime
from uuid import UUID

from matching.errors import MatchNumberError
from matching.number import parse
from schemas.database import Db
from vin import deliveries, hubs, mailboxes, officers, retention, story, worklist
from vin.case_lead import CaseLead
from vin.errors import NotFoundError, StartError
from vin.hubs import Release
from vin.mailboxes import Clearing
from vin.terminal import Settings, local, one_line, running, say

SHOWN = 50


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

    deliveries.add_commands(commands, settings)
    add_follow_up(commands, settings)
    add_mailboxes(commands, settings)

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


def add_follow_up(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", settings: Settings
) -> None:
    following = commands.add_parser("follow-up", help="matches on which nobody has spoken yet")
    waiting = following.add_subparsers(required=True).add_parser("list", help="which those are")
    waiting.add_argument("--municipality", metavar="GM…", help="of one municipality; else of all")
    waiting.set_defaults(run=running(list_follow_up, settings))


def add_mailboxes(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", settings: Settings
) -> None:
    verbs = commands.add_parser("mailboxes", help="whom mail does not reach").add_subparsers(
        required=True
    )
    listing = verbs.add_parser("list", help="who is passed over, since mail to him comes back")
    listing.set_defaults(run=running(list_mailboxes, settings))
    clearing = verbs.add_parser("clear", help="let mail go to somebody again")
    clearing.add_argument("mailbox", type=UUID, metavar="ID")
    clearing.add_argument("--purpose", required=True, type=one_line)
    clearing.set_defaults(run=running(clear_mailbox, settings))


async def list_mailboxes(db: Db, _options: argparse.Namespace, now: datetime) -> None:
    found = await mailboxes.list_dead(db, getpass.getuser(), now)
    for each in found:
        say(f"{each.id}  {each.place}  {each.name}  since {local(each.since)}")
    if not found:
        say("Mail reaches everybody.")


async def clear_mailbox(db: Db, options: argparse.Namespace, now: datetime) -> None:
    order = Clearing(mailbox=options.mailbox, operator=getpass.getuser(), purpose=options.purpose)
    try:
        await mailboxes.clear(db, order, now)
    except NotFoundError as error:
        message = "Mail to this one does not come back."
        raise StartError(message) from error


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
            f"{' / '.join(match.organisations)}  [{', '.join(match.deliveries)}]  "
            f"{' / '.join(match.outcomes)}"
        )
        if match.lead:
            say(f"  {lead_line(match.lead)}")
    for line in trail:
        say(
            f"  {local(line.at)}  {line.event:18}  {line.result:10}  "
            f"by {line.actor}  on {line.object_kind} {line.object_id}"
        )
    if not told:
        say("No match.")


def lead_line(lead: CaseLead) -> str:
    """Who leads the case by default, by which rule, and which rules come before it (A3)."""
    passed = f", not {', '.join(lead.passed)}" if lead.passed else ""
    return f"lead: {lead.name or 'nobody'} (by {lead.rule}{passed})"


async def list_follow_up(db: Db, options: argparse.Namespace, now: datetime) -> None:
    municipality = options.municipality
    if municipality and await officers.select_municipality(db, municipality) is None:
        message = f"{municipality} is no municipality of this region."
        raise StartError(message)
    cases = await worklist.list_cases(db, municipality, getpass.getuser(), now)
    for case in cases:
        say(
            f"{case.number}  since {case.listed_on}  silent: {' / '.join(case.silent) or '-'}  "
            f"{lead_line(case.lead)}"
        )
    if not cases:
        say("No match waits for contact.")


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
