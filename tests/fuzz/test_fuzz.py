"""Whatever happens to a file, it is read, or refused with a fix; nothing else. A slice of what
`python -m tests.fuzz` does for as long as one likes.
"""

import pytest

from tests.fuzz.targets import TARGETS
from tests.fuzz.walk import walk


@pytest.mark.parametrize("name", TARGETS)
def test_damage_is_refused_or_harmless(tmp_path, name) -> None:
    tally = walk(name, tmp_path, count=60)
    assert not tally.findings, "\n".join(tally.findings)
    assert tally.files == 60 and tally.refused >= 10
