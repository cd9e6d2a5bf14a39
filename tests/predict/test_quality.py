"""Tables and maps that `predict` writes beside masks."""

import csv
import json
from dataclasses import replace

import numpy as np
import pytest

from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap, Volume
from fewmask.io.nifti import read_volume
from fewmask.predict.folder import predict_folder
from fewmask.predict.known import Known, KnownScans
from fewmask.predict.maps import map_paths, write_maps
from fewmask.predict.predictor import Prediction
from fewmask.predict.quality import look_at, overlap
from tests.scans import write_scans

NAMED = KnownScans(classes=("liver",))


class Square:
    """Draws the same square in slices 1 and 2, half sure or sure."""

    promptable = False
    stamp = "square"

    def __init__(self, sure: float = 1.0) -> None:
        self.sure = sure

    def volume(self, volume: Volume) -> Prediction:
        labels = np.zeros(volume.shape, np.uint8)
        labels[1:3, 2:6, 2:6] = 1
        confidence = np.where(labels, round(255 * self.sure), 255).astype(np.uint8)
        mass = self.sure * labels.sum((1, 2), dtype=float)[:, None]
        grid = volume.grid
        return Prediction(LabelMap(labels, grid), None, 0, confidence, mass)

    def volume_with_boxes(self, volume, boxes):
        raise NotImplementedError


@pytest.fixture
def scans(tmp_path):
    write_scans(tmp_path / "scans", 4)
    return tmp_path / "scans" / "images"


def table(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_both_tables_lie_beside_masks(scans, tmp_path) -> None:
    summary = predict_folder(Square(), scans, tmp_path / "masks", known=NAMED)
    volumes, quality = (
        table(tmp_path / "masks" / f"{name}.csv") for name in ("volumes", "quality")
    )
    volume = read_volume(sorted(scans.iterdir())[0])
    ml = 32 * np.prod(volume.spacing_mm) / 1000
    assert len(volumes) == 4 and float(volumes[0]["ml"]) == pytest.approx(ml, abs=0.001)
    grey = volume.intensities()[1:3, 2:6, 2:6].mean()
    assert float(volumes[0]["mean_intensity"]) == pytest.approx(grey, rel=1e-3)
    assert [row["structure"] for row in quality] == ["liver", "mean"] * 4
    assert len(summary.quality) == 8
    less = predict_folder(Square(0.6), scans, tmp_path / "unsure", known=NAMED)
    unsure, sure = less.quality[0].estimate.dice, summary.quality[0].estimate.dice
    assert unsure is not None and sure is not None and unsure < sure


def test_parts_and_kept_masks_lose_no_row(scans, tmp_path) -> None:
    out = tmp_path / "masks"
    for part in ((1, 2), (2, 2)):
        predict_folder(Square(), scans, out, known=NAMED, part=part)
    first = (out / "quality.csv").read_text()
    assert len(table(out / "quality.csv")) == 8
    again = predict_folder(Square(), scans, out, known=NAMED)
    assert len(again.kept) == 4 and (out / "quality.csv").read_text() == first


def test_masks_of_an_earlier_version_are_drawn_again_for_their_signs(scans, tmp_path) -> None:
    out = tmp_path / "masks"
    predict_folder(Square(), scans, out, known=NAMED)
    (out / "case_01.signs.json").unlink()
    assert predict_folder(Square(), scans, out, known=NAMED).kept == [
        "case_00",
        "case_02",
        "case_03",
    ]
    assert len(table(out / "volumes.csv")) == 4


def test_what_gives_no_probabilities_cannot_give_maps(scans, tmp_path) -> None:
    with pytest.raises(BadConfig, match="gives no probabilities"):
        predict_folder(Square(), scans, tmp_path / "masks", known=NAMED, probabilities=True)
    assert not (tmp_path / "masks").exists()


def test_maps_lie_on_the_scan(scans, tmp_path) -> None:
    volume = read_volume(sorted(scans.iterdir())[0])
    probs = np.zeros((3, *volume.shape), np.float32)
    probs[1, :, :5], probs[2, 1] = 0.2, 1.0
    classes = ["left kidney", "a/b"]
    write_maps(tmp_path, "x", classes, probs, volume.grid)
    names = [path.name for path in map_paths(tmp_path, "x", classes)]
    assert names == ["x.1-left-kidney.nii.gz", "x.2-a-b.nii.gz"]
    first, second = (read_volume(path) for path in map_paths(tmp_path, "x", classes))
    assert first.voxels.dtype == np.uint8 and np.allclose(first.grid.affine, volume.grid.affine)
    assert np.allclose(first.intensities()[:, :5], 0.2, atol=1 / 255)
    assert np.allclose(second.intensities()[1], 1) and not second.intensities()[0].any()
    write_maps(tmp_path, "nothing", ["liver"], 0 * probs[:2], volume.grid)  # nor is it a scan
    assert (tmp_path / "probabilities" / "nothing.1-liver.nii.gz").is_file()


def test_tags_and_outlines_are_compared(scans) -> None:
    volume = read_volume(sorted(scans.iterdir())[0])
    drawn = Square().volume(volume)
    tags = np.full((volume.shape[0], 1), -1, np.int8)
    tags[2:6] = 1
    outline = np.zeros(volume.shape[1:], np.uint8)
    outline[2:6, 2:4] = 1
    known = Known(tags, {1: outline})
    (one,) = look_at(drawn, drawn, volume, 1, known)
    assert (one.outside_tags, one.short_of_tags) == (1, 3)
    assert overlap(drawn, known, ["liver"]) == {"liver": (16, 24)}
    assert overlap(drawn, replace(known, outlines={}), ["liver"]) is None
    record = json.loads(json.dumps(one.as_dict()))
    assert record["outside_tags"] == 1
