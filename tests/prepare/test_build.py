"""A prepared dataset: what is kept, what is refused, what is re-used, and that the input is never
touched.
"""

import csv
import gzip
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest

from fewmask.core.budget import Split
from fewmask.core.errors import BadConfig, BadDataset, Interrupted, NoRoom
from fewmask.core.progress import ProgressEvent
from fewmask.core.volume import LabelMap
from fewmask.io.atomic import is_alive
from fewmask.io.nifti import ReadOptions, read_labels, read_volume, write_labels, write_volume
from fewmask.io.prepared import Prepared, ranges, write_split
from fewmask.io.text import write_json
from fewmask.prepare import build, reading
from fewmask.prepare.build import prepare
from fewmask.prepare.check import check, copy_header
from fewmask.prepare.discover import discover
from fewmask.prepare.options import PrepareOptions, ScanOptions
from fewmask.prepare.reading import read_pair
from tests.narrow import Settings
from tests.scans import prepare_scans, write_scans

LIVER = {"liver": (6,)}
PARTS = ("images", "labels")


def hashes(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(p): (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns)
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def options(**changes: Any) -> PrepareOptions:
    settings: Settings = {"labels": LIVER, "recipe": "ct", "masks": "complete", "jobs": 1}
    return PrepareOptions(**settings | changes)


def test_store_holds_the_scan_exactly(tmp_path) -> None:
    prepared = prepare_scans(tmp_path)
    scan = read_volume(tmp_path / "scans" / "images" / "case_01.nii.gz")
    mask = read_labels(tmp_path / "scans" / "labels" / "case_01.nii.gz")
    with prepared.case("case_01") as file:
        stored = file.volume()
        assert stored.voxels.dtype == scan.voxels.dtype and np.array_equal(
            stored.voxels, scan.voxels
        )
        assert np.array_equal(stored.grid.affine, scan.grid.affine) and file.spacing_mm == (
            5.0,
            3.0,
            3.0,
        )
        assert np.array_equal(file.labels([3, 0]), (mask.voxels[[3, 0]] == 6).astype(np.uint8))
    row = prepared.cases["case_01"]
    assert (
        row.present == {"liver": [2, 3, 4, 5]}
        and row.counts == {"6": 12 * 12 * 4}
        and row.shape == (8, 32, 32)
    )
    assert prepared.recipe.resolved and (prepared.recipe.spacing_mm, prepared.recipe.size) == (
        3.0,
        64,
    )


def test_input_is_untouched_and_second_time_is_reuse(tmp_path) -> None:
    write_scans(tmp_path / "scans", 3)
    before = hashes(tmp_path / "scans")
    first = prepare(tmp_path / "scans", tmp_path / "out", options())
    cases = hashes(tmp_path / "out" / "cases")
    second = prepare(tmp_path / "scans", tmp_path / "out", options())
    assert (first.built, first.reused, second.built, second.reused) == (3, 0, 0, 3)
    assert hashes(tmp_path / "out" / "cases") == cases and hashes(tmp_path / "scans") == before
    write_volume(
        tmp_path / "scans" / "images" / "case_02.nii.gz",
        read_volume(tmp_path / "scans" / "images" / "case_01.nii.gz"),
    )
    assert prepare(tmp_path / "scans", tmp_path / "out", options()).built == 1


def test_another_grid_wants_no_scan_read_again(tmp_path) -> None:
    write_scans(tmp_path / "scans", 2)
    prepare(tmp_path / "scans", tmp_path / "out", options())
    again = prepare(tmp_path / "scans", tmp_path / "out", options(size=128))
    recipe = Prepared.open(tmp_path / "out").recipe
    # 32 pixels of 3 mm lie well inside 128 of them.
    assert (again.reused, recipe.size, recipe.spacing_mm) == (2, 128, 3.0)


@pytest.mark.parametrize("part", ["image", "label"])
def test_a_flipped_bit_in_the_store_is_found_and_rebuilt(tmp_path, part) -> None:
    write_scans(tmp_path / "scans", 2)
    prepare(tmp_path / "scans", tmp_path / "out", options())
    path = tmp_path / "out" / "cases" / "case_00.h5"
    whole = path.read_bytes()
    with h5py.File(path) as file:
        middle = file[part].id.get_chunk_info(3).byte_offset + 100
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    again = prepare(tmp_path / "scans", tmp_path / "out", options())
    assert (again.built, again.reused) == (1, 1)
    with Prepared.open(tmp_path / "out").case("case_00") as file:
        assert file.labels(range(8)).sum() == 12 * 12 * 4


def test_parallel_equals_serial(tmp_path, monkeypatch) -> None:
    write_scans(tmp_path / "scans", 4)
    monkeypatch.setattr(reading, "PROCESS_BYTES", 1)
    for name, jobs in (("one", 1), ("two", 2)):
        prepare(tmp_path / "scans", tmp_path / name, options(jobs=jobs))
    assert Prepared.open(tmp_path / "one").digest == Prepared.open(tmp_path / "two").digest
    assert (tmp_path / "one" / "dataset.json").read_bytes() == (
        tmp_path / "two" / "dataset.json"
    ).read_bytes()


def test_small_files_are_not_worth_a_process(tmp_path) -> None:
    """Of two pairs with 1.5 MB together, under the 4 MB of a second process; 9 MB; 21 MB."""
    for name in ("images", "labels"):
        (tmp_path / name).mkdir()
    for megabytes, processes in ((1.5, 1), (9, 3), (21, 5)):
        for case in ("a", "b"):
            for name in ("images", "labels"):
                part = int(megabytes * 2**20 / 4)
                (tmp_path / name / f"{case}.nii.gz").write_bytes(bytes(part))
        pairs = discover(tmp_path).pairs
        assert reading.processes_for(pairs, options(jobs=5)) == processes
        assert reading.processes_for(pairs, options(jobs=1)) == 1
    (tmp_path / "labels" / "b.nii.gz").unlink()
    assert reading.processes_for(pairs, options(jobs=5)) == 3, "10.5 MB: what a pair has is told"


def test_bad_cases_are_listed_and_the_others_are_the_same(tmp_path) -> None:
    write_scans(tmp_path / "scans", 3)
    prepare(tmp_path / "scans", tmp_path / "clean", options())
    images, labels = tmp_path / "scans" / "images", tmp_path / "scans" / "labels"
    whole = (images / "case_00.nii.gz").read_bytes()
    (images / "x_cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    shutil.copy(images / "case_00.nii.gz", images / "x_grid.nii.gz")
    mask = read_labels(labels / "case_00.nii.gz")
    moved = mask.grid.affine.copy()
    moved[2, 3] += 40
    write_labels(
        labels / "x_grid.nii.gz",
        LabelMap.from_file_order(mask.grid.orientation.undo(mask.voxels), moved),
    )
    summary = prepare(tmp_path / "scans", tmp_path / "mixed", options())
    assert {line["case"]: line["code"] for line in summary.refused} == {
        "x_cut": "N01",
        "x_grid": "M03",
    }
    assert all(line["fix"] for line in summary.refused)
    for case in ("case_00", "case_01", "case_02"):
        assert (tmp_path / "clean" / "cases" / f"{case}.h5").read_bytes() == (
            tmp_path / "mixed" / "cases" / f"{case}.h5"
        ).read_bytes()
    report = check(tmp_path / "scans", options())
    assert {problem["case"]: problem["code"] for problem in report.problems} == {
        "x_cut": "N01",
        "x_grid": "M03",
    }
    assert [case.outlined for case in report.cases] == [4, 4, 4]
    mended = copy_header(tmp_path / "scans", "x_grid", tmp_path / "fixed")
    assert np.allclose(
        read_labels(mended).grid.affine, read_volume(images / "x_grid.nii.gz").grid.affine
    )


@pytest.mark.parametrize("stored", ["without header", "elsewhere", "turned", "other axes"])
def test_the_way_that_a_message_about_a_mask_leads(tmp_path, stored) -> None:
    """A copy under the scan's header where that turns nothing; else nothing of the kind."""
    write_scans(tmp_path / "scans", 1)
    path = tmp_path / "scans" / "labels" / "case_00.nii.gz"
    mask = read_labels(path)
    voxels, affine = mask.to_file_order(), mask.grid.affine.copy()
    if stored == "elsewhere":
        affine[:3, 3] += 50
    if stored == "turned":  # in storage alone: it lies where it lay
        affine[:3, 3] += affine[:3, 0] * (len(voxels) - 1)
    if stored in ("turned", "other axes"):
        affine[:3, 0] *= -1
    image = nib.Nifti1Image(voxels[::-1] if stored == "turned" else voxels, affine)
    if stored == "without header":
        image = nib.Nifti1Image(voxels, None)
    nib.save(image, path)
    report = check(tmp_path / "scans", options())
    if stored == "turned":
        assert not report.problems and report.cases[0].outlined == 4
    else:
        (problem,) = report.problems  # and not that no label map holds liver=6
        command = "`fewmask check DATA copy_header=case_00 out=masks_fixed`"
        assert (command in problem["fix"]) == (stored != "other axes")
    if stored == "other axes":
        with pytest.raises(BadDataset, match="header cannot mend"):
            copy_header(tmp_path / "scans", "case_00", tmp_path / "fixed")
        assert not (tmp_path / "fixed").exists()
    else:
        copy = read_labels(copy_header(tmp_path / "scans", "case_00", tmp_path / "fixed"))
        assert np.array_equal(copy.to_file_order(), voxels)
        assert np.allclose(copy.grid.affine, mask.grid.affine)


def test_nothing_is_written_into_or_over_what_is_not_ours(tmp_path) -> None:
    write_scans(tmp_path / "scans", 2)
    with pytest.raises(BadConfig, match="inside the input folder"):
        prepare(tmp_path / "scans", tmp_path / "scans" / "out", options())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    with pytest.raises(BadConfig, match="other files"):
        prepare(tmp_path / "scans", tmp_path / "mine", options())
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_a_label_that_is_nowhere_is_named(tmp_path) -> None:
    write_scans(tmp_path / "scans", 2)
    with pytest.raises(BadDataset, match="liver=5") as caught:
        prepare(tmp_path / "scans", tmp_path / "out", options(labels={"liver": (5,)}))
    assert "6" in str(caught.value) and not (tmp_path / "out" / "dataset.json").exists()


def test_unknown_is_not_background(tmp_path) -> None:
    """Partial masks: reviewed are the outlined slices and those the person lists; complete masks:
    all.
    """
    write_scans(tmp_path / "scans", 2)
    (tmp_path / "reviewed.csv").write_text("case,first_slice,last_slice\ncase_00,0,1\n")
    prepare(
        tmp_path / "scans",
        tmp_path / "out",
        options(masks="partial", reviewed=tmp_path / "reviewed.csv"),
    )
    prepared = Prepared.open(tmp_path / "out")
    assert prepared.reviewed == {"case_00": frozenset(range(6)), "case_01": frozenset({2, 3, 4, 5})}
    assert not prepared.cases["case_00"].complete and prepared.split.test == ()
    with (tmp_path / "out" / "reviewed.csv").open() as file:
        assert list(csv.reader(file))[1:] == [["case_00", "0", "5"], ["case_01", "2", "5"]]


def test_tags_count_along_the_files_own_axis(tmp_path) -> None:
    """A scan stored from head to feet: slice 0 of the file is d = 7."""
    write_scans(tmp_path / "scans", 2)
    ways: list[tuple[str, Callable[[Path], Any], Callable[[Path, Any], object]]] = [
        ("images", read_volume, write_volume),
        ("labels", read_labels, write_labels),
    ]
    for name, read, write in ways:
        path = tmp_path / "scans" / name / "case_01.nii.gz"
        thing = read(path)
        array = thing.grid.orientation.undo(thing.voxels)[:, :, ::-1]
        affine = thing.grid.affine.copy()
        affine[:3, 3] += 7 * affine[:3, 2]
        affine[:3, 2] *= -1
        write(path, type(thing).from_file_order(np.ascontiguousarray(array), affine))
    (tmp_path / "tags.csv").write_text(
        "case,first_slice,last_slice\ncase_00,1,5\ncase_01,2,6\nother,0,1\n"
    )
    summary = prepare(tmp_path / "scans", tmp_path / "out", options(tags=tmp_path / "tags.csv"))
    prepared = Prepared.open(tmp_path / "out")
    assert prepared.tags == {"case_00": {"liver": (1, 5)}, "case_01": {"liver": (1, 5)}}
    assert [prepared.tag("case_01", d) for d in (0, 1, 5, 6)] == [[0], [1], [1], [0]]
    assert any("no case is called other" in note for note in summary.notes)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("case_00,3,99", "0..7"),
        ("case_00,5,3", "first before last"),
        ("case_00,x,3", "whole numbers"),
        ("case_00,4,5", "outside its tag"),
    ],
)
def test_bad_tags_are_refused_by_line(tmp_path, line, words) -> None:
    write_scans(tmp_path / "scans", 2)
    (tmp_path / "tags.csv").write_text(f"case,first_slice,last_slice\n{line}\n")
    with pytest.raises(BadDataset) as caught:
        prepare(tmp_path / "scans", tmp_path / "out", options(tags=tmp_path / "tags.csv"))
    assert words in str(caught.value) and "case_00" in str(caught.value)


