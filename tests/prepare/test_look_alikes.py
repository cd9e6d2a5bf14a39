"""S02: a scan saved again with other grey levels and some noise is told; others are not."""

from dataclasses import replace

import numpy as np

from fewmask.core.budget import Split
from fewmask.core.volume import Volume
from fewmask.io.nifti import read_labels, read_volume, write_labels, write_volume
from fewmask.io.prepared import CaseRow, write_split
from fewmask.prepare.build import prepare
from fewmask.prepare.look_alikes import look_alikes
from fewmask.prepare.options import PrepareOptions
from tests.prepare.test_splits import case_row
from tests.scans import write_scans


def test_s02_a_scan_saved_again_is_told(tmp_path) -> None:
    data = tmp_path / "scans"
    write_scans(data, 6)
    for case in ("case_01", "case_02", "case_04"):  # toys that are too much alike
        for part in ("images", "labels"):
            (data / part / f"{case}.nii.gz").unlink()
    scan = read_volume(data / "images" / "case_00.nii.gz")
    noise = np.random.default_rng(0).normal(0, 3, scan.voxels.shape)
    copy = Volume(np.round(scan.voxels * 1.01 + 5 + noise).astype(np.int16), scan.grid, 1.0, 0.0)
    write_volume(data / "images" / "other.nii.gz", copy)
    labels = read_labels(data / "labels" / "case_00.nii.gz")
    write_labels(data / "labels" / "other.nii.gz", labels)
    options = PrepareOptions({"liver": (6,)}, recipe="ct", masks="complete", jobs=1)
    for test, told in (("other", True), ("case_05", False)):
        train = tuple({"case_00", "case_03", "case_05", "other"} - {test})
        write_split(tmp_path / "split.toml", Split(train, (), (test,)))
        chosen = {**vars(options), "split": tmp_path / "split.toml"}
        summary = prepare(data, tmp_path / "out", PrepareOptions(**chosen))
        lines = [note for note in summary.notes if note.startswith("S02")]
        assert [line[:45] for line in lines] == (
            ["S02: case_00 (train) looks like other (test):"[:45]] if told else []
        )


def rows_alike(count: int, twins: dict[int, int]) -> dict[str, CaseRow]:
    """`count` scans of noise; those of `twins` look like another one."""
    pictures = np.random.default_rng(0).integers(0, 256, (count, 3 * 144), np.uint8)
    for one, other in twins.items():
        pictures[one] = pictures[other]
    cases = [f"c{n:03}" for n in range(count)]
    return {
        case: replace(case_row(case, case), thumbnails=picture.tobytes().hex())
        for case, picture in zip(cases, pictures, strict=True)
    }


def test_twins_are_found_however_many_scans_lie_between() -> None:
    rows = rows_alike(600, {599: 3, 300: 299, 7: 6, 250: 10})
    cases = list(rows)
    split = Split(tuple(cases[:260]), (), tuple(cases[260:]))
    found = [line.split(":")[1][:41] for line in look_alikes(rows, split)]
    assert found == [" c003 (train) looks like c599 (test)"], "of different parts only"


def test_of_thousands_of_pairs_a_hundred_are_named() -> None:
    rows = rows_alike(60, dict.fromkeys(range(60), 0))
    cases = list(rows)
    lines = list(look_alikes(rows, Split(tuple(cases[:30]), (), tuple(cases[30:]))))
    assert len(lines) == 101 and lines[-1].startswith("S02: 800 more pairs")
