"""Composition root: settings in, running processes out. The only reader of the clock."""

import asyncio
import getpass
import json
import logging
import os
import signal
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg
import structlog
from aiohttp import web

from notify import mail, metrics, queue
from notify.bounce import ReturnPath
from notify.ledger import Channel
from notify.mail import MailDesk
from notify.metrics import Meter
from notify.office import Office
from notify.queue import Bell, Queue, run_bell
from notify.relay import run_relay
from notify.webhook import WebhookDesk, open_sender
from notify.worker import run_worker
from schemas.database import Db
from vin import data_keys, embedded, onboard
from vin.api import access
from vin.api.answer_page import ANSWER_DESK, AnswerDesk
from vin.api.context import CONTEXT, Context
from vin.api.routes import ROUTES
from vin.api.token import TOKEN_DESK, TokenDesk
from vin.api.webhooks import WEBHOOK_TERMS, WebhookTerms
from vin.bounces import BounceDesk, taking_bounces
from vin.certificates import with_certificates
from vin.clock import Clock
from vin.crypto import keyfile, sign
from vin.crypto.link import LinkKey
from vin.crypto.pseudonym import IndexKeys
from vin.crypto.seal import DataKeys, FileKek
from vin.crypto.smime import MailSeal
from vin.crypto.webhook import WebhookKey
from vin.databases import migrations
from vin.errors import StartError
from vin.excluded import excluded_tokens, read_excluded
from vin.keyholder import app as keyholder_app
from vin.keyholder import context as keyholder_context
from vin.keyholder.evaluator import open_evaluator
from vin.links import Links
from vin.matcher import run_matcher
from vin.migrate import check_schema, migrate
from vin.notices import NoticeComposer, journal_with
from vin.region import Region
from vin.region_file import parse_region, read_region_data
from vin.registrar import Answer, Registrar
from vin.settings import (
    Address,
    ApiSettings,
    KeyholderSettings,
    MigrateSettings,
    OnboardSettings,
    SmtpTls,
    WorkerSettings,
)
from vin.signals import Registration, Secrets, register_batch
from vin.sweeper import run_sweeper, steps_with
from vin.web.bearer import Bearer
from vin.web.openapi import with_document
from vin.web.routes import application
from vin.web.server import serving
from vin.webhook_events import WebhookComposer

if TYPE_CHECKING:
    from asyncpg import Pool, Record

COMMAND_SECONDS = 30
EVALUATORS = os.cpu_count() or 1


def utcnow() -> datetime:
    """The real clock, for tokens and permits; domain time is the database's (`vin.clock`)."""
    return datetime.now(UTC)  # noqa: TID251 (the one place)


@asynccontextmanager
async def open_pool(url: str, package: str) -> AsyncIterator["Pool[Record]"]:
    """Connections to a database that has exactly this version's schema."""
    await embedded.check_postgres(url)
    async with asyncpg.create_pool(
        url, min_size=2, max_size=10, command_timeout=COMMAND_SECONDS, reset=nothing_to_reset
    ) as pool:
        async with pool.acquire() as db:
            await check_schema(db, migrations(package))
        yield pool


async def nothing_to_reset(_: Db) -> None:
    """Save a question each time: we change no session, and asyncpg ends what is left open."""


@asynccontextmanager
async def connection(url: str, package: str) -> AsyncIterator[Db]:
    """One connection to a database that has exactly this version's schema."""
    async with open_pool(url, package) as pool, pool.acquire() as db:
        yield db


