"""Whatever happens to a file, it is read, or refused with a fix; nothing else. A slice of what
`python -m tests.fuzz` does for as long as one likes.
"""

import pytest

from tests.fuzz.targets import TARGETS
from tests.fuzz.walk import walk


@pytest.mark.parametrize(
    "name",
    # Damaged files can end a process inside the HDF5 library: never beside other tests.
    [pytest.param(name, marks=pytest.mark.slow) if name == "samix" else name for name in TARGETS],
)
def test_damage_is_refused_or_harmless(tmp_path, name) -> None:
    tally = walk(name, tmp_path, count=60)
    assert not tally.findings, "\n".join(tally.findings)
    assert tally.files == 60 and tally.refused >= 10
