"""Plants faults, one at a time, in a copy of the tree, and runs the tests that must find them.

Prints a line for each fault with the tests that caught it. Fails when a test that must catch
it does not, when a fault no longer fits the code, or when a test fails without any.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
LIMIT_SECONDS = 600

MACHINE = "tests/vin/test_life_machine.py"
ORDERS = "tests/vin/test_life_interleavings.py"
ARRIVALS = "tests/vin/test_interleavings.py"
CARRIED = "tests/vin/test_carried.py"
RULES = "tests/matching/test_rules.py"
RETENTION = "tests/vin/test_retention.py"

Edit = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, by which edits of (file, old text, new text), and who must notice."""

    name: str
    edits: Sequence[Edit]
    caught_by: Sequence[str]


FAULTS = [
    Fault(
        "a cursor over ids instead of claimed rows",
        [
            (
                "matching/store.py",
                "                 FROM matching.match_queue\n                ORDER BY id\n",
                "                 FROM matching.match_queue\n"
                "                WHERE id > $2\n"
                "                ORDER BY id\n",
            ),
            (
                "matching/store.py",
                "        RETURNING signal_id\n",
                "        RETURNING id, signal_id\n",
            ),
            (
                "matching/store.py",
                "        limit,\n    )\n    return sorted(",
                "        limit,\n        CURSOR[-1],\n    )\n"
                '    CURSOR.extend(sorted(row["id"] for row in rows))\n'
                "    return sorted(",
            ),
            (
                "matching/store.py",
                "async def claim_queued(",
                "CURSOR = [0]\n\n\nasync def claim_queued(",
            ),
        ],
        [ARRIVALS],
    ),
    Fault(
        "partners are looked up before the claim",
        [
            (
                "vin/matches.py",
                "    claimed = await store.claim_queued(db, limit)\n",
                '    rows = await db.fetch("SELECT signal_id FROM matching.match_queue")\n'
                '    early = await store.select_candidates(db, [row["signal_id"] for row in rows])\n'
                "    claimed = await store.claim_queued(db, limit)\n",
            ),
            (
                "vin/matches.py",
                "    made = await make_matches(db, claimed, policy, now)\n",
                "    early = [pair for pair in early if pair[0] in claimed]\n"
                "    made = await make_matches(db, early, policy, now)\n",
            ),
            (
                "vin/matches.py",
                "    candidates = await store.select_candidates(db, claimed)\n",
                "    candidates = claimed\n",
            ),
        ],
        [ARRIVALS],
    ),
    Fault(
        "signals are read without locking them",
        [("matching/store.py", "         ORDER BY id\n           FOR SHARE\n", "")],
        [ORDERS],
    ),
    Fault(
        "what the matcher saw before it waited for a lock counts as live",
        [("matching/store.py", "status = 'live' AS live,", "true AS live,")],
        [ORDERS, MACHINE],
    ),
    Fault(
        "a withdrawal leaves its matches to a later commit",
        [
            (
                "vin/signals.py",
                'numbers = await store.end_matches(db, request.signal, "closed")',
                "numbers: list[str] = []",
            )
        ],
        [ORDERS, MACHINE],
    ),
    Fault(
        "no re-check at send",
        [
            (
                "vin/notices.py",
                "return [side for side in sides if side.status is Status.OPEN]",
                "return [replace(side, status=Status.OPEN) for side in sides]",
            ),
            (
                "vin/notices.py",
                "from uuid import UUID\n",
                "from dataclasses import replace\nfrom uuid import UUID\n",
            ),
        ],
        [ORDERS, MACHINE],
    ),
    Fault(
        "the re-check at send holds nothing",
        [
            (
                "vin/notices.py",
                "    await match_store.share_legs(db, [match for match, _ in keys])\n",
                "",
            )
        ],
        [ORDERS],
    ),
    Fault(
        "household is transitive",
        [
            (
                "matching/rules.py",
                "    return sorted(found.values(), key=",
                "    for one, other in [(a, b) for a in found.values() for b in found.values()]:\n"
                "        ends = {one.signal_a, one.signal_b} ^ {other.signal_a, other.signal_b}\n"
                "        if len(ends) == 2:\n"
                "            a, b = sorted(ends, key=lambda signal: signal.id)\n"
                "            if are_strangers(a, b):\n"
                "                found[a.id, b.id] = Match(signal_a=a, signal_b=b, kind=one.kind)\n"
                "    return sorted(found.values(), key=",
            )
        ],
        [MACHINE, RULES],
    ),
    Fault(
        "a date begins at midnight UTC",
        [("schemas/dates.py", "return at.astimezone(LOCAL).date()", "return at.date()")],
        [MACHINE, RETENTION],
    ),
    Fault(
        "a hub counts from when the matcher noticed",
        [("matching/hub_store.py", "[hubs[token] for token in tokens],", "[at for _ in tokens],")],
        [MACHINE],
    ),
    Fault(
        "a match made before its key was a hub is undone by it",
        [
            (
                "matching/rules.py",
                "        if not both_since(a, b, token) <= matched_at < hubs[token].recorded_at\n",
                "",
            )
        ],
        [MACHINE],
    ),
    Fault(
        "a notice for each match instead of one for each reporter",
        [
            (
                "vin/matches.py",
                "sides[signal.reporter].append(",
                "sides[signal.reporter, each.id].append(",
            ),
            ("vin/matches.py", "for reporter, matches in", "for (reporter, _), matches in"),
        ],
        [MACHINE],
    ),
    Fault(
        "an unjustified signal can still be found",
        [
            (
                "vin/signals.py",
                "tokens = await store.delete_tokens(db, request.signal)",
                "tokens: list[UUID] = []",
            )
        ],
        [MACHINE, RETENTION],
    ),
    Fault(
        "the archive counts from the sweep",
        [
            (
                "vin/retention.py",
                "[archive_end(day) for _, day in due],",
                "[archive_end(local_date(now)) for _ in due],",
            )
        ],
        [MACHINE],
    ),
    Fault(
        "who matched before is told of history",
        [
            (
                "vin/matches.py",
                "        history = await history_store.leave_out_matched(db, history)\n",
                "",
            )
        ],
        [MACHINE],
    ),
    Fault(
        "one person with two employers matches with himself",
        [("matching/rules.py", "        and a.persons.isdisjoint(b.persons)\n", "")],
        [MACHINE],
    ),
    Fault(
        "a death takes the signal that was named, and no other",
        [
            (
                "vin/retention.py",
                "    signals = await lock(db, {signal, *same})\n",
                "    signals = await lock(db, {signal} if same else set())\n",
            )
        ],
        [MACHINE, ORDERS],
    ),
    Fault(
        "a death does not look whether the number was found meanwhile",
        [
            (
                "vin/retention.py",
                "if await retention_store.select_child(db, signal) != child:",
                "if signal not in signals:",
            )
        ],
        [ORDERS],
    ),
    Fault(
        "who destroys does not wait for the matcher first",
        [("vin/retention.py", "    await retention_store.lock_queued(db, signals)\n", "")],
        [ORDERS],
    ),
    Fault(
        "the log keeps the notice of an erased side",
        [("vin/audit.py", " - 'signals' - 'signal' - 'notices'", " - 'signals' - 'signal'")],
        [MACHINE, RETENTION],
    ),
    Fault(
        "a hub outlives who carried it",
        [("vin/carried.py", "if await lock_kept(db, tokens):", "if not tokens:")],
        [MACHINE, CARRIED],
    ),
    Fault(
        "two who give up a token do not wait for each other",
        [
            (
                "vin/carried.py",
                "WHERE token = ANY($1) ORDER BY token FOR UPDATE",
                "WHERE token = ANY($1)",
            ),
            (
                "vin/carried.py",
                "WHERE child = ANY($1) ORDER BY child FOR UPDATE",
                "WHERE child = ANY($1)",
            ),
        ],
        [CARRIED],
    ),
    Fault(
        "two who empty a notice do not wait for each other",
        [
            (
                "notify/ledger.py",
                '         ORDER BY id\n           FOR UPDATE\n        """,\n        list(notices),',
                '        """,\n        list(notices),',
            )
        ],
        [ORDERS],
    ),
]


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "tree"
        shutil.copytree(ROOT, copy, ignore=LEFT_OUT)
        failed = failing(copy, sorted({each for fault in FAULTS for each in fault.caught_by}))
        if failed:
            print(f"without any fault these fail: {', '.join(failed)}")
            return 1
        return 0 if all([is_caught(copy, fault) for fault in FAULTS]) else 1  # noqa: C419 - all are tried