async def run_worker_process(settings: WorkerSettings) -> None:
    """Match, relay and notify until told to stop."""
    start_logs()
    stop = stop_on_signal()
    clock = Clock(settings.clock_offset)
    journal = journal_with(clock)
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings.database_url, "vin"))
        await embedded.check_redis(settings.redis_url)
        redis = await stack.enter_async_context(queue.connect(settings.redis_url))
        bell = Bell(redis)
        keys = await load_data_keys(pool, settings.keys)
        office = Office(
            pool=pool,
            queue=Queue(redis),
            desks={
                Channel.MAIL: await mail_desk(stack, settings, pool, keys),
                Channel.WEBHOOK: await webhook_desk(stack, settings, pool, keys),
            },
            journal=journal,
            name=f"{socket.gethostname()}:{os.getpid()}",
            meter=Meter(settings.clock_offset),
        )
        await stack.enter_async_context(showing_metrics(office, settings.metrics))
        async with asyncio.TaskGroup() as group:
            group.create_task(run_bell(bell, stop))
            group.create_task(run_matcher(pool, clock, bell, stop))
            group.create_task(run_sweeper(pool, clock, stop, steps_with(keys)))
            group.create_task(run_relay(office, bell, stop))
            group.create_task(run_worker(office, stop))


@asynccontextmanager
async def showing_metrics(office: Office, at: Address | None) -> AsyncIterator[None]:
    """Show a monitor how deliveries stand, if it is told where."""
    async with AsyncExitStack() as stack:
        if at is not None:
            app = metrics.application(office.pool, office.queue, office.meter)
            try:
                await stack.enter_async_context(serving(app, at.host, at.port))
            except OSError as error:
                message = f"Cannot listen on {at.host}, port {at.port}: {error.strerror}."
                raise StartError(message) from error
        yield


def notice_composer(settings: WorkerSettings, keys: DataKeys) -> NoticeComposer:
    """What writes the letters; without an address of the index they have no links."""
    links = None
    if settings.api_url is not None:
        links = Links(key=LinkKey.load(settings.keys / keyfile.LINK), api_url=settings.api_url)
    return NoticeComposer(keys, Clock(settings.clock_offset), links)


async def mail_desk(
    stack: AsyncExitStack, settings: WorkerSettings, pool: "Pool[Record]", keys: DataKeys
) -> MailDesk:
    """What carries mails, and takes those that come back for as long as the stack is open."""
    route = mail.Route(
        host=settings.smtp.host,
        port=settings.smtp.port,
        sender=settings.mail_from,
        tls_required=settings.smtp_tls is SmtpTls.REQUIRED,
    )
    key = LinkKey.load(settings.keys / keyfile.LINK)
    returns = ReturnPath(settings.bounce_domain or "", key.sign)
    bounces = BounceDesk(pool, returns, keys, Clock(settings.clock_offset))
    if settings.bounce_listen is not None:
        if settings.bounce_domain is None:
            message = "VIN_BOUNCE_LISTEN needs VIN_BOUNCE_DOMAIN, which mail comes back to."
            raise StartError(message)
        await stack.enter_async_context(taking_bounces(bounces, settings.bounce_listen))
    desk = MailDesk(
        pool,
        notice_composer(settings, keys),
        route,
        returns=returns if settings.bounce_domain else None,
        bury=bounces.bury,
        seal=seal_of(settings.keys),
    )
    stack.callback(desk.close)
    return desk


def seal_of(keys: Path) -> mail.Seal | None:
    """What signs and encrypts mails, where there is a key for it."""
    seal = MailSeal.load(keys)
    return seal.seal if seal else None


async def webhook_desk(
    stack: AsyncExitStack, settings: WorkerSettings, pool: "Pool[Record]", keys: DataKeys
) -> WebhookDesk:
    """What calls webhooks, for as long as the stack is open."""
    region = await region_code(pool)
    composer = WebhookComposer(
        data_keys=keys,
        key=WebhookKey.load(settings.keys / keyfile.WEBHOOK_SIGNING),
        clock=Clock(settings.clock_offset),
        source=f"urn:nld:oin:{settings.oin}:systeem:vin"
        if settings.oin
        else f"urn:nld:vin:{region}",
    )
    sender = await stack.enter_async_context(open_sender(settings.webhook_targets))
    return WebhookDesk(pool, composer, sender)


async def load_data_keys(pool: "Pool[Record]", keys: Path) -> DataKeys:
    """The keys to contact data and references."""
    async with pool.acquire() as db:
        return await data_keys.load_data_keys(db, FileKek.load(keys / keyfile.CONTACT_KEK))


