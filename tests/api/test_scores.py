"""Tables of scores and of runs, as records and as text."""

import shutil

import numpy as np
import pytest

import fewmask
from fewmask.core.volume import LabelMap
from fewmask.io.nifti import write_labels
from tests.scans import AFFINE, SHAPE, prepare_scans


def write_mask(path, first: int, last: int) -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:8, 4:8, first : last + 1] = 1
    path.parent.mkdir(exist_ok=True)
    write_labels(path, LabelMap.from_file_order(labels, AFFINE))


def test_masks_against_truth(tmp_path) -> None:
    """Slices 2 to 4 against 2 to 3: Dice 2 * 2 / 5. The other mask is the truth itself."""
    for case, last in (("a", 4), ("b", 3)):
        write_mask(tmp_path / "masks" / f"{case}.nii.gz", 2, last)
        write_mask(tmp_path / "truth" / f"{case}.nii.gz", 2, 3)
    write_mask(tmp_path / "truth" / "c.nii.gz", 2, 3)
    result = fewmask.evaluate(
        tmp_path / "masks", tmp_path / "truth", labels={"liver": 1}, out=tmp_path / "scores.csv"
    )
    assert [(row["case"], row["class"], row["dice"]) for row in result.rows] == [
        ("a", "liver", pytest.approx(0.8)),
        ("b", "liver", 1.0),
    ]
    assert result.summaries[0].dice.mean == pytest.approx(0.9)
    assert result.unpredicted == ("c",) and not result.refused
    head, line = repr(result).splitlines()
    assert head.split()[:4] == ["structure", "prompts", "n", "Dice"]
    assert line.split()[:4] == ["liver", "automatic", "2", "0.900"]
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 3


def test_a_run_from_scores_to_comparison(tmp_path) -> None:
    prepare_scans(tmp_path, recipe="ct")
    runs = []
    for seed in (0, 1):
        run = fewmask.train(
            tmp_path / "prepared",
            tmp_path / f"run{seed}",
            method="unet",
            slices=3,
            steps=2,
            settings={"channels": (4, 8)},
            seed=seed,
        )
        runs.append(run)
        result = fewmask.evaluate(runs[-1], protocol="la-2018")
        assert {row["case"] for row in result.rows} == {"case_03", "case_04"}
        assert {row["protocol"] for row in result.protocol_rows} == {"la-2018"}
        assert runs[-1].metrics == result.rows
    model = runs[0].load()
    shutil.rmtree(runs[0] / "predictions")
    assert fewmask.evaluate(model).rows == model.metrics
    both = fewmask.compare(*runs)
    assert [row["seed"] for row in both.rows] == [0, 1]
    assert isinstance(both.rows[0]["test automatic dice"], float)
    assert repr(both) == both.markdown and "| unet + clean-up | 3 slices |" in both.markdown
    assert fewmask.report(runs[0]).read_text().startswith("<!doctype html>")
