"""The bounded version of `scripts/soak delivery`: seconds instead of minutes, shorter leases."""

import os
import secrets
from dataclasses import replace
from pathlib import Path

import pytest

from tests.soak.delivery import SHORT, run
from tests.soak.trouble import Policy


@pytest.mark.parametrize("policy", ["resend", "hold"])
async def test_whatever_fails_no_mail_is_lost_or_doubled_in_silence(
    policy: Policy, tmp_path: Path
) -> None:
    seed = int(os.environ.get("SOAK_SEED") or secrets.randbelow(2**32))

    result = await run(replace(SHORT, policy=policy, seed=seed), tmp_path)

    told = f"SOAK_SEED={seed} plays it again: {result}"
    assert (result.broken, result.lost, result.unflagged) == ([], 0, 0), told
    assert result.deliveries >= SHORT.deliveries, told
    assert policy == "resend" or result.duplicates == 0, told
