"""Too few steps are said before training, with what would do."""

import csv
from collections import defaultdict
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from fewmask.core.batch import Batch, Step
from fewmask.core.errors import Interrupted
from fewmask.io.run import RunFolder
from fewmask.methods import find_method, names
from fewmask.methods._method import Stage
from fewmask.methods.unet import UNet2d
from fewmask.training import ProgressEvent, TrainRequest, train
from fewmask.training import run as training_run
from fewmask.training.advice import advise, largest_size, tell_stuck
from tests.narrow import required, watched
from tests.scans import prepare_scans

ALONE = Stage("", "sam_mix", None, 1.0)
ROWS = Path(__file__).parents[2] / "experiments" / "rows"


def test_minutes_and_a_size_that_would_do_are_named() -> None:
    """40 steps of 3 s are 2 minutes; 235 steps are 11.75."""
    assert advise(ALONE, 40, 235, 2.0, 3.0, (160, 240)) == (
        "about 40 steps fit in 2 minutes; sam_mix wants 235 or more to be of use: `minutes=12`, "
        "or prepare again with `size=160` (about 240 steps)"
    )
    assert advise(ALONE, 40, 235, 2.0, 3.0).endswith("to be of use: `minutes=12`")
    assert advise(ALONE, 19, 235) == (
        "19 steps asked for; sam_mix wants 235 or more to be of use: `steps=235`"
    )
    assert advise(ALONE, 235, 235) == advise(ALONE, 1, 0) == ""


def test_a_stage_names_the_minutes_of_the_whole_run() -> None:
    """A quarter of 8 minutes; 100 steps of 3 s are 5 minutes, so the run wants 20."""
    told = advise(replace(ALONE, share=0.25), 40, 100, 2.0, 3.0)
    assert told.startswith("about 40 steps fit in its 25% of 8 minutes")
    assert told.endswith("`minutes=20`")


def test_sizes_are_tried_downwards_from_where_pixels_would_do() -> None:
    """40 of 160 steps at 512 pixels: half the side, 256, if steps cost as their pixels do."""
    tried: list[int] = []

    def count(size: int) -> int:
        tried.append(size)
        return {256: 120, 224: 150, 192: 170}[size]

    assert largest_size(512, 40 / 160, count, 160) == (192, 170)
    assert tried == [256, 224, 192]
    assert largest_size(512, 40 / 160, lambda size: 0, 160) is None
    assert largest_size(128, 0.5, lambda size: 999, 160) is None  # nothing smaller is known


def test_the_least_steps_of_a_method_have_usable_masks_in_its_rows() -> None:
    dice: dict[tuple[str, str, str, str], list[float]] = defaultdict(list)
    for path in sorted(ROWS.glob("*.csv")):
        for row in csv.DictReader(path.read_text().splitlines()):
            if row.get("prompts") == "automatic" and row["domain"] == "test":
                budget = f"{row['slices']} {row['volumes']} {row['settings']}"
                dice[row["method"], row["steps"], path.stem, budget].append(float(row["dice"]))
    usable = {
        (method, int(steps))
        for (method, steps, *_), values in dice.items()
        if sum(values) / len(values) >= 0.7
    }
    claimed = {(name, find_method(name).least_steps) for name in names()}
    assert {pair for pair in claimed if pair[1]} <= usable


@pytest.fixture(scope="module")
def request_of(tmp_path_factory):
    prepared = prepare_scans(tmp_path_factory.mktemp("advice"))

    def make(out, **changes) -> TrainRequest:
        base = {"method": "unet", "settings": ("channels=(4,8)",), "amp": "off", "device": "cpu"}
        return TrainRequest(prepared.folder, out, **{**base, **changes})

    return make


def test_it_leads_what_is_said_stands_in_the_record_and_is_said_again(request_of, tmp_path) -> None:
    """A twentieth of a second is no training."""
    seen: list[ProgressEvent] = []
    request = request_of(tmp_path / "run", slices=3, minutes=0.001)

    record = RunFolder(train(request, seen.append)).read_record()
    assert "unet wants 450 or more to be of use: `minutes=" in record.advice
    assert seen[0].note == record.advice and "size=" not in record.advice
    assert not record.differences(replace(record, advice=""))
    assert train(request, seen.append)  # finished: the same request is the same run


def test_without_a_number_all_masks_are_taken(request_of, tmp_path) -> None:
    """Three training scans with four outlined slices each; a 3D method takes the three masks."""
    seen: list[ProgressEvent] = []
    run = train(request_of(tmp_path / "run", steps=1), seen.append)
    assert RunFolder(run).read_budget().masks == 12
    assert "learns from all outlined slices there are: 12, of scans: 3" in seen[0].note
    # The same by their number, and the other way round.
    assert train(request_of(tmp_path / "run", steps=1, slices=12)) == run


def test_a_3d_method_takes_all_whole_masks(request_of, tmp_path) -> None:
    from fewmask.io.prepared import Prepared
    from fewmask.training import draw_budget

    request = request_of(tmp_path, method="vnet", settings=("patch=(32,32,32)",))
    prepared = Prepared.open(request.prepared)
    budget = draw_budget(request, prepared)
    assert (budget.kind, budget.masks) == ("volumes", 3)
    assert budget == draw_budget(TrainRequest(**{**asdict(request), "volumes": 3}), prepared)
    partial = replace(
        prepared,
        cases={case: replace(row, complete=False) for case, row in prepared.cases.items()},
    )
    assert (draw_budget(request, partial).kind, draw_budget(request, partial).masks) == (
        "slices",
        12,
    )


def test_a_step_of_a_smaller_grid_is_taken_and_timed(tmp_path, monkeypatch) -> None:
    """A second a step at 256 pixels, a tenth at the size that is tried: 60 and 600 in a minute."""
    prepared = prepare_scans(tmp_path, size=256)
    seconds, seen = iter((1.0, 0.1)), list[tuple[int, ...]]()

    def pretend(step, steps: int, places: int = 10) -> float:
        step(0)
        return next(seconds)

    monkeypatch.setattr(training_run, "mean_step", pretend)

    def look(self: UNet2d, batch: Batch, step: Step) -> None:
        seen.append(required(batch.labelled).image.shape[-2:])

    monkeypatch.setattr(UNet2d, "losses", watched(UNet2d.losses, look))
    request = TrainRequest(
        prepared.folder,
        tmp_path / "run",
        "unet",
        slices=1,
        minutes=1.0,
        amp="off",
        device="cpu",
        settings=("channels=(4,8)", "labelled=1"),
    )
    with pytest.raises(Interrupted):
        train(request, lambda event: True)
    assert RunFolder(request.out).read_record().advice == (
        "about 60 steps fit in 1 minute; unet wants 450 or more to be of use: `minutes=8`, or "
        "prepare again with `size=128` (about 600 steps)"
    )
    assert seen == [(256, 256), (128, 128), (256, 256)]


def test_f18_a_loss_that_stands_still_is_told_with_likely_causes() -> None:
    still = [{"step": str(n), "dice": "0.5", "ce": "0.25"} for n in range(30)]
    told = tell_stuck([{"step": "0", "dice": "0.9", "ce": "1"}, *still])
    assert "not changed since step 0" in told and "`recipe`" in told and "`labels`" in told
    read_again = [{**row, "cps": ""} for row in still]
    assert "not changed since step 0" in tell_stuck(read_again), "a loss that comes later"
    moving = [{**row, "ce": str(0.25 - 1e-5 * n)} for n, row in enumerate(still)]
    assert tell_stuck(moving) == tell_stuck(still[1:]) == tell_stuck([]) == ""
