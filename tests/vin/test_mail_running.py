"""`vin worker` as a process: mail goes out as each organisation wants it, and comes back."""

import asyncio
import getpass
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from pathlib import Path

import aiosmtplib
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7

from schemas.database import Db
from tests.conftest import Servers
from tests.notify.smtp_peer import Accepted, Peer, peer_listening
from tests.notify.test_bounce import on, report
from tests.officers import make_officer
from tests.running import ENDS_WITH_US
from tests.team import Team, make_team
from tests.vin.crypto.certificates import certificate, rsa_key, write_signer
from vin.crypto import keyfile
from vin.crypto.seal import FileKek

DOMAIN = "bounces.index.test"
PATIENCE_SECONDS = 30


class Post:
    """A worker with its mail server, on the database of a team."""

    def __init__(self, team: Team, environment: dict[str, str], peer: Peer) -> None:
        self.team = team
        self.environment = environment
        self.peer = peer

    @asynccontextmanager
    async def working(self, **changed: str) -> AsyncIterator[Process]:
        process = await asyncio.create_subprocess_exec(
            *(*ENDS_WITH_US, sys.executable, "-m", "vin", "worker"),
            env={**self.environment, **changed},
            stderr=PIPE,
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()

    async def operate(self, *command: str) -> str:
        environment = {name: self.environment[name] for name in ("PATH", "DATABASE_URL", "HOME")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "vin", *command), env=environment, stdout=PIPE, stderr=PIPE
        )
        output, error = await process.communicate()
        return (output or error).decode()

    async def mail_to(self, address: str) -> Accepted:
        """The first mail to an address, once it is there."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                for mail in self.peer.accepted:
                    if mail.recipient == address:
                        return mail
                await asyncio.sleep(0.05)

    async def comes_back(self, address: str) -> None:
        host, port = self.environment["VIN_BOUNCE_LISTEN"].split(":")
        async with aiosmtplib.SMTP(hostname=host, port=int(port), start_tls=False) as smtp:
            await smtp.mail("")
            await smtp.rcpt(address)
            await smtp.data(report(on("failed")))


@pytest.fixture
async def post(
    db: Db, db_url: str, servers: Servers, tmp_path: Path, unused_tcp_port: int
) -> AsyncIterator[Post]:
    team = await make_team(db)
    keys = tmp_path / "keys"
    keyfile.generate_index(keys)
    await db.execute(
        "INSERT INTO registry.data_key (epoch, wrapped, created_at) VALUES (1, $1, now())",
        FileKek.load(keys / keyfile.CONTACT_KEK).wrap(bytes(32)),
    )
    await team.register(team.one, 1)
    await team.register(team.other, 1)
    async with peer_listening() as peer:
        peer.offers = ["DSN"]
        environment = {
            **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
            "DATABASE_URL": db_url,
            "REDIS_URL": servers.redis,
            "VIN_KEYS": str(keys),
            "VIN_SMTP": f"127.0.0.1:{peer.port}",
            "VIN_MAIL_FROM": "vin@index.test",
            "VIN_BOUNCE_DOMAIN": DOMAIN,
            "VIN_BOUNCE_LISTEN": f"127.0.0.1:{unused_tcp_port}",
        }
        yield Post(team, environment, peer)


async def test_w3_what_comes_back_goes_to_the_coordinator_until_an_operator_clears_it(
    post: Post,
) -> None:
    coordinator = await make_officer(post.team.db, "coordinator", post.team.organisation)

    async with post.working():
        first = await post.mail_to(post.team.one.email)
        assert first.sender.endswith(f"@{DOMAIN}")
        assert "NOTIFY=SUCCESS,FAILURE,DELAY" in first.options
        await post.comes_back(first.sender)
        second = await post.mail_to(coordinator)
        assert second.sender != first.sender

    (line,) = (await post.operate("mailboxes", "list")).splitlines()
    mailbox = line.split()[0]
    assert post.team.one.reporter_id in line
    assert post.team.one.email not in line
    purpose = ("--purpose", "a fault of theirs")
    assert await post.operate("mailboxes", "clear", mailbox, *purpose) == ""
    assert "does not come back" in await post.operate("mailboxes", "clear", mailbox, *purpose)
    assert await post.operate("mailboxes", "list") == "Mail reaches everybody.\n"
    actor = await post.team.db.fetchval(
        "SELECT actor FROM audit.entry WHERE event = 'mailbox.cleared'"
    )
    assert actor == getpass.getuser()


async def test_w3_an_address_that_the_server_refuses_takes_the_same_road(post: Post) -> None:
    team = post.team
    stand_ins = {
        await make_officer(team.db, "coordinator", each)
        for each in (team.organisation, team.other.organisation)
        for _ in range(2)
    }
    for _ in range(2):
        post.peer.faults["RCPT"].append("550 5.1.1 no such user")

    async with post.working(VIN_BOUNCE_LISTEN="", VIN_BOUNCE_DOMAIN=""):
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(post.peer.accepted) < 2:
                await asyncio.sleep(0.05)

    assert {mail.sender for mail in post.peer.accepted} == {"vin@index.test"}
    told = {mail.recipient for mail in post.peer.accepted}
    assert told & stand_ins
    assert told <= {team.one.email, team.other.email, *stand_ins}
    refused = await team.db.fetch("SELECT outcome FROM notify.attempt WHERE code = 550")
    assert [row["outcome"] for row in refused] == ["released", "released"]


async def test_mail_is_sealed_for_an_organisation_that_wants_it(post: Post) -> None:
    reader = rsa_key("reader")
    readers = certificate(reader, name="reader")
    await post.team.db.execute(
        "UPDATE registry.organisation SET mail_mode = 'smime', smime_certificate = $1",
        readers.public_bytes(Encoding.DER),
    )
    keys = Path(post.environment["VIN_KEYS"])
    write_signer(keys, rsa_key("vin"), certificate(rsa_key("vin"), name="vin"))

    async with post.working():
        mail = await post.mail_to(post.team.one.email)

    assert post.team.other.email.encode() not in mail.content
    box = message_from_bytes(mail.content).get_payload(decode=True)
    assert isinstance(box, bytes)
    opened = pkcs7.pkcs7_decrypt_der(box, readers, reader, [])
    assert post.team.other.email.encode() in opened


async def test_to_take_bounces_a_domain_is_needed(post: Post) -> None:
    async with post.working(VIN_BOUNCE_DOMAIN="") as process:
        _, error = await process.communicate()

    assert process.returncode == 1
    assert error == b"vin: VIN_BOUNCE_LISTEN needs VIN_BOUNCE_DOMAIN, which mail comes back to.\n"