def test_one_patient_in_two_parts_is_refused(tmp_path) -> None:
    write_scans(tmp_path / "scans", 3)
    write_split(tmp_path / "split.toml", Split(("case_00", "case_01"), (), ("case_02",)))
    (tmp_path / "patients.csv").write_text("case,patient\ncase_00,a\ncase_01,b\ncase_02,a\n")
    with pytest.raises(BadDataset, match="patient a is in"):
        prepare(
            tmp_path / "scans",
            tmp_path / "out",
            options(split=tmp_path / "split.toml", patients=tmp_path / "patients.csv"),
        )


def test_the_same_scan_under_two_names_is_refused_across_parts(tmp_path) -> None:
    write_scans(tmp_path / "scans", 3)
    for name in ("images", "labels"):
        shutil.copy(
            tmp_path / "scans" / name / "case_00.nii.gz", tmp_path / "scans" / name / "copy.nii.gz"
        )
    write_split(tmp_path / "split.toml", Split(("case_00", "case_01"), (), ("case_02", "copy")))
    with pytest.raises(BadDataset, match="two parts") as caught:
        prepare(tmp_path / "scans", tmp_path / "out", options(split=tmp_path / "split.toml"))
    assert caught.value.code == "N44" and "case_00 (train) = copy (test)" in str(caught.value)


