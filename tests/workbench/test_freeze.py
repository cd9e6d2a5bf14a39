"""What a round may learn from: a person's outlines, which no tag denies, and no mask of a model."""

import numpy as np
import pytest

from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap
from fewmask.io.image import read_labels, write_labels
from fewmask.workbench.quarrels import find_quarrels
from tests.workbench.data import opened, write_data


@pytest.fixture
def folder(tmp_path):
    write_data(tmp_path / "data", 2, masks=True)
    return tmp_path


def begin(bench):
    bench.rounds._start = lambda number: None
    return bench.rounds.folder(bench.rounds.begin(1.0)) / "labels"


def outline(bench, case, *slices, value=1):
    mask = np.full(bench.voxels.info(case).shape[1:], value, np.uint8)
    for d in slices:
        bench.outlines.write(case, d, mask, "outlined", 0)


def redraw(folder, predicted):
    path = folder / "data" / "labels" / "c0.nii.gz"
    labels = read_labels(path)
    write_labels(path, LabelMap(labels.voxels, labels.grid), predicted=predicted)


def test_a_mask_that_a_person_drew_is_taken_over(folder) -> None:
    redraw(folder, predicted=False)
    with opened(folder) as bench:
        assert sorted(bench.outlines.outlined("c0")) == [3, 4, 5, 6]


def test_a_mask_that_a_model_drew_is_neither_outline_nor_lesson(folder) -> None:
    redraw(folder, predicted=True)
    with opened(folder, labels={"liver": (6,)}) as bench:
        assert bench.outlines.outlined("c0") == {}
        assert "a model drew it" in bench.brought.why_not["c0"]
        outline(bench, "c1", 4)
        labels = begin(bench)
        # `prepare --outlines` leaves the mask of the data folder alone.
        assert not (labels / "c0.nii.gz").exists()
        assert read_labels(labels / "c1.nii.gz").voxels[4].all()
        assert not (bench.folder.root / "labels" / "c0.nii.gz").exists()


def test_an_outline_that_its_tag_denies_is_told_before_a_round_begins(folder) -> None:
    with opened(folder, labels={"liver": (6,)}) as bench:
        outline(bench, "c1", 4)
        bench.tables.set_tag("c1", "liver", (5, 7), bench.tables.tags_revision("c1"))
        with pytest.raises(BadConfig, match="c1: liver is outlined in slice 4, outside its tag"):
            bench.rounds.begin(1.0)
        assert bench.rounds.numbers() == []
        bench.tables.set_tag("c1", "liver", (4, 7), bench.tables.tags_revision("c1"))
        assert begin(bench).is_dir()


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        (None, "which its tag says is not in this scan"),
        ((None, 5), None),
        ((6, None), "outside its tag"),
        ((4, 4), None),
    ],
)
def test_half_a_tag_denies_what_it_can(folder, tag, said) -> None:
    with opened(folder) as bench:
        info = bench.voxels.info("c1")  # its file runs the other way: d = 4 is slice 4 of nine
        found = find_quarrels({4: (1,)}, {"liver": tag}, ("liver", "kidney"), info, 0)
    assert len(found) == (said is not None)
    assert all(said in one for one in found)
