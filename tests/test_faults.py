"""The faults that `scripts/soak calibrate` makes can be made in the code as it is."""

from pathlib import Path

import pytest

from tests.soak.faults import FAULTS, Fault

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_each_fault_fits_into_one_place_and_is_looked_for(fault: Fault) -> None:
    for edit in fault.edits:
        text = (ROOT / edit.path).read_text()
        assert text.count(edit.old) == 1
        assert edit.new != edit.old
    assert all((ROOT / file).is_file() for file in fault.caught_by)