def test_drawn_split_keeps_twins_and_patients_together(tmp_path) -> None:
    write_scans(tmp_path / "scans", 10)
    summary = prepare(tmp_path / "scans", tmp_path / "out", options(patients=r"^(case_0)"))
    split = Prepared.open(summary.prepared).split
    assert split.test == () and len(split.train) == 10  # one patient: nothing can be kept aside
    split = Prepared.open(prepare(tmp_path / "scans", tmp_path / "out", options()).prepared).split
    assert len(split.test) == 3 and not set(split.train) & set(split.test)


def test_a_folder_that_was_never_finished_is_not_ready(tmp_path) -> None:
    prepared = prepare_scans(tmp_path)
    (prepared.folder / "dataset.json").unlink()
    with pytest.raises(BadDataset, match="not finished"):
        Prepared.open(prepared.folder)


def test_ranges() -> None:
    assert ranges([3, 1, 2, 7]) == [(1, 3), (7, 7)] and ranges([]) == []


def test_a_worker_that_dies_costs_nothing_but_time(tmp_path) -> None:
    """F05: a script without a main guard kills its own workers; the cases are then read in this
    process.
    """
    cases = write_scans(tmp_path / "scans", 3)
    script = tmp_path / "script.py"
    script.write_text(
        "from pathlib import Path\nfrom fewmask.prepare import reading\n"
        "reading.PROCESS_BYTES = 1\n"
        "from fewmask.prepare.build import prepare\n"
        "from fewmask.prepare.options import PrepareOptions\n"
        f"here = Path({str(tmp_path)!r})\n"
        "options = PrepareOptions(labels={'liver': (6,)}, jobs=2)\n"
        "print('built', prepare(here / 'scans', here / 'prepared', options).built)\n"
        "from fewmask.prepare.check import check\n"
        "print('checked', len(check(here / 'scans', options).cases))\n"
    )
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"built {len(cases)}\nchecked {len(cases)}\n" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.fixture
def two_organs(tmp_path):
    """Label 6 in slices 2 to 5 of each case, and of case_00 label 2 in its slice 0."""
    write_scans(tmp_path / "scans", 2)
    path = tmp_path / "scans" / "labels" / "case_00.nii.gz"
    mask = read_labels(path)
    voxels = mask.voxels.copy()
    voxels[0, 4:8, 4:8] = 2
    write_labels(path, LabelMap(voxels, mask.grid))
    return tmp_path / "scans"


