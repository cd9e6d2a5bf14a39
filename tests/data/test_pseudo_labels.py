"""Label maps of an earlier stage, as loaders read them."""

import numpy as np
import pytest

from fewmask.core.batch import IGNORE, BatchSpec
from fewmask.core.budget import draw_slices
from fewmask.core.volume import LabelMap
from fewmask.data.pseudo_labels import PseudoLabels
from fewmask.data.slices import SliceLoader
from fewmask.io.nifti import write_labels
from fewmask.predict.work import load_prepared
from tests.narrow import required
from tests.scans import prepare_scans


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return prepare_scans(tmp_path_factory.mktemp("pseudo"))


def write(folder, prepared, case):
    """Everything is structure 1; sure (255) in the first half of the slices, else 100."""
    grid = load_prepared(prepared, case).grid
    shape = prepared.cases[case].shape
    confidence = np.full(shape, 100, np.uint8)
    confidence[: shape[0] // 2] = 255
    folder.mkdir(exist_ok=True)
    write_labels(folder / f"{case}.confidence.nii.gz", LabelMap(confidence, grid))
    write_labels(folder / f"{case}.nii.gz", LabelMap(np.ones(shape, np.uint8), grid))


def test_what_is_not_trusted_is_ignored(prepared, tmp_path) -> None:
    """100 of 255 is 0.39."""
    case, other = prepared.split.train[:2]
    write(tmp_path, prepared, case)
    assert PseudoLabels(tmp_path).cases == {case}
    assert required(PseudoLabels(tmp_path).volume(case)).all()
    half = required(PseudoLabels(tmp_path, 0.5).volume(case))
    assert [int(plane.max()) for plane in half] == [1, 1, 1, 1, *[IGNORE] * 4]
    assert PseudoLabels(tmp_path).slice(other, 0) is None
    assert PseudoLabels(None).cases == set() and not PseudoLabels(None).given


def test_a_loader_of_slices_brings_them_with_the_weak_stream(prepared, tmp_path) -> None:
    """Slices of scans without a label are there too if they are tagged, and all `IGNORE`."""
    case = prepared.split.train[0]
    write(tmp_path, prepared, case)
    budget = draw_slices(prepared.candidates(prepared.split.train), prepared.patients, 1, 0)
    spec = BatchSpec(labelled=1, weak=24, pseudo="some", augment=False)
    with SliceLoader(prepared, budget, spec, 0, tmp_path) as loader:
        batch = loader.batch(0)
    weak = required(batch.weak)
    for name, mask in zip(batch.names["weak"], required(weak.pseudo), strict=True):
        inside = mask[mask.shape[0] // 2, mask.shape[1] // 2]
        assert int(inside) == (1 if name.startswith(case) else IGNORE)
    with SliceLoader(prepared, budget, BatchSpec(labelled=1, weak=2), 0, tmp_path) as loader:
        assert required(loader.batch(0).weak).pseudo is None


def test_without_tags_the_labelled_scans_are_the_weak_stream(tmp_path) -> None:
    prepared = prepare_scans(tmp_path, masks="partial", tags=None)
    case = prepared.split.train[0]
    write(tmp_path / "made", prepared, case)
    budget = draw_slices(prepared.candidates(prepared.split.train), prepared.patients, 1, 0)
    spec = BatchSpec(labelled=1, weak=30, pseudo="some")
    with SliceLoader(prepared, budget, spec, 0, tmp_path / "made") as loader:
        names = {name.split(":")[0] for name in loader.batch(0).names["weak"]}
    granted = {name for name, _ in budget.slices}
    assert names == {case} | granted