async def run_migrate(settings: MigrateSettings) -> None:
    """Bring the given databases to this version."""
    for url, package in (
        (settings.database_url, "vin"),
        (settings.keyholder_database_url, "vin.keyholder"),
    ):
        if url is not None:
            await embedded.check_postgres(url)
            applied = await migrate(url, migrations(package))
            say(*[f"{package}: applied {name}" for name in applied] or [f"{package}: up to date"])


def say(*lines: str) -> None:
    """Tell an operator on standard output."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


async def run_onboard(settings: OnboardSettings, file: Path) -> None:
    """Apply a region file and say what changed."""
    region = parse_region(read_region_data(file), str(file))
    changed = await apply_region(settings, region, getpass.getuser(), file.parent)
    say(*[f"changed: {line}" for line in changed] or ["nothing changed"])


async def apply_region(
    settings: OnboardSettings, region: Region, operator: str, folder: Path
) -> list[str]:
    """Make the index and the key holder, as far as given, equal to the region file in `folder`.

    Returns what changed, a line a table; nothing the second time.
    """
    changed: list[str] = []
    if settings.database_url is not None:
        if settings.keys is None:
            message = "VIN_KEYS must be set: the folder with the key that seals contact data."
            raise StartError(message)
        kek = FileKek.load(settings.keys / keyfile.CONTACT_KEK)
        addresses = excluded_of(settings.keys, region, folder)
        async with connection(settings.database_url, "vin") as db, db.transaction():
            now = await Clock(settings.clock_offset).now(db)
            await data_keys.ensure_data_key(db, kek, now)
            keys = await data_keys.load_data_keys(db, kek)
            certified = with_certificates(region, folder)
            changes = await onboard.onboard(db, certified, keys, operator, now, addresses)
            changed += changes.lines()
    if settings.keyholder_database_url is not None:
        async with connection(settings.keyholder_database_url, "vin.keyholder") as db:
            changed += await onboard.onboard_keyholder(db, region)
    return changed


def excluded_of(keys: Path, region: Region, folder: Path) -> set[UUID]:
    """The tokens of the addresses that never match; the index's key is read only if there are."""
    excluded = read_excluded(region, folder)
    if not excluded:
        return set()
    return excluded_tokens(excluded, IndexKeys.load(keys / keyfile.INDEX))


async def run_api(settings: ApiSettings) -> None:
    """Serve the index until told to stop, then finish what was accepted."""
    start_logs()
    stop = stop_on_signal()
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(open_pool(settings.database_url, "vin"))
        await embedded.check_redis(settings.redis_url)
        redis = await stack.enter_async_context(queue.connect(settings.redis_url))
        context = await api_context(settings, pool, Bell(redis))
        committing = asyncio.create_task(context.registrar.run())
        stack.callback(committing.cancel)
        app = api_app(settings, context)
        await serve(app, settings.host, settings.port, stop, committing)


async def api_context(settings: ApiSettings, pool: "Pool[Record]", bell: Bell) -> Context:
    """What the index's handlers work with."""
    clock = Clock(settings.clock_offset)
    secrets = Secrets(
        index=IndexKeys.load(settings.keys / keyfile.INDEX),
        contact=await load_data_keys(pool, settings.keys),
    )
    permit_key = sign.load_permit_key(keyfile.read_secret(settings.keys / keyfile.PERMIT_PUBLIC))

    async def commit(batch: Sequence[Registration]) -> list[Answer]:
        async with pool.acquire() as db, db.transaction():
            return await register_batch(db, batch, secrets, await clock.now(db))

    async def ring() -> None:
        await bell.ring("match")

    def verify_permit(statement: str) -> sign.Permit:
        return sign.verify_permit(
            permit_key, statement, settings.keyholder_url, settings.api_url, utcnow()
        )

    return Context(
        region=await region_code(pool),
        pool=pool,
        clock=clock,
        secrets=secrets,
        registrar=Registrar(commit, ring),
        verify_permit=verify_permit,
    )


