"""Mails as `vin up` leaves them in its folder."""

import asyncio
import email
import email.policy
import re
from collections.abc import Callable
from email.message import EmailMessage
from pathlib import Path

from tests.running import Up

PATIENCE_SECONDS = 40


def mails_to(up: Up, address: str) -> list[EmailMessage]:
    """What came for an address, oldest first."""
    found = []
    for path in sorted(Path(up.ready["mailDir"]).glob("*.eml"), key=lambda p: p.stat().st_mtime):
        content = path.read_bytes()
        if address.encode() in content:
            mail = email.message_from_bytes(content, policy=email.policy.default)
            assert isinstance(mail, EmailMessage)
            if mail["To"] == address:
                found.append(mail)
    return found


async def mail_to(
    up: Up, address: str, fits: Callable[[EmailMessage], bool] = lambda _: True
) -> EmailMessage:
    """The first mail to an address that fits, once it is there."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            for mail in mails_to(up, address):
                if fits(mail):
                    return mail
            await asyncio.sleep(0.1)


def text_of(mail: EmailMessage) -> str:
    body = mail.get_body(("plain",))
    assert body
    content: str = body.get_content()
    return content


def link_in(mail: EmailMessage) -> str:
    """Where the reader can tell what came of the match."""
    (link,) = re.findall(r"https?://\S+/answer/[A-Za-z0-9_-]+", text_of(mail))
    return str(link)