def test_another_order_of_classes_is_another_dataset(two_organs, tmp_path) -> None:
    """Cases hold class numbers: used again under the other order, organs would have
    swapped names.
    """
    for labels in ({"liver": (6,), "kidney": (2,)}, {"kidney": (2,), "liver": (6,)}):
        summary = prepare(two_organs, tmp_path / "out", options(labels=labels))
        assert (summary.built, summary.reused) == (2, 0)
        assert Prepared.open(tmp_path / "out").cases["case_00"].present == {
            "liver": [2, 3, 4, 5],
            "kidney": [0],
        }


def test_what_a_data_set_calls_its_values_belongs_to_the_masks(two_organs, tmp_path) -> None:
    (two_organs / "images").rename(two_organs / "imagesTr")
    (two_organs / "labels").rename(two_organs / "labelsTr")
    for names, slices in (
        ({"1": "a", "2": "b", "6": "liver"}, [2, 3, 4, 5]),
        ({"1": "a", "2": "liver", "6": "b"}, [0]),
    ):
        write_json(two_organs / "dataset.json", {"labels": names})
        prepare(two_organs, tmp_path / "out", options(labels={"liver": ("liver",)}))
        assert Prepared.open(tmp_path / "out").cases["case_00"].outlined == slices


def test_the_voxels_of_a_pair_are_looked_at_too(tmp_path) -> None:
    write_scans(tmp_path / "scans", 2)
    path = tmp_path / "scans" / "labels" / "case_00.nii.gz"
    header = bytearray(gzip.decompress(path.read_bytes()))
    voxels, header = bytes(header[352:]), header[:348]
    header[344:348], header[108:112] = b"ni1\0", bytes(4)
    path.unlink()
    path.with_name("case_00.hdr").write_bytes(header)
    path.with_name("case_00.img").write_bytes(voxels)
    prepare(tmp_path / "scans", tmp_path / "out", options())
    before = Prepared.open(tmp_path / "out")
    path.with_name("case_00.img").write_bytes(voxels[: 4 * 32 * 32] + bytes(4 * 32 * 32))
    assert prepare(tmp_path / "scans", tmp_path / "out", options()).built == 1
    after = Prepared.open(tmp_path / "out")
    assert (len(before.cases["case_00"].outlined), len(after.cases["case_00"].outlined)) == (4, 2)
    assert before.digest != after.digest


