"""Every row of the corpus is refused or accepted as written, names file and fix, and leaves the
input as it was.
"""

import hashlib
import re
import resource
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fewmask.core.errors import FewmaskError
from fewmask.io.nifti import read_grid, read_labels, read_volume
from fewmask.io.same_grid import check_same_grid

from .corpus import LABELS, ROWS, VOXELS, Row, nifti_bytes, pack


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_row(row: Row, tmp_path: Path) -> None:
    path = row.make(tmp_path)
    before = _state(tmp_path)
    started = time.monotonic()
    if row.error is None:
        notes = " ".join(read_row(row, path))
        assert all(word in notes for word in row.words), notes
        assert bool(notes) == bool(row.words), notes
    else:
        with pytest.raises(FewmaskError) as caught:
            read_row(row, path)
        error, text = caught.value, str(caught.value)
        assert type(error) is row.error
        assert error.exit_code == row.error.exit_code == 3
        assert error.code == (row.says or row.id)
        assert all(word in text for word in row.words), text
        assert path.name in text
        assert error.fix
        assert "fix: " in text
    assert time.monotonic() - started < 5
    assert _state(tmp_path) == before


def test_bomb_is_not_unpacked(tmp_path: Path) -> None:
    row = next(row for row in ROWS if row.id == "N07")
    path = row.make(tmp_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(FewmaskError):
        read_volume(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 32 * 1024


def test_row_ids_are_unique_and_files_small(tmp_path: Path) -> None:
    assert len({row.id for row in ROWS}) == len(ROWS)
    total = 0
    for row in ROWS:
        folder = tmp_path / row.id
        folder.mkdir()
        row.make(folder)
        total += sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
    assert total < 2 * 2**20


@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6),
    st.booleans(),
    st.sampled_from([VOXELS, VOXELS.astype(np.float32), LABELS]),
)
def test_mutated_headers_raise_nothing_else(
    tmp_path: Path, changes: list[tuple[int, int]], packed: bool, array: np.ndarray
) -> None:
    data = bytearray(nifti_bytes(array))
    for index, value in changes:
        data[index] = value
    path = tmp_path / ("case.nii.gz" if packed else "case.nii")
    path.write_bytes(pack(bytes(data)) if packed else bytes(data))
    for read in (read_grid, read_volume, read_labels):
        try:
            read(path)
        except FewmaskError as error:
            assert path.name in str(error)
            assert error.fix


def read_row(row: Row, path: Path) -> tuple[str, ...]:
    if row.reads == "labels":
        return read_labels(path, row.options).notes
    if row.reads == "pair":
        mask = path.with_name("mask.nii")
        return check_same_grid(read_grid(path), read_grid(mask), path, mask)
    return read_volume(path, row.options).notes


def _state(folder: Path) -> dict[str, tuple[int, str]]:
    files = sorted(path for path in folder.iterdir() if not path.is_symlink() and path.is_file())
    return {
        path.name: (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in files
    }


def test_the_page_of_errors_is_current() -> None:
    """docs/errors.md says what is said; numbers of bytes depend on the machine's zlib and are left
    aside.
    """
    from tests.faults.page import PAGE, render

    def words(text: str) -> str:
        return re.sub(r"[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?", "#", text)

    assert words(PAGE.read_text()) == words(render()), "run `python -m tests.faults.page`"


def test_every_code_of_the_source_is_on_the_page() -> None:
    """Codes are read as texts, whatever raises them: a code that the table lost is found here."""
    from tests.faults import codes
    from tests.faults.page import PAGE
    from tests.source import SOURCE

    used = {
        code
        for path in SOURCE.rglob("*.py")
        for code in re.findall(r'"([NMDSCFHWX]\d\d)[":]', path.read_text(encoding="utf-8"))
    }
    listed = set(re.findall(r"^\| ([A-Z]\d\d) \| [^|]+ \| `", PAGE.read_text(), re.M))
    assert used and used <= listed and {code[0] for code in used} <= set(codes.LETTERS)
    (config,) = [line for line in PAGE.read_text().splitlines() if line.startswith("| C01 | ")]
    assert "unknown key ... in ..." in config and "`core/config.py`" in config
