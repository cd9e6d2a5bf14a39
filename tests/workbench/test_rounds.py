"""Rounds: what is frozen, what is kept aside, who is compared on what, which is the default."""

import json
import math
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from fewmask.core.errors import BadConfig
from fewmask.core.volume import LabelMap
from fewmask.io.image import read_labels, read_volume, write_labels
from fewmask.io.lock import folder_lock
from fewmask.io.tables import read_csv, write_csv
from fewmask.io.text import write_json
from fewmask.prepare.options import AS_THEY_ARE
from fewmask.workbench import job
from fewmask.workbench.compared import Compared
from fewmask.workbench.freeze import freeze
from fewmask.workbench.job import ROUND, STATE, run_round
from fewmask.workbench.rounds import Rounds, Running
from tests.scans import write_scans


class Desk:
    """Outlines in memory, and masks that rounds are said to have drawn."""

    def __init__(self, root, cases=("a", "b"), depth=16) -> None:
        self.root = root
        self.truth = {case: np.zeros((depth, 4, 4), np.uint8) for case in cases}
        self.drawn: dict[int, dict[str, np.ndarray]] = {}
        for name in ("labels", "rounds"):
            (root / name).mkdir(parents=True)
        self.rounds = Rounds(
            root,
            root / "data",
            ("liver",),
            AS_THEY_ARE,
            lambda case, d: self.truth[case][d],
            lambda case, number, d: self.drawn[number][case][d],
            lambda: {
                case: set(np.flatnonzero(truth.any((1, 2))).tolist())
                for case, truth in self.truth.items()
            },
            lambda: None,
        )
        self.rounds._start = lambda number: None  # type: ignore[method-assign]

    def outline(self, case, *slices) -> None:
        for d in slices:
            self.truth[case][d, :2] = 1  # eight pixels

    def finish(self, number, columns) -> None:
        """A round that drew the first so many columns of the two rows: Dice 2c / (c + 4)."""
        write_json(self.rounds.folder(number) / STATE, {"state": "done", "stage": "predict"})
        self.drawn[number] = {case: np.zeros_like(truth) for case, truth in self.truth.items()}
        for drawn in self.drawn[number].values():
            drawn[:, :2, :columns] = 1


def test_slices_that_neither_learned_from_decide(tmp_path) -> None:
    desk = Desk(tmp_path)
    desk.outline("a", 0, 1)
    assert desk.rounds.begin(1.0) == 1
    desk.finish(1, 2)
    desk.outline("a", 2)
    assert desk.rounds.begin(1.0) == 2
    desk.finish(2, 3)
    nothing = desk.rounds.compare(2, 1)
    assert nothing.slices == 0 and "not compared with round 1 yet" in nothing.words()
    assert desk.rounds.default() == 2
    desk.outline("a", 3)
    desk.outline("b", 5, 6)
    found = desk.rounds.compare(2, 1)
    # Dice 2 * 6 / (6 + 8) against 2 * 4 / (4 + 8), on each of three slices of two scans.
    assert found.slices == 3 and found.better_by == pytest.approx(12 / 14 - 8 / 12)
    assert "better by 0.19" in found.words() and "3 outlined slices" in found.words()


def test_a_slice_that_was_taken_over_as_it_was_decides_nothing(tmp_path) -> None:
    desk = Desk(tmp_path)
    desk.outline("a", 0)
    for number, columns in ((1, 2), (2, 3)):
        desk.rounds.begin(1.0)
        desk.finish(number, columns)
    desk.truth["b"][7, :2, :2] = 1  # as round 1 drew it
    assert desk.rounds.compare(2, 1).slices == 0
    desk.outline("b", 8)
    assert desk.rounds.compare(2, 1).slices == 1


def test_a_round_that_is_no_better_does_not_become_the_default(tmp_path) -> None:
    desk = Desk(tmp_path)
    desk.outline("a", 0)
    desk.rounds.begin(1.0)
    desk.finish(1, 3)
    desk.rounds.begin(1.0)
    desk.finish(2, 2)
    desk.outline("b", 7, 8)
    desk.rounds._settled = (-math.inf, None)
    assert desk.rounds.default() == 1
    assert desk.rounds.line(2)["compared"]["words"].startswith("no better (-0.19)")
    desk.rounds.choose(2)
    assert desk.rounds.default() == 2


