"""The README's Python lines work as they stand, with two steps instead of ten minutes."""

import re
import shutil
from pathlib import Path

import pytest

from tests.scans import write_scans

README = Path(__file__).parents[1] / "README.md"


def test_python_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cases = write_scans(tmp_path / "scans")
    shutil.copy(tmp_path / "scans" / "images" / f"{cases[0]}.nii.gz", tmp_path / "new_scan.nii.gz")
    (tmp_path / "tags.csv").write_text(
        "case,first_slice,last_slice\n" + "".join(f"{case},2,5\n" for case in cases)
    )
    (lines,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.S)
    changed = lines.replace(": 1}", ": 6}").replace("minutes=10", "steps=2")
    assert changed.count(": 6}") == changed.count("steps=2") == 1
    check = "\nassert mask.voxels.shape == (8, 32, 32), mask.voxels.shape\n"
    check += "from fewmask.io.nifti import read_labels\nfrom pathlib import Path\n"
    check += "assert (read_labels(Path('new_mask.nii.gz')).voxels == mask.voxels).all()\n"
    monkeypatch.chdir(tmp_path)
    exec(compile(changed + check, "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102
    assert len((tmp_path / "prepared" / "tags.csv").read_text().splitlines()) == 1 + len(cases)
