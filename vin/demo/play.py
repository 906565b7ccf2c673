"""The play: everyone registers, and every expected match is waited for on both sides."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable

from vin.client.client import today_here
from vin.demo import report
from vin.demo.mails import Mail, MailBox
from vin.demo.oracle import expected_matches
from vin.demo.population import make_region
from vin.demo.report import Result
from vin.demo.server import Ready
from vin.demo.truth import Unit
from vin.demo.vendors import connected, read_matches, register_all, register_reporters
from vin.demo.verdict import Truth, Verdict, judge

PATIENCE_SECONDS = 30
POLL_SECONDS = 0.1
SETTLE_SECONDS = 0.5
SIDES = 2


async def play(ready: Ready, families: int, seed: int) -> tuple[Result, list[Mail]]:
    """Play a region; return what happened, and all mails."""
    region = make_region(seed, families, _units(ready), today_here())
    expected = expected_matches(region.involvements)
    box = MailBox(ready.mail_dir)
    started = time.monotonic()
    async with connected(ready) as clients:
        with report.progress() as bars:
            bar = bars.add_task("signals", total=len(region.involvements))
            await register_reporters(clients, region.reporters)
            signals = await register_all(clients, region, lambda: bars.advance(bar))
            truth = Truth(signals, expected, {each.id: each for each in region.reporters})
            bar = bars.add_task("matches told", total=SIDES * len(expected))
            await until_told(
                box, SIDES * len(expected), lambda done: bars.update(bar, completed=done)
            )
        seconds = time.monotonic() - started
        await asyncio.sleep(SETTLE_SECONDS)  # what should not come may show itself
        matches = await read_matches(clients)
    mails = box.mails()
    verdict = judge(truth, matches, mails)
    return result_of(truth, verdict, len(mails), seconds), mails


def _units(ready: Ready) -> list[Unit]:
    return [Unit(number, each.organisation, each.unit) for number, each in enumerate(ready.clients)]


async def until_told(
    box: MailBox,
    sides: int,
    advance: Callable[[int], None],
    patience_seconds: float = PATIENCE_SECONDS,
) -> None:
    """Wait until as many sides are told as should be, or nothing more has come for long."""
    told, still_since = 0, time.monotonic()
    while told < sides and time.monotonic() - still_since < patience_seconds:
        await asyncio.sleep(POLL_SECONDS)
        now_told = sum(len(mail.numbers) for mail in box.mails())
        if now_told > told:
            told, still_since = now_told, time.monotonic()
            advance(told)


def result_of(truth: Truth, verdict: Verdict, mails: int, seconds: float) -> Result:
    """Put together what is told of a play."""
    return Result(
        signals=len(truth.signals),
        matches=verdict.kinds,
        expected=Counter(truth.expected.values()),
        mails=mails,
        missed=verdict.missed,
        unexpected=verdict.unexpected,
        seconds=seconds,
    )
