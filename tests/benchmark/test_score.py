"""Scores are about the data that a run learned from, and say whom they leave out."""

import os
import shutil

import pytest

from fewmask.benchmark.rows import read_rows
from fewmask.benchmark.score import score_folders, score_run
from fewmask.core.budget import Split
from fewmask.core.errors import BadCheckpoint, BadDataset
from fewmask.io.atomic import part_beside
from fewmask.io.nifti import read_labels, write_labels
from fewmask.io.prepared import write_split
from fewmask.io.text import read_json, write_json
from fewmask.prepare.build import prepare
from fewmask.prepare.options import PrepareOptions
from fewmask.report.run import write_run_report
from fewmask.training import TrainRequest, train
from tests.scans import prepare_scans, write_scans


def test_cases_without_a_mask_are_named(tmp_path) -> None:
    write_scans(tmp_path / "scans", 4)
    truth, pred = tmp_path / "scans" / "labels", tmp_path / "pred"
    pred.mkdir()
    shutil.copy(truth / "case_01.nii.gz", pred)
    summary = score_folders(pred, truth, None)
    assert {score.case for score in summary.scores} == {"case_01"} and not summary.refused
    assert summary.unpredicted == ("case_00", "case_02", "case_03")


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scored")
    prepared = prepare_scans(folder)
    run = train(
        TrainRequest(
            prepared.folder,
            folder / "run",
            method="unet",
            slices=2,
            steps=1,
            amp="off",
            settings=("channels=(8,8)",),
        )
    )
    score_run(run)
    return folder, run


def again(folder, cases: int = 5, **changes: object) -> None:
    """Prepare the same folder again in another way."""
    names = [f"case_{index:02d}" for index in range(cases)]
    write_split(folder / "split.toml", Split(tuple(names[:-2]), (), tuple(names[-2:])))
    chosen = {
        "labels": {"liver": (6,)},
        "tags": "from-masks",
        "split": folder / "split.toml",
        **changes,
    }
    prepare(
        folder / "scans",
        folder / "prepared",
        PrepareOptions(recipe="ct", masks="complete", jobs=1, **chosen),
    )


@pytest.mark.parametrize("change", ["labels", "swapped", "gone"])
def test_other_data_under_the_same_name_is_not_scored(scored, tmp_path, change) -> None:
    folder, run = scored
    shutil.copytree(folder / "scans", tmp_path / "keep")
    images, labels = folder / "scans" / "images", folder / "scans" / "labels"
    try:
        if change == "swapped":  # what was learned from stands under the name of a test case
            for part in (images, labels):
                (part / "case_00.nii.gz").rename(part / "x.nii.gz")
                (part / "case_04.nii.gz").rename(part / "case_00.nii.gz")
                (part / "x.nii.gz").rename(part / "case_04.nii.gz")
        if change == "gone":
            for part in (images, labels):
                (part / "case_04.nii.gz").unlink()
        if change == "labels":
            mask = read_labels(labels / "case_00.nii.gz")
            mask.voxels[0, 0, 0] = 2
            write_labels(labels / "case_00.nii.gz", mask)
        again(
            folder,
            4 if change == "gone" else 5,
            labels={"liver": (2, 6) if change == "labels" else (6,)},
        )
        for ask in (score_run, write_run_report, read_rows):
            with pytest.raises(BadDataset, match="not what this run learned from") as caught:
                ask(run)
            assert caught.value.code == "C06"
    finally:
        shutil.rmtree(folder / "scans")
        shutil.copytree(tmp_path / "keep", folder / "scans")
        again(folder)
    assert score_run(run).scores


def test_more_tags_and_outlines_do_no_harm(scored) -> None:
    folder, run = scored
    again(folder, tags=None)
    assert score_run(run).scores and read_rows(run)
    again(folder)


@pytest.mark.parametrize("file", ["losses.csv", "predictions/case_03.nii.gz"])
def test_what_a_killed_process_left_is_removed(scored, file) -> None:
    _, run = scored
    ours = part_beside(run / file)
    dead = ours.with_name(ours.name.replace(f"-{os.getpid()}.", f"-{2**22 + 1}."))
    for path in (ours, dead):
        path.write_bytes(b"half")
    assert score_run(run).scores
    assert ours.exists() and not dead.exists()
    ours.unlink()


def test_a_run_of_an_earlier_version_says_so(scored, tmp_path) -> None:
    _, run = scored
    shutil.copytree(run, tmp_path / "run")
    config = read_json(tmp_path / "run" / "config.json")
    write_json(
        tmp_path / "run" / "config.json",
        {key: value for key, value in config.items() if key != "scans"},
    )
    with pytest.raises(BadCheckpoint, match="earlier version"):
        score_run(tmp_path / "run")
