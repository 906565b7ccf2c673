"""`vin up`: the whole of VIN on this machine, in the foreground, embedded servers included.

The demo region with its keys and its clients' keys is made at the first start and kept.
"""

import asyncio
import json
import os
import secrets
import signal
import socket
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import cast

import aiohttp

from notify.smtpd import mail_folder_server
from vin import databases, embedded
from vin.crypto import keyfile, sign
from vin.databases import migrations
from vin.embedded.server import CHILD
from vin.errors import StartError
from vin.migrate import migrate
from vin.region import Region
from vin.region_file import parse_region, read_region_data, with_client_keys
from vin.settings import OnboardSettings, UpSettings, read_settings
from vin.wiring import apply_region, say, stop_on_signal

PROCESSES = ("keyholder", "api", "worker")
READY_SECONDS = 60
END_SECONDS = 6
DEFAULT_PORT = 8080
OWN_MACHINE = "localhost,127.0.0.0/8,::1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What the command line says; `smtp` is HOST:PORT, None for the built-in mail server."""

    data: Path
    port: int = DEFAULT_PORT
    smtp: str | None = None
    region: Path | None = None
    clock_offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """Where the databases and Redis are."""

    database: str
    keyholder_database: str
    redis: str


async def up(options: Options, settings: UpSettings) -> None:
    """Run until SIGTERM or SIGINT; StartError when a part cannot start or ends by itself."""
    stop = stop_on_signal()
    os.umask(0o077)
    data = options.data.absolute()
    private_folder(data)
    ready = data / "ready.json"
    ready.unlink(missing_ok=True)
    async with AsyncExitStack() as stack:
        lost = asyncio.Event()
        servers = await start_servers(stack, data, settings, lost)
        mail = data / "mail"
        smtp = options.smtp or f"127.0.0.1:{await stack.enter_async_context(mail_server(mail))}"
        ports = choose_ports(options.port)
        environment = environment_of(data, servers, ports, smtp, options.clock_offset)
        clients = await prepare(data, servers, environment, options.region)
        children = await stack.enter_async_context(processes(environment, data / "log"))
        watch = [asyncio.create_task(process.wait()) for process in children]
        await until_ready(
            [environment["api"]["VIN_API_URL"], environment["api"]["VIN_KEYHOLDER_URL"]],
            watch,
            stop,
        )
        if not stop.is_set():
            stack.callback(ready.unlink, missing_ok=True)
            write_ready(ready, announcement(environment["api"], servers, mail, clients))
            say(f"VIN is ready: {environment['api']['VIN_API_URL']}, told in {ready}. Ctrl-C ends.")
        await first(stop, lost, watch)


