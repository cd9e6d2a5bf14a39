"""What a row of the queue says of a mask's quality, from `quality.csv` beside it."""

import numpy as np
import pytest

from fewmask.core.volume import LabelMap
from fewmask.io.image import write_labels
from fewmask.io.tables import write_csv
from fewmask.workbench.folder import key_of
from fewmask.workbench.queue import case_row
from tests.workbench.data import finish_round, opened, write_data

COLUMNS = ("case", "structure", "dice", "low", "high", "reasons")


@pytest.fixture
def bench(tmp_path):
    write_data(tmp_path / "data", 1)
    with opened(tmp_path) as one:
        info = one.voxels.info("c0")
        folder = one.folder.predictions(1)
        folder.mkdir(parents=True)
        write_labels(folder / "c0.nii.gz", LabelMap(np.ones(info.shape, np.uint8), info.grid))
        finish_round(one.folder.root, 1)
        yield one


def row(bench, *lines):
    path = bench.folder.predictions(1) / "quality.csv"
    write_csv(path, COLUMNS, (dict(zip(COLUMNS, ("c0", *line), strict=True)) for line in lines))
    return case_row(bench, key_of("c0"))


def test_a_predicted_dice_has_its_interval_and_the_reasons_stand_once(bench) -> None:
    found = row(
        bench,
        ("liver", 0.8, 0.7, 0.9, "2 pieces"),
        ("kidney", 0.6, 0.3, 0.8, ""),
        ("mean", 0.7, 0.5, 0.85, "liver: 2 pieces"),
    )
    assert found["quality"]["mean"] == {"dice": 0.7, "low": 0.5, "high": 0.85}
    assert found["quality"]["liver"] == {"dice": 0.8, "low": 0.7, "high": 0.9}
    assert found["reason"] == found["quality_note"] == "liver: 2 pieces"


def test_what_cannot_be_known_is_not_guessed(bench) -> None:
    found = row(
        bench,
        ("liver", 0.8, 0.7, 0.9, ""),
        ("kidney", None, None, None, "empty"),
        ("mean", None, None, None, "kidney: empty"),
    )
    assert found["quality"]["mean"] is None and "kidney" not in found["quality"]
    assert found["state"] == "predicted" and found["reason"] == "kidney: empty"


def test_without_a_table_nothing_is_said_of_quality(bench) -> None:
    found = case_row(bench, key_of("c0"))
    assert found["quality"] == {"mean": None} and found["quality_note"] == ""