def is_caught(copy: Path, fault: Fault) -> bool:
    """Plant a fault, tell who caught it, and take it out again."""
    began = time.monotonic()
    before = {path: (copy / path).read_text() for path, _, _ in fault.edits}
    try:
        for path, old, new in fault.edits:
            text = (copy / path).read_text()
            if text.count(old) != 1:
                print(f"{fault.name}: no longer fits {path}", flush=True)
                return False
            (copy / path).write_text(text.replace(old, new))
        caught_by = failing(copy, fault.caught_by)
    finally:
        for path, text in before.items():
            (copy / path).write_text(text)
    missed_by = [each for each in fault.caught_by if each not in caught_by]
    told = f"caught by {', '.join(map(short, caught_by))}" if caught_by else "NOT CAUGHT"
    if caught_by and missed_by:
        told += f", MISSED by {', '.join(map(short, missed_by))}"
    print(f"{fault.name}: {told} ({time.monotonic() - began:.0f} s)", flush=True)
    return not missed_by


def failing(copy: Path, tests: Sequence[str]) -> list[str]:
    """Which of these files of tests have one that fails."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-rfE", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, *tests],
        cwd=copy,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    files = {
        line.split()[1].split("::")[0]
        for line in re.findall(r"(?m)^(?:FAILED|ERROR) .*$", ran.stdout)
    }
    if ran.returncode and not files:
        sys.exit(ran.stdout + ran.stderr)
    return [each for each in tests if each in files]


def short(path: str) -> str:
    return Path(path).stem


if __name__ == "__main__":
    sys.exit(main())