def test_the_digest_says_what_masks_mean_and_how_large_voxels_are(two_organs, tmp_path) -> None:
    ways = [
        options(),
        options(labels={"liver": (2,)}),
        options(scans=ScanOptions(ReadOptions(spacing_mm=(1.5, 1.5, 5.0)))),
    ]
    digests = set()
    for index, way in enumerate(ways):
        prepare(two_organs, tmp_path / str(index), way)
        digests.add(Prepared.open(tmp_path / str(index)).digest)
    assert len(digests) == 3


def test_nothing_new_leaves_every_file_alone(tmp_path, monkeypatch) -> None:
    """Others may be reading: a sweep prepares at every start."""
    write_scans(tmp_path / "scans", 3)
    prepare(tmp_path / "scans", tmp_path / "out", options(tags="from-masks"))
    before, there = hashes(tmp_path / "out"), []
    manifest = tmp_path / "out" / "dataset.json"
    again = prepare(
        tmp_path / "scans",
        tmp_path / "out",
        options(tags="from-masks"),
        lambda *_: there.append(manifest.exists()),
    )
    assert again.reused == 3 and there == [True] * 3
    assert {
        path: value for path, value in hashes(tmp_path / "out").items() if "lock" not in path
    } == {path: value for path, value in before.items() if "lock" not in path}


def test_a_dataset_outlives_a_mistake_in_the_next_command(tmp_path) -> None:
    write_scans(tmp_path / "scans", 2)
    prepare(tmp_path / "scans", tmp_path / "out", options())
    write_split(tmp_path / "split.toml", Split(("case_00",), (), ("case_01",)))
    wrong = options(split=tmp_path / "split.toml", patients="^(case)")
    with pytest.raises(BadDataset):
        prepare(tmp_path / "scans", tmp_path / "out", wrong)
    assert set(Prepared.open(tmp_path / "out").cases) == {"case_00", "case_01"}


def write_wrong_tags(folder: Path) -> Path:
    """A mistake that shows only once the scans are read: how many slices they have."""
    path = folder / "wrong.csv"
    path.write_text("case,first_slice,last_slice\ncase_00,3,99\n")
    return path


def test_a_mistake_costs_no_scan_its_reading(tmp_path) -> None:
    """A new outline and a wrong tag in one command: the changed scan is read once."""
    write_scans(tmp_path / "scans", 3)
    prepare(tmp_path / "scans", tmp_path / "out", options())
    repaint(tmp_path / "scans" / "labels" / "case_01.nii.gz")
    wrong = write_wrong_tags(tmp_path)
    for _ in range(2):
        with pytest.raises(BadDataset, match="does not fit"):
            prepare(tmp_path / "scans", tmp_path / "out", options(tags=wrong))
        with pytest.raises(BadDataset, match="not finished"):
            Prepared.open(tmp_path / "out")
    summary = prepare(tmp_path / "scans", tmp_path / "out", options())
    assert (summary.built, summary.reused) == (0, 3)
    assert not (tmp_path / "out" / "earlier.json").exists()
    again = prepare(tmp_path / "scans", tmp_path / "anew", options())
    assert (
        again.built == 3
        and Prepared.open(tmp_path / "anew").digest == Prepared.open(tmp_path / "out").digest
    )


