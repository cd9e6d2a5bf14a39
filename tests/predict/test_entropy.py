"""Doubt of a scan: numbers by hand, what is kept beside the masks, and suggestions from it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fewmask.core.errors import BadCheckpoint, BadConfig, BadDataset
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.predict import entropy
from fewmask.predict.entropy import doubts_missing, entropy_of, measure, suggest, views_of
from fewmask.training import TrainRequest, train
from tests.narrow import required
from tests.predict.test_predictor import RECIPE, predictor, scan
from tests.scans import prepare_scans, write_scans


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run of a small U-Net on partly outlined scans without tags."""
    folder: Path = tmp_path_factory.mktemp("entropy")
    prepared = prepare_scans(folder, masks="partial", tags=None)
    train(
        TrainRequest(
            prepared.folder, folder / "run", "unet", slices=3, steps=2, amp="off", device="cpu",
            settings=("channels=(4,8)",),
        )
    )  # fmt: skip
    return folder


def test_entropy_in_bits_by_hand() -> None:
    """A coin toss is a bit, certainty none; 1/4 holds 0.811278."""
    p = torch.tensor([[[0.5, 1.0], [0.0, 0.25]], [[0.0, 0.0], [1.0, 1.0]]])
    assert entropy_of(p).tolist() == pytest.approx([1.811278, 0.0], abs=1e-5)


def test_areas_and_doubt_are_in_mm2_of_each_slice() -> None:
    """Twelve bright pixels of 1 mm2 in slices 1 and 2, none of them in doubt."""
    volume, _ = scan((0, 1, 2), (0, 0, 0))
    found = measure(predictor(), volume, 1)
    assert found.area_mm2[:, 0].tolist() == [0, 12, 12, 0, 0]
    assert np.allclose(required(found.doubt_mm2), 0, atol=1e-3)


def test_probabilities_seen_are_those_that_are_given() -> None:
    volume, _ = scan((0, 1, 2), (0, 0, 0))
    seen = np.zeros((2, *volume.shape), np.float32)
    given = np.zeros_like(seen)

    def watch(slices, probs) -> None:
        seen[:, list(slices)] = probs.numpy()

    one = predictor()
    one.watched_by(watch).volume(volume, given)
    assert np.array_equal(seen, given) and one.watch is None and one.recipe == RECIPE


def test_what_was_measured_is_kept_and_used_again(folder, monkeypatch) -> None:
    run, prepared = folder / "run", folder / "prepared"
    train_cases = Prepared.open(prepared).split.train
    assert doubts_missing(run, prepared) == list(train_cases)
    first = suggest(run, n=3, rule="entropy", seed=1)
    assert doubts_missing(run, prepared) == [] and 0 < len(first) <= 3
    assert {one.case for one in first} <= set(train_cases), "scans kept aside stay aside"
    record = json.loads((run / "predictions" / "case_00.doubt.json").read_text())
    assert len(record["area_mm2"]) == 8 and len(record["doubt_mm2"][0]) == 1

    def fail(*_: object) -> None:
        raise AssertionError("predicted again")

    monkeypatch.setattr(entropy, "measure", fail)
    assert suggest(run, prepared, 3, "entropy", 1) == first
    other = replace_weights(folder, run)
    assert doubts_missing(other, prepared) == list(train_cases), "other weights, other doubt"
    (run / "predictions" / "case_00.doubt.json").write_text("{")
    assert doubts_missing(run, prepared) == ["case_00"], "a damaged file counts for nothing"
    assert suggest(run, prepared, 3, "random", predict=False) is not None


def replace_weights(folder: Path, run: Path) -> Path:
    """A copy of the run whose last weight differs."""
    other = folder / "other"
    shutil.copytree(run, other)
    raw = bytearray(RunFolder(other).weights.read_bytes())
    raw[-1] ^= 1
    RunFolder(other).weights.write_bytes(raw)
    return other


def test_outlined_slices_are_never_suggested(folder) -> None:
    """Of partial masks slices 2 to 5 are outlined; `known` of a caller goes before the dataset."""
    run, prepared = folder / "run", folder / "prepared"
    for rule in ("random", "spread", "entropy", "mixed"):
        found = suggest(run, prepared, 50, rule)
        assert not [one for one in found if 2 <= one.d <= 5]
    every = {case: range(8) for case in Prepared.open(prepared).split.train}
    assert suggest(run, prepared, 5, known=every) == []


def test_new_scans_may_be_asked_about(folder, tmp_path) -> None:
    write_scans(tmp_path / "new", 2)
    shutil.rmtree(tmp_path / "new" / "labels")
    found = suggest(folder / "run", tmp_path / "new", 4, "entropy")
    assert {one.case for one in found} <= {"case_00", "case_01"} and found


def test_before_a_training_tags_alone_are_known(folder) -> None:
    views = views_of(Prepared.open(folder / "prepared"))
    assert [view.known for view in views] == [frozenset({2, 3, 4, 5})] * 3
    assert all(view.area_mm2 is None and view.doubt_mm2 is None for view in views)


def test_other_structures_an_unfinished_run_and_a_program_without_doubt(
    folder, tmp_path, monkeypatch
) -> None:
    other = prepare_scans(tmp_path, 4, labels={"spleen": (6,)})
    with pytest.raises(BadDataset, match="spleen"):
        suggest(folder / "run", other.folder)
    with pytest.raises(BadCheckpoint):
        suggest(tmp_path / "nothing")
    monkeypatch.setattr(entropy, "load_predictor", lambda *_: object())
    shutil.rmtree(folder / "run" / "predictions", ignore_errors=True)
    with pytest.raises(BadConfig, match="gives none"):
        suggest(folder / "run", rule="mixed")
    assert replace(views_of(other)[0], flipped=True).flipped
