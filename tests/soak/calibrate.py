"""Makes each of `faults`, one at a time, in a copy of the tree, and runs the tests that must fail.

`scripts/soak calibrate [PART ...]` makes those whose names hold one of the parts, or all. Prints
a line for each fault with who caught it. Fails when somebody who must did not, when a fault does
not fit the code any more, and when a test fails without any.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.soak.faults import FAULTS, Edit, Fault

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info")
PYTEST = (
    "-B",
    "-m",
    "pytest",
    "-q",
    "-x",
    "-p",
    "no:cacheprovider",
    "-o",
    "faulthandler_timeout=0",
)
LIMIT_SECONDS = 900
ONE_FAILED = 1
# As many random acts find what the few of an ordinary run do not.
STEPS = "5000"
SEED = "20261122"


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak calibrate")
    parser.add_argument("parts", nargs="*", metavar="PART")
    parts = parser.parse_args().parts or [""]
    faults = [fault for fault in FAULTS if any(part in fault.name for part in parts)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
        failing = run_tests(tree, sorted({each for fault in faults for each in fault.caught_by}))
        if failing:
            print(f"without any fault these fail: {names(failing)}")
            return 1
        missed = [fault for fault in faults if not is_caught(tree, fault)]
    print(f"{len(faults) - len(missed)} of {len(faults)} faults are caught")
    return 1 if missed else 0


def is_caught(tree: Path, fault: Fault) -> bool:
    """Make a fault, tell who caught it, and take it out again."""
    misfits = [each.path for each in fault.edits if text_of(tree, each).count(each.old) != 1]
    if misfits:
        print(f"{fault.name}: fits no more into {names(misfits)}", flush=True)
        return False
    began = time.monotonic()
    with made(tree, fault.edits):
        caught_by = run_tests(tree, fault.caught_by)
    missed_by = [each for each in fault.caught_by if each not in caught_by]
    told = [
        f"{verb} {names(who)}"
        for verb, who in (("caught by", caught_by), ("MISSED by", missed_by))
        if who
    ]
    print(f"{fault.name}: {', '.join(told)} ({time.monotonic() - began:.0f} s)", flush=True)
    return not missed_by


@contextmanager
def made(tree: Path, edits: Sequence[Edit]) -> Iterator[None]:
    """The tree with these edits, as long as this lasts."""
    before = {each.path: text_of(tree, each) for each in edits}
    try:
        for each in edits:
            (tree / each.path).write_text(text_of(tree, each).replace(each.old, each.new))
        yield
    finally:
        for path, text in before.items():
            (tree / path).write_text(text)


def text_of(tree: Path, edit: Edit) -> str:
    return (tree / edit.path).read_text()


def run_tests(tree: Path, files: Sequence[str]) -> list[str]:
    """The files of which a test fails."""
    return [each for each in files if not passes(tree, each)]


def passes(tree: Path, file: str) -> bool:
    """Whether all tests of a file pass in time; what keeps them from running ends this process."""
    try:
        ran = subprocess.run(
            [sys.executable, *PYTEST, f"--hypothesis-seed={SEED}", file],
            cwd=tree,
            env=os.environ | {"SOAK_STEPS": STEPS},
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return False
    if ran.returncode not in {0, ONE_FAILED}:
        sys.exit(ran.stdout + ran.stderr)
    return ran.returncode == 0


def names(files: Sequence[str]) -> str:
    return ", ".join(Path(each).stem for each in files)


if __name__ == "__main__":
    sys.exit(main())
