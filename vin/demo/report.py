"""What the demo shows: how far it is, what happened, and what two people read."""

import json
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from vin.demo.mails import Mail
from vin.demo.server import Ready

KINDS = ("child", "household", "possible")


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What happened, and what should have."""

    signals: int
    matches: Counter[str]
    expected: Counter[str]
    mails: int
    missed: int
    unexpected: int
    seconds: float

    @property
    def fits(self) -> bool:
        return self.missed == self.unexpected == 0 and self.matches == self.expected

    def as_json(self) -> str:
        """Write it on one line."""
        return json.dumps(
            {
                "signals": self.signals,
                "matches": _by_kind(self.matches),
                "mails": self.mails,
                "expected": _by_kind(self.expected),
                "missed": self.missed,
                "unexpected": self.unexpected,
                "seconds": round(self.seconds, 1),
            }
        )


def _by_kind(counts: Mapping[str, int]) -> dict[str, int]:
    return {kind: counts.get(kind, 0) for kind in KINDS}


@contextmanager
def progress() -> Iterator[Progress]:
    """Show bars on standard error, if that is a terminal."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
    ) as bars:
        yield bars


def show(result: Result, mails: Sequence[Mail]) -> None:
    """Print the figures and two of the mails, on matches of two kinds where there are."""
    table = Table(show_header=False)
    table.add_row("signals", str(result.signals))
    for kind in KINDS:
        found, expected = result.matches[kind], result.expected[kind]
        table.add_row(f"matches: {kind}", f"{found} of {expected} expected")
    table.add_row("mails delivered", str(result.mails))
    table.add_row("missed, unexpected", f"{result.missed}, {result.unexpected}")
    table.add_row("seconds", f"{result.seconds:.1f}")
    console = Console()
    console.print(table)
    for mail in two_of(mails):
        text = Text(f"To: {mail.recipient}\nSubject: {mail.subject}\n\n{mail.text.strip()}")
        console.print(Panel(text))


def two_of(mails: Sequence[Mail]) -> list[Mail]:
    """Choose short mails, told apart by more than who is named in them."""
    by_shape = {len(mail.text.splitlines()): mail for mail in mails}
    return [by_shape[lines] for lines in sorted(by_shape)[:2]]


def tell_where(ready: Ready) -> None:
    """Print where to look on, until the demo is ended."""
    Console().print(
        f"The API listens on {ready.api}, the mails lie in {ready.mail_dir}. Ctrl-C ends all.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