def test_what_was_taken_back_is_read_again(tmp_path) -> None:
    """The table from before tells of the mask as it is once more; the case file holds the one in
    between.
    """
    write_scans(tmp_path / "scans", 2)
    prepare(tmp_path / "scans", tmp_path / "out", options())
    digest, path = (
        Prepared.open(tmp_path / "out").digest,
        tmp_path / "scans" / "labels" / "case_01.nii.gz",
    )
    times, first = path.stat(), path.read_bytes()
    repaint(path)
    with pytest.raises(BadDataset):
        prepare(tmp_path / "scans", tmp_path / "out", options(tags=write_wrong_tags(tmp_path)))
    path.write_bytes(first)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert prepare(tmp_path / "scans", tmp_path / "out", options()).built == 1
    assert Prepared.open(tmp_path / "out").digest == digest


def test_a_drive_that_is_gone_does_not_shrink_a_dataset(tmp_path, monkeypatch) -> None:
    write_scans(tmp_path / "scans", 3)
    prepare(tmp_path / "scans", tmp_path / "out", options())
    before = Prepared.open(tmp_path / "out")
    monkeypatch.setattr(
        build, "stamp_of", lambda *_: (_ for _ in ()).throw(OSError(5, "Input/output error"))
    )
    with pytest.raises(NoRoom, match="no case can be used") as caught:
        prepare(tmp_path / "scans", tmp_path / "out", options())
    assert caught.value.code == "N47"
    whole = read_pair

    def some(pair, *rest):
        if pair.case == "case_02":
            raise NoRoom("Input/output error", fix="reconnect the drive", code="N47")
        return whole(pair, *rest)

    monkeypatch.undo()
    monkeypatch.setattr(build, "read_pair", some)
    assert Prepared.open(tmp_path / "out") == before
    repaint(tmp_path / "scans" / "labels" / "case_02.nii.gz")
    with pytest.raises(NoRoom, match="1 scan of the dataset cannot be read now") as caught:
        prepare(tmp_path / "scans", tmp_path / "out", options())
    assert "the same command again" in caught.value.fix
    assert Prepared.open(tmp_path / "out") == before


def test_what_a_killed_process_left_is_no_foreign_file(tmp_path) -> None:
    write_scans(tmp_path / "scans", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".tags.csv.999999999.part").write_text("half")
    assert prepare(tmp_path / "scans", tmp_path / "out", options()).built == 2


def test_a_scan_that_may_not_be_read_or_is_too_large_leaves_the_others_alone(
    tmp_path, monkeypatch
) -> None:
    write_scans(tmp_path / "scans", 4)
    whole = read_pair

    def some(pair, *rest):
        if pair.case in ("case_01", "case_02"):
            raise NoRoom("no", code={"case_01": "N47", "case_02": "F20"}[pair.case])
        return whole(pair, *rest)

    monkeypatch.setattr(build, "read_pair", some)
    summary = prepare(tmp_path / "scans", tmp_path / "out", options())
    assert summary.built == 2 and [line["code"] for line in summary.refused] == ["N47", "F20"]
    monkeypatch.setattr(
        build,
        "write_case",
        lambda *_: (_ for _ in ()).throw(NoRoom("the disk is full", code="F01")),
    )
    with pytest.raises(NoRoom, match="disk is full"):
        prepare(tmp_path / "scans", tmp_path / "new", options())


def test_scans_wider_than_the_grid_are_named_and_lose_nothing(tmp_path) -> None:
    """32 pixels of 30 mm are 549 of the grid's 224: three windows per axis."""
    write_scans(tmp_path / "scans", 2)
    wide = options(recipe="ct-liver", scans=ScanOptions(ReadOptions(spacing_mm=(30.0, 30.0, 5.0))))
    notes = prepare(tmp_path / "scans", tmp_path / "out", wide).notes
    [note] = [note for note in notes if "wider than the network's grid" in note]
    assert "up to 9 windows" in note and "case_00, case_01; `recipe=ct`" in note
    assert Prepared.open(tmp_path / "out").cases["case_00"].present == {"liver": [2, 3, 4, 5]}
    fits = prepare(tmp_path / "scans", tmp_path / "whole", options()).notes
    assert not any("windows" in note for note in fits)


def test_a_coronal_scan_is_pointed_out(tmp_path) -> None:
    """Voxels of 5 mm along the second axis of the file, which runs front to back."""
    write_scans(tmp_path / "scans", 1)
    for spacing, said in (
        ((0.8, 5.0, 0.8), "coronal"),
        ((5.0, 0.8, 0.8), "sagittal"),
        ((0.8, 0.8, 5.0), ""),
        ((1.0, 1.0, 1.0), ""),
    ):
        notes = check(
            tmp_path / "scans", options(scans=ScanOptions(ReadOptions(spacing_mm=spacing)))
        ).notes
        assert [
            word
            for word in ("coronal", "sagittal")
            if any(f"a {word} scan?" in note for note in notes)
        ] == [said] * bool(said)


