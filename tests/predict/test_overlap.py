"""Reading, drawing and writing side by side: the same results in the same order, at most one scan
ahead and one behind, and nothing half written.
"""

import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from fewmask.predict import Predictor, work
from fewmask.predict.folder import predict_folder
from fewmask.predict.overlap import Steps, run_in_turn, run_side_by_side
from fewmask.training import TrainRequest, train
from tests.scans import prepare_scans

FIVE = {name: number for number, name in enumerate("abcde")}


class Log:
    """Steps that note when they begin and end; numbers may go wrong in one of them."""

    def __init__(self, wrong: dict[int, str] | None = None) -> None:
        self.wrong, self.lock = wrong or {}, threading.Lock()
        self.said: list[str] = []
        self.inside: set[str] = set()
        self.most = 0

    def _work(self, kind: str, number: int) -> None:
        with self.lock:
            self.inside.add(f"{kind} {number}")
            self.most = max(self.most, len(self.inside))
            self.said.append(f"{kind} {number}")
        time.sleep(0.02)
        with self.lock:
            self.inside.remove(f"{kind} {number}")
        if self.wrong.get(number) == kind:
            raise ValueError(f"{kind} {number}")

    def read(self, name: str, number: int) -> int:
        self._work("read", number)
        return number

    def draw(self, name: str, number: int) -> int:
        assert threading.current_thread() is threading.main_thread()
        self._work("draw", number)
        return 10 * number

    def write(self, name: str, number: int, drawn: int) -> str:
        self._work("write", number)
        return f"{name}{number + drawn}"

    @property
    def steps(self) -> Steps[int, int, int, str]:
        return Steps(self.read, self.draw, self.write)


@pytest.mark.parametrize("wrong", [{}, {0: "read", 2: "draw", 4: "write"}, {1: "write"}])
def test_side_by_side_gives_what_one_after_the_other_gives(wrong: dict[int, str]) -> None:
    def tell(run, log: Log) -> list[str]:
        told = []
        for name, future in run(FIVE, log.steps):
            error = future.exception()
            told.append(f"{name}: {error if error else future.result()}")
        return told

    one, other = Log(wrong), Log(wrong)
    told = tell(run_in_turn, one)
    assert tell(run_side_by_side, other) == told and one.most == 1 and 2 <= other.most <= 3
    assert sorted(one.said) == sorted(other.said), "everything was done once"
    if not wrong:
        assert told == ["a: a0", "b: b11", "c: c22", "d: d33", "e: e44"]


def test_it_is_one_scan_ahead_and_one_mask_behind_and_no_more() -> None:
    log = Log()
    for done, (_, future) in enumerate(run_side_by_side(FIVE, log.steps)):
        future.result()
        read = sum(line.startswith("read") for line in log.said)
        drawn = sum(line.startswith("draw") for line in log.said)
        assert read <= done + 3 and drawn <= done + 2


def test_who_stops_waits_for_the_mask_that_is_being_written_and_for_nothing_else() -> None:
    log = Log()
    with closing(run_side_by_side(FIVE, log.steps)) as outcomes:
        next(outcomes)
    assert not any(line.startswith("write") for line in log.inside)
    assert "write 0" in log.said and "draw 4" not in log.said


def test_a_signal_passes_and_leaves_nothing_half_written() -> None:
    class Stop(BaseException):
        pass

    log = Log()

    def draw(name: str, number: int) -> int:
        if number == 2:
            raise Stop
        return log.draw(name, number)

    steps = Steps(log.read, draw, log.write)
    with pytest.raises(Stop), closing(run_side_by_side(FIVE, steps)) as outcomes:
        for _, future in outcomes:
            future.result()
    assert "write 1" in log.said and not any(line.startswith("write") for line in log.inside)


def test_a_folder_is_predicted_to_the_same_files_both_ways(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three scans and a broken one."""
    prepared = prepare_scans(tmp_path / "data")
    run = train(
        TrainRequest(
            prepared.folder,
            tmp_path / "run",
            "unet",
            slices=3,
            steps=1,
            amp="off",
            device="cpu",
            settings=("channels=[4,4]",),
        )
    )
    images = tmp_path / "data" / "scans" / "images"
    (images / "case_99.nii.gz").write_bytes(b"not a scan")
    predictor, found = Predictor.load(run, "cpu"), []
    for way in (False, True):
        monkeypatch.setattr(work, "overlaps", lambda predictor, way=way: way)
        out = tmp_path / f"masks-{way}"
        done = predict_folder(predictor, images, out)
        files = {one.name: one.read_bytes() for one in out.iterdir()}
        found.append((done.written, done.notes, [line["case"] for line in done.refused], files))
    assert found[0] == found[1] and found[0][2] and len(found[0][0]) >= 3