async def region_code(pool: "Pool[Record]") -> str:
    """The region that this index is for."""
    code: str | None = await pool.fetchval(
        """
        -- wiring.region_code
        SELECT code
          FROM registry.region
        """
    )
    if code is None:
        message = "The index has no region yet: run `vin onboard` first."
        raise StartError(message)
    return code


async def run_keyholder(settings: KeyholderSettings) -> None:
    """Serve the key holder until told to stop."""
    start_logs()
    stop = stop_on_signal()
    folder = settings.keys
    async with AsyncExitStack() as stack:
        pool = await stack.enter_async_context(
            open_pool(settings.keyholder_database_url, "vin.keyholder")
        )
        seeds = keyfile.read_epochs(folder / keyfile.KEYHOLDER)
        context = keyholder_context.Context(
            pool=pool,
            evaluator=await stack.enter_async_context(open_evaluator(seeds, EVALUATORS)),
            access_key=sign.load_access_key(keyfile.read_secret(folder / keyfile.ACCESS_PUBLIC)),
            permit_key=sign.load_permit_key(keyfile.read_secret(folder / keyfile.PERMIT_SIGNING)),
            keyholder_url=settings.keyholder_url,
            api_url=settings.api_url,
            utcnow=utcnow,
        )
        await serve(keyholder_app.build(context), settings.host, settings.port, stop)


def api_app(settings: ApiSettings, context: Context) -> web.Application:
    """The index's routes on their context."""
    key = sign.load_access_key(keyfile.read_secret(settings.keys / keyfile.ACCESS_SIGNING))
    desk = TokenDesk(
        pool=context.pool,
        key=key,
        api_url=settings.api_url,
        keyholder_url=settings.keyholder_url,
        utcnow=utcnow,
    )
    bearer = Bearer(
        key=key,
        issuer=settings.api_url,
        audience=settings.api_url,
        look_up=partial(access.select_caller, context.pool),
        utcnow=utcnow,
    )
    app = application(with_document(ROUTES, "VIN index"), bearer)
    app[CONTEXT] = context
    app[TOKEN_DESK] = desk
    app[ANSWER_DESK] = AnswerDesk(
        pool=context.pool,
        clock=context.clock,
        key=LinkKey.load(settings.keys / keyfile.LINK),
    )
    app[WEBHOOK_TERMS] = WebhookTerms(
        targets=settings.webhook_targets,
        public_key=WebhookKey.load(settings.keys / keyfile.WEBHOOK_SIGNING).public,
    )
    return app


async def serve(
    app: web.Application,
    host: str,
    port: int,
    stop: asyncio.Event,
    *vital: "asyncio.Task[None]",
) -> None:
    """Answer until `stop` is set or a vital task ends; then let open requests finish."""
    stopping = asyncio.create_task(stop.wait())
    try:
        async with serving(app, host, port):
            await asyncio.wait([stopping, *vital], return_when=asyncio.FIRST_COMPLETED)
    except OSError as error:
        message = f"Cannot listen on {host}, port {port}: {error.strerror}."
        raise StartError(message) from error
    finally:
        stopping.cancel()
    for task in vital:
        if task.done():
            task.result()


def stop_on_signal() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


class TypesOnly(logging.Formatter):
    """Of other libraries' log lines, who speaks and which error: their texts may quote values."""

    def format(self, record: logging.LogRecord) -> str:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        return json.dumps({"logger": record.name, "level": record.levelname, "error": error})


def tell_death(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Write where a process died and of what kind of error, without its text."""
    frames = "".join(traceback.format_tb(trace))
    structlog.get_logger().critical("process died", error=kind.__name__, trace=frames)
    for each in error.exceptions if isinstance(error, BaseExceptionGroup) else ():
        tell_death(type(each), each, each.__traceback__)


def start_logs() -> None:
    """Write logs as JSON lines to standard output: types and ids, never values."""
    handler = logging.StreamHandler()
    handler.setFormatter(TypesOnly())
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    sys.excepthook = tell_death
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.JSONRenderer(default=str),
        ],
        logger_factory=structlog.WriteLoggerFactory(),
        cache_logger_on_first_use=True,
    )
