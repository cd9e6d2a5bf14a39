"""A network of slices labels all scans: what a person said is in its labels, and it goes on after a
stop.
"""

import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fewmask.benchmark.rows import finished_run
from fewmask.core.budget import Budget
from fewmask.core.errors import Interrupted
from fewmask.data.label_guard import LabelGuard
from fewmask.io.nifti import read_labels
from fewmask.io.run import RunFolder
from fewmask.io.text import read_json
from fewmask.io.weights import load_tensors
from fewmask.methods._method import Stage
from fewmask.predict import Predictor
from fewmask.training import TrainRequest, labelling, train
from fewmask.training.labelling import choose_scans, mean_confidence
from tests.scans import prepare_scans

SMALL = ("weights=none", "labelled=1", "weak=2", "rounds=1")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_scans(tmp_path_factory.mktemp("scans"), 4)


def request(prepared, out, **changes) -> TrainRequest:
    base = {
        "method": "noisy_student",
        "slices": 2,
        "steps": 10,
        "device": "cpu",
        "amp": "off",
        "settings": SMALL,
        "out": out,
    }
    return TrainRequest(prepared=prepared.folder, **{**base, **changes})


@pytest.fixture(scope="module")
def run(prepared, tmp_path_factory) -> RunFolder:
    return RunFolder.open(train(request(prepared, tmp_path_factory.mktemp("run") / "run")))


def test_labels_of_all_scans_end_at_tags_and_keep_outlines(prepared, run) -> None:
    """The blob lies in slices 2 to 5 of 8. An untrained network draws at random."""
    assert {path.name for path in (run.path / "labels1").glob("*.nii.gz")} == {
        f"{case}{kind}.nii.gz" for case in prepared.split.train for kind in ("", ".confidence")
    }
    budget = run.read_budget()
    guard = LabelGuard(prepared, budget)
    for case in prepared.split.train:
        voxels = read_labels(run.path / "labels1" / f"{case}.nii.gz").voxels
        sure = read_labels(run.path / "labels1" / f"{case}.confidence.nii.gz").voxels
        outlined = [d for name, d in budget.slices if name == case]
        assert not voxels[[0, 1, 6, 7]].any() and (sure[[0, 1, 6, 7]] == 255).all()
        if outlined:
            assert np.array_equal(voxels[outlined], guard.labels(case, outlined))
        assert (sure[outlined] == 255).all()
    rule = read_json(run.path / "labels1" / "cleanup.json")
    assert "2 outlined slices" in str(rule), "too few to speak for one"


def test_stages_share_the_steps_and_the_student_starts_from_the_teacher(prepared, run) -> None:
    """Ten steps: three for the teacher, seven for the student."""
    teacher = RunFolder.open(run.path / "teacher")
    assert (teacher.read_record().steps, run.read_record().steps) == (3, 7)
    assert teacher.read_record().all_steps == run.read_record().all_steps == 10
    assert finished_run(run.path).steps == 10, "what a table says of it"
    names = set(load_tensors(run.weights))
    assert names == set(load_tensors(teacher.weights))
    assert run.cleanup.exists() and isinstance(Predictor.load(run.path), Predictor)


def test_labelling_is_part_of_the_minutes(prepared, run, monkeypatch) -> None:
    """Two training scans; the four slices of one that tags do not call empty take 3 seconds."""
    clock = SimpleNamespace(perf_counter=iter((10.0, 13.0)).__next__)
    monkeypatch.setattr(labelling, "time", clock)
    predictor = Predictor.load(run.path)
    monkeypatch.setattr(labelling, "_draw", lambda *_: None)
    assert labelling.seconds_to_label(predictor, prepared, prepared.split.train) == 6.0


def test_of_many_scans_those_with_outlines_are_labelled_and_some_others(prepared) -> None:
    """One of two is outlined: it comes first, whatever the seed; without a bound all do."""
    first, second = prepared.split.train
    stage = Stage("teacher", "lite_unet", None, 1.0, labels_all=True, labels_most=1)
    for seed in range(4):
        for case in (first, second):
            budget = Budget("slices", 0, ((case, 3),))
            assert choose_scans(stage, prepared, budget, seed) == [case]
    everything = replace(stage, labels_most=0)
    assert choose_scans(everything, prepared, Budget("slices", 0), 0) == [first, second]
    drawn = {choose_scans(stage, prepared, Budget("slices", 0), seed)[0] for seed in range(8)}
    assert drawn == {first, second}


def test_stopped_while_labelling_it_goes_on_to_the_same_weights(prepared, run, tmp_path) -> None:
    def stop(event) -> None:
        if event.note.startswith("teacher: 1 of"):
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="labelling 1 of 2 scans"):
        train(request(prepared, tmp_path / "run"), stop)
    again = RunFolder.open(train(request(prepared, tmp_path / "run")))
    whole, resumed = load_tensors(run.weights), load_tensors(again.weights)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_confidence_over_structures_does_not_count_the_background() -> None:
    """Six voxels of background at 255, two of structures at 51 and 153: 1734 / 8 and 204 / 2, of
    255. Nothing called a structure is no reason to be sure.
    """
    voxels, confidence = np.zeros((2, 2, 2), np.uint8), np.full((2, 2, 2), 255, np.uint8)
    voxels[0, 0], confidence[0, 0] = (1, 2), (51, 153)
    assert mean_confidence(voxels, confidence, "all") == pytest.approx(1734 / 8 / 255)
    assert mean_confidence(voxels, confidence, "structures") == pytest.approx(0.4)
    assert mean_confidence(np.zeros_like(voxels), confidence, "structures") == 0