def test_masks_of_a_type_that_is_not_read_are_named(tmp_path) -> None:
    write_scans(tmp_path / "scans", 2)
    assert not any("not read" in note for note in check(tmp_path / "scans", options()).notes)
    (tmp_path / "scans" / "labels" / "case_01.mgz").write_bytes(b"")
    (problem,) = check(tmp_path / "scans", options()).problems
    assert problem["what"] == "1 mask of a type that is not read"
    assert problem["where"] == ["labels/case_01.mgz"] and ".nii.gz" in problem["fix"]


def test_a_word_that_means_nothing_is_refused(tmp_path) -> None:
    with pytest.raises(BadConfig, match="masks 'compleet' are not known"):
        options(masks="compleet")


def test_slices_that_nobody_looked_at_are_no_background(tmp_path) -> None:
    """nnU-Net's `ignore` in slice 3 of case_00, whose blob is in 2 to 5: the slice is neither
    outlined nor empty, though masks are complete, and the case is not scored.
    """
    write_scans(tmp_path / "scans", 2)
    for part, name in (("images", "imagesTr"), ("labels", "labelsTr")):
        (tmp_path / "scans" / part).rename(tmp_path / "scans" / name)
    path = tmp_path / "scans" / "labelsTr" / "case_00.nii.gz"
    mask = read_labels(path)
    mask.voxels[3, 0, 0] = 9
    write_labels(path, mask)
    names = {"labels": {"background": 0, "liver": 6, "ignore": 9}, "file_ending": ".nii.gz"}
    write_json(tmp_path / "scans" / "dataset.json", names)
    summary = prepare(tmp_path / "scans", tmp_path / "out", options(labels={"liver": ("liver",)}))
    assert any("case_00: M19: 1 of 8 slices hold voxels" in note for note in summary.notes)
    prepared = Prepared.open(tmp_path / "out")
    row = prepared.cases["case_00"]
    assert (row.outlined, row.unknown, row.complete) == ([2, 4, 5], [3], False)
    assert prepared.reviewed["case_00"] == {0, 1, 2, 4, 5, 6, 7}
    assert prepared.reviewed["case_01"] == set(range(8)) and prepared.cases["case_01"].complete
    with prepared.case("case_00") as file:
        assert not file.labels([3]).any() and file.labels([2]).sum() == 144


def test_patients_of_folders_are_not_divided(tmp_path) -> None:
    """Four patients with two visits each, masks complete: 30 % of four is one, with two scans."""
    write_scans(tmp_path / "plain", 8)
    for n in range(8):
        for part, name in (("images", "ct"), ("labels", "mask")):
            target = tmp_path / "scans" / f"p{n // 2}" / f"v{n % 2}" / f"{name}.nii.gz"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(tmp_path / "plain" / part / f"case_{n:02d}.nii.gz", target)
    prepare(tmp_path / "scans", tmp_path / "out", options())
    split = Prepared.open(tmp_path / "out").split
    assert len(split.test) == 2 and len({case[:2] for case in split.test}) == 1
    assert not {case[:2] for case in split.test} & {case[:2] for case in split.train}


def test_a_wrong_name_in_a_split_is_told_before_scans_are_read(tmp_path, monkeypatch) -> None:
    write_scans(tmp_path / "scans", 2)
    monkeypatch.setattr(build, "read_pair", None)
    write_split(tmp_path / "split.toml", Split(("case_00",), (), ("cases_01",)))
    with pytest.raises(BadDataset, match="split names 1 case not there") as caught:
        prepare(tmp_path / "scans", tmp_path / "out", options(split=tmp_path / "split.toml"))
    assert caught.value.where == (str(tmp_path / "split.toml"), "cases_01   nearest: case_01")
    assert not (tmp_path / "out").exists()


