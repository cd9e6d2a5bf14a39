"""Scripts that measure runs write rows that can be committed."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from fewmask.core.errors import BadDataset
from fewmask.io.tables import read_csv
from fewmask.io.text import write_json
from tests.scans import prepare_scans

SCRIPTS = Path(__file__).parents[1] / "experiments"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Loads a script as Python does that starts it: its folder is searched first."""
    monkeypatch.syspath_prepend(SCRIPTS)

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, SCRIPTS / f"{name}.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def test_a_line_takes_the_place_of_the_same_run_and_scan(script: Any, tmp_path: Path) -> None:
    add, file = script("quantities").add, tmp_path / "rows" / "boxes.csv"
    add(None, ["case"], [{"case": "a", "iou": 0.5}])
    add(file, ["case"], [{"case": "a", "iou": 0.5}, {"case": "b", "iou": None}])
    add(file, ["case"], [{"case": "a", "iou": 0.25}])
    assert read_csv(file, ["case", "iou"]) == [
        {"case": "a", "iou": "0.25"},
        {"case": "b", "iou": ""},
    ]
    with pytest.raises(BadDataset, match="auc"):
        add(file, ["case"], [{"case": "a", "auc": 0.5}])


def test_boxes_of_a_scan_by_hand(script: Any, tmp_path: Path) -> None:
    """Slices 2 to 5 hold the organ, 12 x 12 pixels. Of them 2 has the true box, 3 half of it, and 4
    and 5, one and no slice from the end, none; of the four others one has a box.
    """
    boxes = script("boxes").boxes
    prepared = prepare_scans(tmp_path)
    with prepared.case("case_03") as file:
        h, w = file.labels(range(file.shape[0]))[2].nonzero()
    x0, y0, x1, y1 = w.min(), h.min(), w.max() + 1, h.max() + 1
    true, half = [x0, y0, x1, y1], [x0, y0, (x0 + x1) / 2, y1]
    own = [None, half, true, half, None, None, None, None]
    slices = [
        {"d": d, "boxes_raw": [None if box is None else [float(edge) for edge in box]]}
        for d, box in enumerate(own)
    ]
    write_json(tmp_path / "case_03.prompts.json", {"slices": slices})
    run = SimpleNamespace(open_prepared=lambda: prepared, predictions=tmp_path)
    found = boxes(run, "case_03", 0)
    assert found.overlaps == pytest.approx((1.0, 0.5)) and found.silent == (1, 0)
    assert (found.others, found.called) == (4, 1)


def test_boxes_of_a_second_look_by_hand(script: Any) -> None:
    """Three slices: the structure fills 4 x 2 pixels in the first two, four further right in the
    second; the third has none.
    """
    look = script("second_look")
    labels = np.zeros((3, 20, 20), np.uint8)
    labels[0, 5:7, 2:6], labels[1, 5:7, 6:10] = 1, 1
    boxes = look.boxes_of(labels, 1)
    assert boxes[:2, 0].tolist() == [[2, 5, 6, 7], [6, 5, 10, 7]] and np.isnan(boxes[2]).all()
    smooth = look.smooth(boxes)
    assert smooth[0, 0].tolist() == [4, 5, 8, 7], "the middle of two is their mean"
    assert np.isnan(smooth[2]).all(), "a slice without a mask gets no box"
    moved = [one[0, 0].tolist() for one in look.shifted(boxes)]
    assert moved[0] == [2, 5, 6, 7]
    assert np.allclose(moved[1:3], [[1.8, 5, 5.8, 7], [2.2, 5, 6.2, 7]])
    assert np.allclose(moved[3:], [[2, 4.9, 6, 6.9], [2, 5.1, 6, 7.1]])
    probs = np.full((2, 3, 20, 20), 0.5, np.float32)
    kept = look.inside(probs, boxes)
    assert [float(kept[1, d].sum()) for d in range(3)] == [4.0, 4.0, 0.0]
    assert float(kept.sum(0).min()) == float(kept.sum(0).max()) == 1.0


def test_what_sam_says_in_boxes_is_kept_slice_by_slice(script: Any) -> None:
    """Of three slices the last two come first, as a predictor may hand them out."""

    class Sam:
        task = SimpleNamespace(k=1)

        def watched_by(self, watch: Any) -> "Sam":
            self.watch = watch
            return self

        def volume_with_boxes(self, volume: Any, boxes: Any) -> None:
            for slices in ([1, 2], [0]):
                told = torch.tensor(slices, dtype=torch.float32)[None, :, None, None]
                self.watch(slices, told.expand(2, len(slices), 4, 4))

    said = script("second_look").ask(Sam(), SimpleNamespace(shape=(3, 4, 4)), np.zeros((3, 1, 4)))
    assert said[1, :, 0, 0].tolist() == [0.0, 1.0, 2.0]
