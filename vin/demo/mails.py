"""The mails that the built-in SMTP server kept, read as their recipients would."""

import email
import email.policy
import re
from dataclasses import dataclass
from email.message import EmailMessage
from pathlib import Path

ADDRESS = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+")


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail: to whom, on which matches, in which words."""

    recipient: str
    subject: str
    numbers: tuple[str, ...]
    text: str

    @property
    def named(self) -> frozenset[str]:
        """Every e-mail address that the text names, in lower case."""
        return frozenset(address.lower() for address in ADDRESS.findall(self.text))


class MailBox:
    """A folder of mails; each file is read once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._mails: dict[str, Mail] = {}

    def mails(self) -> list[Mail]:
        """Return all mails that are there now."""
        for path in self._folder.glob("*.eml"):
            if path.name not in self._mails:
                self._mails[path.name] = read_mail(path.read_bytes())
        return list(self._mails.values())


def read_mail(data: bytes) -> Mail:
    """Read one `.eml` file."""
    message = email.message_from_bytes(data, _class=EmailMessage, policy=email.policy.default)
    body = message.get_body(("plain",))
    return Mail(
        recipient=str(message["To"]).lower(),
        subject=str(message["Subject"]),
        numbers=tuple(str(number) for number in message.get_all("X-VIN-Match", [])),
        text=body.get_content() if body else "",
    )