def test_the_page_compares_a_round_with_the_one_in_use_and_not_with_the_last(tmp_path) -> None:
    desk = Desk(tmp_path)
    desk.outline("a", 0)
    for number, columns in ((1, 3), (2, 1), (3, 2)):
        desk.rounds.begin(1.0)
        desk.finish(number, columns)
    desk.outline("b", 7, 8)
    desk.rounds._settled = (-math.inf, None)
    # Dice 0.86, 0.4 and 0.67: the third is better than the second, which was never in use.
    words = desk.rounds.line(3)["compared"]["words"]
    assert words.startswith("no better (-0.19)") and "than round 1 on 2" in words
    assert desk.rounds.default() == 1


def test_a_quarter_of_many_new_outlines_is_kept_aside_and_learned_from_next(tmp_path) -> None:
    desk = Desk(tmp_path)
    desk.outline("a", 0)
    desk.rounds.begin(1.0)
    desk.finish(1, 2)
    desk.outline("a", 1, 2, 3, 4)
    desk.outline("b", *range(8))
    desk.rounds.begin(1.0)
    record = json.loads((desk.rounds.folder(2) / ROUND).read_text())
    aside = record["aside"]
    assert sum(map(len, aside.values())) == 3  # of twelve
    assert set(aside) == {"a", "b"}
    assert not any(set(record["learned"][case]) & set(ds) for case, ds in aside.items())
    desk.finish(2, 3)
    assert desk.rounds.compare(2, 1).slices == 3
    desk.rounds.begin(1.0)
    third = json.loads((desk.rounds.folder(3) / ROUND).read_text())
    assert sum(map(len, third["learned"].values())) == 13 and not third["aside"]


def test_what_is_kept_aside_is_in_none_of_the_round_s_files(tmp_path) -> None:
    write_scans(tmp_path / "scans")
    scan = read_volume(tmp_path / "scans" / "images" / "case_01.nii.gz")
    desk = Desk(tmp_path / "work", cases=("case_01",), depth=scan.shape[0])
    voxels = np.zeros(scan.shape, np.uint8)
    voxels[[2, 3], 1:3, 1:3] = 1
    write_labels(tmp_path / "work" / "labels" / "case_01.nii.gz", LabelMap(voxels, scan.grid))
    flipped = scan.grid.orientation.flips[0]
    shown = [scan.shape[0] - 1 - d if flipped else d for d in (2, 3)]
    rows = [{"case": "case_01", "first_slice": min(shown), "last_slice": max(shown)}]
    write_csv(tmp_path / "work" / "reviewed.csv", ("case", "first_slice", "last_slice"), rows)
    folder = tmp_path / "from"
    folder.mkdir()
    freeze(desk.root, folder, ["case_01"], {"case_01": {3}}, "axial")
    kept = read_labels(folder / "labels" / "case_01.nii.gz").voxels
    assert np.array_equal(np.flatnonzero(kept.any((1, 2))), [2])
    left = read_csv(folder / "reviewed.csv", ("case", "first_slice", "last_slice"))
    assert [(row["first_slice"], row["last_slice"]) for row in left] == [(str(shown[0]),) * 2]


def test_a_structure_without_an_outline_is_told(tmp_path) -> None:
    with pytest.raises(BadConfig, match="nothing is outlined yet of: liver"):
        Desk(tmp_path).rounds.begin(1.0)


def test_one_at_a_time(tmp_path) -> None:
    desk = Desk(tmp_path)
    desk.outline("a", 0)
    desk.rounds.begin(1.0)
    with pytest.raises(Running):
        desk.rounds.begin(1.0)


def test_a_round_whose_process_is_gone_has_stopped(tmp_path) -> None:
    desk = Desk(tmp_path)
    desk.outline("a", 0)
    desk.rounds.begin(1.0)
    folder = desk.rounds.folder(1)
    write_json(folder / STATE, {"state": "running", "stage": "train"})
    assert desk.rounds.state(1)["state"] == "stopped"
    with folder_lock(folder, "test"):
        assert desk.rounds.state(1)["state"] == "running"


