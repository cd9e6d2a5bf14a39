"""Labels go through every writer of masks and come back, to the voxel and on their grid."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fewmask.core.volume import LabelMap, Volume
from fewmask.io.case import CaseFile, write_case
from fewmask.io.image import read_labels, write_labels
from tests.core.test_volume import AFFINES

ENDINGS = ["nii", "nii.gz", "nrrd", "seg.nrrd", "mha"]
LABELS = given(AFFINES, st.tuples(*[st.integers(1, 5)] * 3), st.integers(0, 2**32 - 1))
EVERY = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def draw(affine: np.ndarray, shape: tuple[int, int, int], seed: int) -> LabelMap:
    """Any of 0 to 255, few or many of them, or none."""
    rng = np.random.default_rng(seed)
    values = rng.integers(0, 256, rng.integers(1, 256), np.uint8)
    return LabelMap.from_file_order(rng.choice(values, shape), affine)


def check_files(folder: Path, labels: LabelMap, endings: list[str]) -> None:
    for ending in endings:
        path = folder / f"a.{ending}"
        write_labels(path, labels)
        back = read_labels(path)
        assert np.array_equal(back.to_file_order(), labels.to_file_order())
        np.testing.assert_allclose(back.grid.corners_mm, labels.grid.corners_mm, atol=1e-3)


def check_case(folder: Path, labels: LabelMap) -> None:
    scan = Volume(np.zeros(labels.shape, np.int16), labels.grid, 1.0, 0.0)
    write_case(folder / "a.h5", scan, labels.voxels)
    with CaseFile(folder / "a.h5") as case:
        assert np.array_equal(case.labels(range(case.shape[0])), labels.voxels)
        assert np.array_equal(case.grid.affine, labels.grid.affine)


@pytest.mark.parametrize("ending", ENDINGS)
@settings(EVERY, max_examples=30)
@LABELS
def test_labels_come_back(tmp_path: Path, ending, affine, shape, seed) -> None:
    check_files(tmp_path, draw(affine, shape, seed), [ending])


@settings(EVERY, max_examples=30)
@LABELS
def test_labels_come_back_from_a_prepared_case(tmp_path: Path, affine, shape, seed) -> None:
    check_case(tmp_path, draw(affine, shape, seed))


@pytest.mark.slow
@settings(EVERY, max_examples=200)
@LABELS
def test_200_label_maps_come_back_from_every_writer(tmp_path: Path, affine, shape, seed) -> None:
    labels = draw(affine, shape, seed)
    check_files(tmp_path, labels, ENDINGS)
    check_case(tmp_path, labels)