def private_folder(folder: Path) -> None:
    """Make the folder ours alone, or say why not."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        message = f"Cannot use {folder}: {error.strerror}."
        raise StartError(message) from error


async def start_servers(
    stack: AsyncExitStack, data: Path, settings: UpSettings, lost: asyncio.Event
) -> Servers:
    """Start what the environment does not give, and make the two databases.

    `lost` is set when a server that was started here ends by itself.
    """
    given = settings.database_url
    postgres = await given_or_started(given, embedded.postgres(data, ended=lost), stack)
    redis = await given_or_started(settings.redis_url, embedded.valkey(data, ended=lost), stack)
    await embedded.check_postgres(postgres)
    await embedded.check_redis(redis)
    index = given or await databases.ensure(postgres, "vin")
    keyholder = settings.keyholder_database_url or await databases.ensure(
        postgres, f"{databases.name_of(index)}_keyholder"
    )
    return Servers(database=index, keyholder_database=keyholder, redis=redis)


async def given_or_started(
    url: str | None, server: AbstractAsyncContextManager[str], stack: AsyncExitStack
) -> str:
    """The URL that the environment gives, else that of a server started here."""
    if url:
        return url
    return await stack.enter_async_context(server)


@asynccontextmanager
async def mail_server(folder: Path) -> AsyncIterator[int]:
    """The built-in SMTP server, which keeps each mail as a file; yields its port."""
    private_folder(folder)
    async with mail_folder_server(folder) as port:
        yield port


def choose_ports(port: int) -> Mapping[str, int]:
    """The ports of API and key holder: in a row from `port`, or free ones for 0."""
    names = ("api", "keyholder")
    wanted = {name: port + place if port else 0 for place, name in enumerate(names)}
    sockets = {name: socket.socket() for name in names}
    try:
        for name, each in sockets.items():
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            each.bind(("127.0.0.1", wanted[name]))
        return {name: each.getsockname()[1] for name, each in sockets.items()}
    except (OSError, OverflowError) as error:
        message = f"Port {wanted[name]} cannot be used: {error}. Choose others with --port."
        raise StartError(message) from error
    finally:
        for each in sockets.values():
            each.close()


def environment_of(
    data: Path, servers: Servers, ports: Mapping[str, int], smtp: str, clock_offset: int
) -> Mapping[str, Mapping[str, str]]:
    """What each process is told: no more than it needs."""
    urls = {
        "VIN_API_URL": f"http://127.0.0.1:{ports['api']}",
        "VIN_KEYHOLDER_URL": f"http://127.0.0.1:{ports['keyholder']}",
    }
    index = {
        "DATABASE_URL": servers.database,
        "REDIS_URL": servers.redis,
        "VIN_CLOCK_OFFSET": str(clock_offset),
        "VIN_WEBHOOK_TARGETS": OWN_MACHINE,
    }
    keys = {"VIN_KEYS": str(data / "keys")}
    return {
        "keyholder": {
            **keys,
            **urls,
            "VIN_KEYHOLDER_DATABASE_URL": servers.keyholder_database,
            "VIN_PORT": str(ports["keyholder"]),
        },
        "api": {**keys, **urls, **index, "VIN_PORT": str(ports["api"])},
        "worker": {
            **keys,
            **index,
            "VIN_API_URL": urls["VIN_API_URL"],
            "VIN_SMTP": smtp,
            "VIN_MAIL_FROM": "vin@vin.example",
        },
    }


async def prepare(
    data: Path, servers: Servers, environment: Mapping[str, Mapping[str, str]], file: Path | None
) -> list[Mapping[str, str | None]]:
    """Make keys, migrate, apply the region; the clients that may connect."""
    if not (data / "keys").exists():
        keyfile.generate_all(data / "keys")
    keyfile.complete_index(data / "keys")
    await migrate(servers.database, migrations("vin"))
    await migrate(servers.keyholder_database, migrations("vin.keyholder"))
    region, keys = read_region(data, file)
    settings = {
        "DATABASE_URL": servers.database,
        "VIN_KEYHOLDER_DATABASE_URL": servers.keyholder_database,
        "VIN_KEYS": str(data / "keys"),
        "VIN_CLOCK_OFFSET": environment["api"]["VIN_CLOCK_OFFSET"],
    }
    folder = file.parent if file else data
    await apply_region(read_settings(OnboardSettings, settings), region, "vin up", folder)
    return [
        {
            "organisation": organisation.name,
            "unit": organisation.units[0].code,
            "clientId": client.id,
            "privateKeyFile": keys.get(client.id),
        }
        for organisation in region.organisations
        for client in organisation.clients
    ]


def read_region(data: Path, file: Path | None) -> tuple[Region, Mapping[str, str]]:
    """The region to apply, and the files with the private keys of the demo's clients."""
    if file is not None:
        return parse_region(read_region_data(file), str(file)), {}
    with resources.as_file(resources.files("vin") / "demo_region.toml") as demo:
        contents = read_region_data(demo)
    keys = {client: data / "clients" / f"{client}.pem" for client in client_ids(contents)}
    private_folder(data / "clients")
    for path in keys.values():
        if not path.exists():
            keyfile.write_secret(path, sign.new_client_key())
    jwks = {client: sign.public_jwk(path.read_bytes()) for client, path in keys.items()}
    region = parse_region(with_client_keys(contents, jwks), "the demo region")
    return region, {client: str(path) for client, path in keys.items()}