def stub(folder, **codes) -> None:
    """A round whose commands are the program's own help, or do not exist."""
    folder.mkdir(exist_ok=True)
    words = {stage: codes.get(stage, ["--version"]) for stage in job.STAGES}
    write_json(folder / ROUND, {"commands": words})


def test_a_failed_stage_says_why_and_is_taken_up_again(tmp_path) -> None:
    stub(tmp_path / "r", train=["train", str(tmp_path / "nothing"), "--out", str(tmp_path / "o")])
    assert run_round(tmp_path / "r") == "failed"
    state = json.loads((tmp_path / "r" / STATE).read_text())
    assert state["stage"] == "train" and state["finished"] == ["prepare"]
    assert "nothing" in state["message"] or "[" in state["message"]
    stub(tmp_path / "r")
    assert run_round(tmp_path / "r") == "done"


def test_what_its_commands_warn_of_is_kept() -> None:
    said = {
        "advice": "too few steps",
        "empty": ["liver: 2 of 3 masks empty"],
        "refused": [{"case": "a", "what": "cut off"}, {"case": "", "what": "b is a link"}],
    }
    assert job._warnings(json.dumps(said)) == [
        "too few steps",
        "liver: 2 of 3 masks empty",
        "a: cut off",
        "folder: b is a link",
    ]
    assert job._warnings("") == [] == job._warnings("[]")


def test_a_round_that_is_asked_to_stop_stops(tmp_path) -> None:
    code = "import time; time.sleep(60)"
    stub(tmp_path / "r")
    script = (
        "import sys, subprocess\n"
        "from fewmask.workbench import job\n"
        f"real = subprocess.Popen\n"
        f"job.subprocess.Popen = lambda c, **k: real([sys.executable, '-c', {code!r}], **k)\n"
        "sys.exit(job.main())\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "r")])
    for _ in range(200):
        if (tmp_path / "r" / STATE).exists():
            break
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(2)
    assert process.wait(20) == 0
    assert json.loads((tmp_path / "r" / STATE).read_text())["state"] == "stopped"


def test_words_hold_the_interval() -> None:
    assert Compared(1, 12, 0.03, 0.01, 0.05).words() == (
        "better by 0.03 (+0.01 to +0.05) than round 1 on 12 outlined slices that neither learned "
        "from"
    )
    assert "no better (-0.02, -0.05 to +0.01)" in Compared(1, 4, -0.02, -0.05, 0.01).words()


def test_a_round_does_not_go_on_with_the_outlines_of_a_later_one(tmp_path, monkeypatch) -> None:
    desk = Desk(tmp_path)
    desk.outline("a", 0)
    begun: list[int] = []
    monkeypatch.setattr(desk.rounds, "_start", begun.append)
    first = desk.rounds.begin(1.0)
    write_json(desk.rounds.folder(first) / STATE, {"state": "stopped", "stage": "train"})
    second = desk.rounds.begin(1.0)
    write_json(desk.rounds.folder(second) / STATE, {"state": "stopped", "stage": "train"})
    with pytest.raises(BadConfig, match="a later one was begun"):
        desk.rounds.go_on(first)
    desk.rounds.go_on(second)
    assert begun == [first, second, second]


def test_a_round_that_is_starting_can_be_stopped(tmp_path) -> None:
    desk = Desk(tmp_path)
    desk.outline("a", 0)
    number = desk.rounds.begin(1.0)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        desk.rounds._processes = [process]
        desk.rounds.stop(number)
        assert process.wait(30) != 0


def test_a_clock_that_was_set_back_makes_no_round_start_for_ever(tmp_path) -> None:
    desk = Desk(tmp_path)
    desk.outline("a", 0)
    number = desk.rounds.begin(1.0)
    assert desk.rounds.state(number)["state"] == "running"
    later = time.time() + 3600
    os.utime(desk.rounds.folder(number) / ROUND, (later, later))
    assert desk.rounds.state(number)["state"] == "stopped"
