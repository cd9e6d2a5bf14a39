"""Preparing is a function of the files alone: not of the order in which they came, nor of how often
it was done.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fewmask.core.volume import LabelMap, Volume
from fewmask.io.nifti import write_labels, write_volume
from fewmask.prepare.build import prepare
from fewmask.prepare.options import PrepareOptions
from tests.prepare.test_build import hashes
from tests.scans import AFFINE

TABLES = ("dataset.json", "tags.csv", "reviewed.csv", "split.toml")
OPTIONS = PrepareOptions(
    {"organ": (1,)}, recipe="ct", masks="complete", tags="from-masks", size=64, jobs=1
)
SCANS = given(
    st.sets(st.text("abcXYZ019_-é", min_size=1, max_size=6), min_size=1, max_size=4),
    st.integers(0, 2**32 - 1),
)


def check_order(names: set[str], seed: int) -> None:
    """Two folders of the same scans, written in two orders."""
    cases = sorted({f"s{name}s".casefold(): f"s{name}s" for name in names}.values())
    order = [cases[n] for n in np.random.default_rng(seed).permutation(len(cases))]
    with TemporaryDirectory() as place:
        one, other = Path(place, "one"), Path(place, "other")
        for folder, listed in ((one, cases), (other, order)):
            for case in listed:
                write_scan(folder / "scans", case, cases.index(case) + seed)
            prepare(folder / "scans", folder / "out", OPTIONS)
        for name in TABLES:
            assert (one / "out" / name).read_bytes() == (other / "out" / name).read_bytes(), name
        before = hashes(one)
        again = prepare(one / "scans", one / "out", OPTIONS)
        assert (again.built, again.reused) == (0, len(cases))
        assert hashes(one) == before


def write_scan(folder: Path, case: str, seed: int) -> None:
    """8 slices of 12 x 12 pixels with a block; both files of one time, which `prepare` notes."""
    rng = np.random.default_rng(seed)
    image = rng.normal(0, 15, (12, 12, 8)).astype(np.int16)
    image[:2] = -1000
    label = np.zeros(image.shape, np.uint8)
    label[4:8, 3 : 4 + seed % 6, 2:5] = 1
    for part in ("images", "labels"):
        path = folder / part / f"{case}.nii.gz"
        path.parent.mkdir(parents=True, exist_ok=True)
        if part == "images":
            write_volume(path, Volume.from_file_order(image, AFFINE))
        else:
            write_labels(path, LabelMap.from_file_order(label, AFFINE))
        os.utime(path, (1_700_000_000, 1_700_000_000))


@settings(max_examples=5, deadline=None)
@SCANS
def test_neither_order_nor_repetition_changes_a_dataset(names: set[str], seed: int) -> None:
    check_order(names, seed)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@settings(max_examples=200, deadline=None)
@SCANS
def test_200_datasets(names: set[str], seed: int) -> None:
    check_order(names, seed)
