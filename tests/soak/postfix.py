"""Debian's postfix on the loopback, with a configuration and a queue of its own."""

import asyncio
import os
import pwd
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

POSTFIX = "/usr/sbin/postfix"
HOST = "127.0.0.1"
NOBODY = pwd.getpwnam("nobody")

# Domains whose mail is kept here; the others go where `transports` says.
KEPT = ("here.test", "office.test")

MAIN = """
compatibility_level = 3.6
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/log/mail.log
maillog_file_prefixes = {folder}
myhostname = mx.test
mydomain = test
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
notify_classes =
smtputf8_enable = no
smtp_dns_support_level = disabled
smtp_host_lookup = native
virtual_mailbox_domains = {kept}
virtual_mailbox_maps = static:box/
virtual_mailbox_base = {folder}/mail
virtual_minimum_uid = 1
virtual_uid_maps = static:{uid}
virtual_gid_maps = static:{gid}
transport_maps = texthash:{folder}/etc/transport
smtpd_reject_unlisted_recipient = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = check_recipient_access texthash:{folder}/etc/access, permit
smtpd_client_connection_count_limit = 0
default_process_limit = 20
delay_warning_time = 1s
minimal_backoff_time = 2s
maximal_backoff_time = 5s
queue_run_delay = 2s
bounce_queue_lifetime = 1h
"""
MASTER = """
{port} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def missing() -> str | None:
    """Why there can be no postfix here; None when there can."""
    if not Path(POSTFIX).exists():
        return "postfix is not installed (apt-get install postfix)"
    return None if os.geteuid() == 0 else "postfix starts as root only"


@asynccontextmanager
async def postfix(
    folder: Path, port: int, transports: Mapping[str, str], refused: Mapping[str, str]
) -> AsyncIterator[Path]:
    """Take mail on a port; yields the folder that mails to `KEPT` come into.

    `transports` says where a domain's mail goes, `refused` which reply a domain meets at once.
    """
    etc = folder / "etc"
    for name in ("etc", "queue", "data", "log", "mail"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o755)
    shutil.chown(folder / "data", "postfix")
    shutil.chown(folder / "mail", NOBODY.pw_uid, NOBODY.pw_gid)
    fields = {"folder": folder, "kept": " ".join(KEPT), "uid": NOBODY.pw_uid, "gid": NOBODY.pw_gid}
    (etc / "main.cf").write_text(MAIN.format(**fields))
    (etc / "master.cf").write_text(MASTER.format(port=f"{HOST}:{port}"))
    (etc / "transport").write_text(lines(transports))
    (etc / "access").write_text(lines(refused))
    await run(etc, "start")
    try:
        yield folder / "mail" / "box"
    finally:
        await run(etc, "stop")


def lines(table: Mapping[str, str]) -> str:
    return "".join(f"{key} {value}\n" for key, value in table.items())


async def run(etc: Path, command: str) -> None:
    process = await asyncio.create_subprocess_exec(
        POSTFIX, "-c", str(etc), command, stdout=PIPE, stderr=STDOUT
    )
    output, _ = await process.communicate()
    if process.returncode:
        raise RuntimeError(output.decode())