def test_a_split_of_scans_that_were_refused_says_why_they_were(tmp_path) -> None:
    """Links that leave the folder are not followed: all scans are, then one of two."""
    write_scans(tmp_path / "elsewhere", 2)
    write_split(tmp_path / "split.toml", Split(("case_00",), (), ("case_01",)))
    asked = options(split=tmp_path / "split.toml")
    link(tmp_path / "scans", tmp_path / "elsewhere", "case_00", "case_01")
    with pytest.raises(BadDataset, match="no case can be used") as caught:
        prepare(tmp_path / "scans", tmp_path / "out", asked)
    told = "folder: images/case_00.nii.gz is a link that leaves the data folder"
    assert told in caught.value.where and "follow_links=True" in caught.value.fix
    write_scans(tmp_path / "one", 1)
    link(tmp_path / "one", tmp_path / "elsewhere", "case_01")
    with pytest.raises(BadDataset, match="split names 1 case not there") as caught:
        prepare(tmp_path / "one", tmp_path / "out", asked)
    assert caught.value.where[1] == "case_01   nearest: case_00"
    links = {
        f"folder: {part}/case_01.nii.gz is a link that leaves the data folder" for part in PARTS
    }
    assert set(caught.value.where[2:]) == links
    assert not (tmp_path / "out").exists()


def link(folder, target, *cases: str) -> None:
    """Links to scans and masks of another folder."""
    for part in PARTS:
        (folder / part).mkdir(parents=True, exist_ok=True)
        for case in cases:
            (folder / part / f"{case}.nii.gz").symlink_to(target / part / f"{case}.nii.gz")


def repaint(path) -> None:
    """One voxel more."""
    mask = read_labels(path)
    voxels = mask.voxels.copy()
    voxels[0, 0, 0] = 6
    write_labels(path, LabelMap(voxels, mask.grid))


def test_tags_that_come_to_nothing_are_said(tmp_path) -> None:
    """`from-masks` reads complete masks only, and there is none."""
    write_scans(tmp_path / "scans", 2)
    partial = options(tags="from-masks", masks="partial")
    said = prepare(tmp_path / "scans", tmp_path / "out", partial).notes
    assert any("no tags are left of from-masks" in note for note in said)


@pytest.mark.parametrize("mistake", ["tags", "reviewed", "split", "patients"])
def test_n17_tables_are_looked_at_before_scans(tmp_path, monkeypatch, mistake) -> None:
    """With 500 scans a wrong line must not cost half an hour."""
    write_scans(tmp_path / "scans", 2)
    monkeypatch.setattr(build, "read_pair", lambda *_: pytest.fail("a scan was read"))
    path = tmp_path / "table"
    path.write_text(
        {
            "tags": "case,first_slice,last_slice\ncase_00,x,3\n",
            "reviewed": "case,first_slice,last_slice\ncase_00,3," + 5000 * "9" + "\n",
            "split": 'train = ["case_00", "case_O1"]\n',
            "patients": "case;patient\ncase_00;p1\n",
        }[mistake]
    )
    with pytest.raises(BadDataset) as caught:
        prepare(tmp_path / "scans", tmp_path / "out", options(**{mistake: path}))
    assert str(path) in str(caught.value) and caught.value.exit_code == 3
    if mistake == "split":
        assert "case_O1   nearest: case_01" in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_f01_a_first_preparation_goes_on_where_it_stopped(tmp_path, monkeypatch) -> None:
    """N24: whole cases of a preparation that never wrote its table are kept; under other options
    they are not.
    """
    write_scans(tmp_path / "scans", 3)
    out = tmp_path / "out"

    def stop(event: ProgressEvent) -> None:
        if event.done == 2:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(Interrupted) as caught:
        prepare(tmp_path / "scans", out, options(), stop)
    assert caught.value.exit_code == 143 and not (out / "dataset.json").exists()
    assert [path.name for path in out.rglob(".*")] == []  # no lock, no part of a file
    summary = prepare(tmp_path / "scans", out, options())
    assert (summary.built, summary.reused) == (1, 2)
    prepare(tmp_path / "scans", tmp_path / "anew", options())
    assert Prepared.open(out).digest == Prepared.open(tmp_path / "anew").digest
    (out / "dataset.json").unlink()
    other = prepare(tmp_path / "scans", out, options(labels={"spleen": (6,)}))
    assert other.built == 3


def test_workers_end_with_their_parent(tmp_path) -> None:
    """Killed, not stopped: nobody can tell them."""
    script = tmp_path / "script.py"
    script.write_text(
        "import os, time\n"
        "from fewmask.prepare.workers import in_processes\n"
        "def tell(_):\n"
        "    return os.getpid()\n"
        "if __name__ == '__main__':\n"
        "    for pid in in_processes(tell, [0, 1], 2):\n"
        "        print(pid, flush=True)\n"
        "        time.sleep(60)\n"
    )
    quiet = subprocess.DEVNULL
    parent = subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, stderr=quiet, text=True
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    assert is_alive(worker)
    parent.kill()
    parent.communicate()
    for _ in range(200):
        if not is_alive(worker) or _is_zombie(worker):
            return
        time.sleep(0.05)
    pytest.fail("a worker outlived its parent")


def _is_zombie(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"
