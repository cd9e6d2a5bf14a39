"""Outlines in sagittal or coronal slices: the plane is said, or the case is refused; from there on
slices are those of that plane, and files keep their own order.
"""

from pathlib import Path

import numpy as np
import pytest

from fewmask.benchmark.score import score_folders, score_run
from fewmask.core.errors import BadConfig, BadDataset
from fewmask.core.volume import Grid, LabelMap, Plane, Volume
from fewmask.io.nifti import read_labels, read_volume, write_labels, write_volume
from fewmask.io.prepared import Prepared
from fewmask.predict import load_predictor, open_cleanup, predict_folder
from fewmask.prepare.build import prepare
from fewmask.prepare.check import check
from fewmask.prepare.content import drawn_across, scan_warnings, taken_in
from fewmask.prepare.options import PrepareOptions, ScanOptions
from fewmask.report.run import write_run_report
from fewmask.training import TrainRequest, train

SHAPE = (24, 20, 8)
"""Stored as a sagittal scan: towards the back, the feet and the left; k is the slice."""


def affine(apart: float = 8.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = np.array([[0, 0, -apart], [-2.0, 0, 0], [0, -2.0, 0]])
    matrix[:3, 3] = (40, 30, 10)
    return matrix


def outlined(*slices: int) -> np.ndarray:
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[6:18, 4:16, list(slices)] = 1
    return voxels


def write_case(folder: Path, name: str, mask: np.ndarray, apart: float = 8.0) -> None:
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng(len(name)).normal(100, 10, SHAPE) + 100 * outlined(*range(1, 7))
    volume = Volume.from_file_order(np.round(image).astype(np.int16), affine(apart))
    write_volume(folder / "images" / f"{name}.nii.gz", volume)
    write_labels(
        folder / "labels" / f"{name}.nii.gz", LabelMap.from_file_order(mask, affine(apart))
    )


def options(plane: Plane | None, **more: object) -> PrepareOptions:
    return PrepareOptions({"cord": (1,)}, jobs=1, scans=ScanOptions(plane=plane), **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("plane", ["axial", "sagittal", "coronal"])
def test_a_plane_turns_what_is_looked_at_and_not_the_file(plane: Plane) -> None:
    """d runs to the head, the left, or the back: over 20, 8 or 24 voxels. There and back is exact,
    and the grid is written down with its plane.
    """
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    volume = Volume.from_file_order(voxels, affine()).in_plane(plane)
    depth = {"axial": 20, "sagittal": 8, "coronal": 24}[plane]
    assert volume.shape[0] == depth and np.array_equal(volume.to_file_order(), voxels)
    first = {"axial": voxels[:, -1], "sagittal": voxels[:, :, 0], "coronal": voxels[0]}[plane]
    assert set(volume.voxels[0].ravel()) == set(first.ravel())
    assert Grid.from_dict(volume.grid.as_dict()).plane == plane
    assert volume.grid.axis_codes == "PIL"
    where = volume.affine @ [0, 0, 0, 1]
    back = np.linalg.solve(volume.grid.affine, where)[:3].round().astype(int)
    assert voxels[tuple(back)] == volume.voxels[0, 0, 0]


def test_outlines_across_the_plane_are_found_out() -> None:
    """Two sagittal slices apart, or one alone: every axial slice shows lines of them."""
    for slices, plane in (((2, 5), "sagittal"), ((3,), "sagittal"), ((1, 2, 3, 4), None)):
        label_map = LabelMap.from_file_order(outlined(*slices), affine())
        assert drawn_across(label_map) == plane
        assert drawn_across(label_map.in_plane("sagittal")) is None
    axial = np.zeros(SHAPE, np.uint8)
    axial[6:18, [4, 9, 14], 1:7] = 1
    label_map = LabelMap.from_file_order(axial, affine())
    assert drawn_across(label_map) is None
    assert drawn_across(label_map.in_plane("sagittal")) == "axial"


def test_a_case_outlined_across_is_refused_until_the_plane_is_said(tmp_path: Path) -> None:
    write_case(tmp_path, "apart", outlined(2, 5))
    write_case(tmp_path, "beside", outlined(2, 3, 4))
    write_case(tmp_path, "cubes", outlined(2, 3, 4), apart=2.0)
    report = check(tmp_path, options(None))
    assert {line["case"]: line["code"] for line in report.problems} == {
        "apart": "M12",
        "beside": "M12",
    }
    assert all("`plane=sagittal`" in line["fix"] for line in report.problems)
    assert taken_in(read_volume(tmp_path / "images" / "cubes.nii.gz")) is None
    said = check(tmp_path, options("sagittal"))
    assert not said.problems and [case.outlined for case in said.cases] == [2, 3, 3]
    assert "`masks=complete`" not in str([*report.problems, *report.notes])


@pytest.mark.slow
def test_a_run_learns_predicts_and_is_scored_in_its_plane(tmp_path: Path) -> None:
    """From prepare to the page; its masks lie on the files, and a run of axial slices is another
    one's.
    """
    for name in ("a", "bb", "ccc", "dddd"):
        write_case(tmp_path / "scans", name, outlined(*range(1, 7)))
    wanted = options("sagittal", masks="complete", tags="from-masks")
    prepare(tmp_path / "scans", tmp_path / "prepared", wanted)
    prepared = Prepared.open(tmp_path / "prepared")
    assert prepared.cases["a"].outlined == [1, 2, 3, 4, 5, 6] and prepared.cases["a"].shape[0] == 8
    settings = ("channels=(8,8)",)
    run = train(
        TrainRequest(
            prepared.folder, tmp_path / "run", method="unet", steps=1, amp="off", settings=settings
        )
    )
    assert [score.label for score in score_run(run).scores] == ["cord"]
    assert write_run_report(run).exists()
    predictor, images = load_predictor(run), tmp_path / "scans" / "images"
    predict_folder(predictor, images, tmp_path / "masks", cleanup=open_cleanup(run))
    (case,) = prepared.split.test
    for name in ("masks", "run/predictions"):
        mask = read_labels(tmp_path / name / f"{case}.nii.gz")
        assert np.allclose(mask.grid.affine, affine()) and mask.grid.shape == SHAPE
    again = [read_labels(tmp_path / n / f"{case}.nii.gz") for n in ("masks", "run/predictions")]
    assert np.array_equal(again[0].voxels, again[1].voxels)
    with pytest.raises(BadConfig, match="learned from sagittal slices"):
        predict_folder(predictor, images, tmp_path / "more", options=ScanOptions(plane="coronal"))


def test_a_truth_outlined_in_sagittal_slices_is_scored_in_these(tmp_path: Path) -> None:
    """Two of six slices; the mask is right in all, and beyond them too."""
    write_case(tmp_path / "t", "a", outlined(2, 5))
    write_case(tmp_path / "m", "a", outlined(*range(1, 8)))
    found = score_folders(
        tmp_path / "m" / "labels",
        tmp_path / "t" / "labels",
        None,
        scans=ScanOptions(plane="sagittal"),
    )
    assert found.scores[0].dice == 1.0 and "a (2)" in found.notes[0]
    with pytest.raises(BadDataset, match="could be scored") as caught:
        score_folders(tmp_path / "m" / "labels", tmp_path / "t" / "labels", None)
    assert "single sagittal slices of the truth" in str(caught.value)
    assert caught.value.fix == "say `plane=sagittal`"


@pytest.mark.parametrize(
    ("spacing", "asked"), [((2.0, 2.0, 1.25), False), ((1.0, 1.0, 4.0), False), ((4, 1, 1), True)]
)
def test_the_plane_is_asked_for_where_one_spacing_stands_out(
    spacing: tuple[float, float, float], asked: bool
) -> None:
    """Wide pixels in thin axial slices are no sagittal scan."""
    volume = Volume.from_file_order(np.zeros((4, 4, 4), np.int16), np.diag([*spacing, 1.0]))
    assert any("sagittal scan?" in line for line in scan_warnings(volume)) is asked