def client_ids(region: Mapping[str, object]) -> list[str]:
    """The clients that an unchecked region file names."""
    organisations = cast("list[dict[str, list[dict[str, str]]]]", region["organisations"])
    return [client["id"] for each in organisations for client in each.get("clients", [])]


@asynccontextmanager
async def processes(
    environment: Mapping[str, Mapping[str, str]], logs: Path
) -> AsyncIterator[list[Process]]:
    """Run all of VIN's processes; they end with us, also when we are killed."""
    started: list[Process] = []
    try:
        for name in PROCESSES:
            started.append(await start_process(name, environment[name], logs))  # noqa: PERF401 - what did start must end
        yield started
    finally:
        await end_processes(started)


async def start_process(name: str, environment: Mapping[str, str], logs: Path) -> Process:
    """Start `vin NAME` with its own log."""
    plain = {
        key: os.environ[key] for key in ("PATH", "HOME", "LANG", "TMPDIR") if key in os.environ
    }
    with (logs / f"{name}.log").open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-IS", CHILD, str(os.getpid()), str(int(signal.SIGKILL)), "stay"),
            *(sys.executable, "-m", "vin", name),
            stdin=DEVNULL,
            stdout=log,
            stderr=log,
            env={**plain, **environment},
        )


async def end_processes(started: Sequence[Process]) -> None:
    """Ask all to end at once, and make those that have not after a while."""
    for process in started:
        with suppress(ProcessLookupError):
            process.terminate()
    ends = [asyncio.create_task(process.wait()) for process in started]
    if ends:
        await asyncio.wait(ends, timeout=END_SECONDS)
    for process in started:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def until_ready(
    urls: Sequence[str], watch: Sequence["asyncio.Task[int]"], stop: asyncio.Event
) -> None:
    """Wait until every service answers that it is ready, a process ends, or we are to stop."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READY_SECONDS
    async with aiohttp.ClientSession() as session:
        while not (stop.is_set() or any(task.done() for task in watch)):
            if all([await is_ready(session, url) for url in urls]):
                return
            if loop.time() > deadline:
                message = f"The services were not ready within {READY_SECONDS} seconds."
                raise StartError(message)
            await asyncio.sleep(0.05)


async def is_ready(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(f"{url}/health/ready") as answer:
            return answer.status == 200  # noqa: PLR2004
    except aiohttp.ClientError:
        return False


def announcement(
    api: Mapping[str, str],
    servers: Servers,
    mail: Path,
    clients: Sequence[Mapping[str, str | None]],
) -> Mapping[str, object]:
    """What stands in ready.json (contract §3.5)."""
    return {
        "api": api["VIN_API_URL"],
        "keyholder": api["VIN_KEYHOLDER_URL"],
        "console": None,
        "databaseUrl": servers.database,
        "redisUrl": servers.redis,
        "mailDir": str(mail),
        "clients": clients,
        "consoleLogins": [],
    }


def write_ready(path: Path, content: Mapping[str, object]) -> None:
    """Put the file there at once and whole, for this user alone."""
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    keyfile.write_secret(fresh, json.dumps(content, indent=2).encode())
    fresh.rename(path)


async def first(
    stop: asyncio.Event, lost: asyncio.Event, watch: Sequence["asyncio.Task[int]"]
) -> None:
    """Wait until we are to stop; StartError when a process ended by itself before that.

    A lost server is told by its own context, which ends when this returns.
    """
    events = [asyncio.create_task(event.wait()) for event in (stop, lost)]
    await asyncio.wait([*events, *watch], return_when=asyncio.FIRST_COMPLETED)
    for event in events:
        event.cancel()
    if not (stop.is_set() or lost.is_set()):
        names = [name for name, task in zip(PROCESSES, watch, strict=True) if task.done()]
        message = f"vin {names[0]} ended by itself; its log tells why."
        raise StartError(message)
