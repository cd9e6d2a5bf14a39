"""Series of a person's runs: what is fitted, what is silent, and what is said."""

import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fewmask.benchmark.more import PREDICTED, more, read_runs, series_of
from fewmask.benchmark.rows import RunRow
from fewmask.core.budget import Budget
from fewmask.core.errors import BadDataset
from fewmask.io.prepared import write_budget
from tests.benchmark.test_audit import OLD_RUN, ROW

LAW = {4: 0.7, 16: 0.8, 64: 0.85}
"""Error 0.1 + 0.4 / sqrt(n): 36 slices after the 64th bring 0.01."""


def rows(dice: dict[int, float] = LAW, **changes: Any) -> list[RunRow]:
    return [
        replace(ROW, slices=n, patient=f"p{i}", case=f"c{i}", dice=value + shift, **changes)
        for n, value in dice.items()
        for i, shift in enumerate((-0.02, 0.0, 0.02))
    ]


def test_more_slices_for_a_gain() -> None:
    (series,) = series_of(rows())
    said = more(series, 0.01)
    assert said.needed is not None and said.needed.mean == pytest.approx(36)
    text = str(said)
    assert text.startswith("unet, 7 steps: about 36 more slices for +0.01 (")
    assert text.endswith("; Dice by slices: 4: 0.700, 16: 0.800, 64: 0.850; 3 patients")
    unbounded = replace(said, needed=replace(said.needed, high=math.inf))
    assert " to unknown); " in str(unbounded)


@pytest.mark.parametrize(
    "dice, gain, why",
    [
        ({4: 0.7, 16: 0.8}, 0.01, "2 budgets, at least 3 are needed"),
        ({4: 0.8, 16: 0.8, 64: 0.79}, 0.01, "scores do not rise beyond chance: -0.010 ("),
        (LAW, 0.06, "the curve ends at Dice 0.875 with 4 times as many slices"),
    ],
)
def test_it_is_silent_where_it_cannot_know(dice, gain, why) -> None:
    (series,) = series_of(rows(dice))
    said = more(series, gain)
    assert said.needed is None and said.why.startswith(why) and f"cannot know: {why}" in str(said)


def test_one_patient_is_none_to_draw_from() -> None:
    (series,) = series_of([row for row in rows() if row.patient == "p1"])
    assert more(series, 0.01).why == "1 patient scored by all of these runs"


def test_a_series_is_what_all_its_runs_scored() -> None:
    """The fourth patient was scored with four slices only; helped masks and bounds do not count."""
    extra = [
        replace(ROW, slices=4, patient="new", case="new", dice=0.1),
        replace(rows()[0], prompts="oracle-box", dice=0.99),
        replace(rows()[0], prompts="tags", dice=0.99),
    ]
    (series,) = series_of([*rows(), *extra])
    assert series.budgets == (4, 16, 64) and series.scores.shape == (3, 3)
    assert series.scores.mean(1) == pytest.approx([0.7, 0.8, 0.85])
    assert series.without_largest().budgets == (4, 16)


def test_other_times_settings_and_clean_up_are_other_series() -> None:
    others = [rows(steps=9), rows(settings="lr=0.1"), rows(cleanup="learned"), rows(domain="far")]
    found = list(series_of([row for part in [rows(), *others] for row in part]))
    assert len(found) == 5 and len({(one.name, one.domain) for one in found}) == 5


def test_draws_are_runs_of_one_budget() -> None:
    (series,) = series_of([*rows(), *rows({4: 0.6}, draw=1)])
    assert series.runs[0] == pytest.approx((0.7, 0.6)) and len(series.runs[1]) == 1
    assert series.scores[0].mean() == pytest.approx(0.65)


def test_a_run_without_scores_gives_predicted_quality(tmp_path: Path) -> None:
    run = Path(shutil.copytree(OLD_RUN, tmp_path / "run"))
    with pytest.raises(BadDataset, match="neither scores nor predicted quality"):
        read_runs([run])
    write_budget(run / "budget.toml", Budget("slices", 0, slices=(("case_00", 3),)))
    lines = [
        "case,structure,dice,low,high,reasons",
        "case_00,liver,0.9,0.8,1,",
        "case_03,liver,,,,",
    ]
    lines += ["case_04,liver,0.5,0.4,0.6,", "case_04,mean,0.5,0.4,0.6,"]
    (run / "predictions").mkdir()
    (run / "predictions/quality.csv").write_text("\n".join(lines) + "\n")
    (row,) = read_runs([run])
    assert (row.case, row.dice, row.domain, row.slices) == ("case_04", 0.5, PREDICTED, 1)
    (series,) = series_of([row])
    assert "Dice (predicted, not measured) by slices" in str(more(series, 0.01))
    (run / "predictions/quality.csv").write_text("\n".join([lines[0], "c,liver,x,0,1,"]) + "\n")
    with pytest.raises(BadDataset, match="quality"):
        read_runs([run])


def test_nobody_scored_by_all_runs_is_no_number(recwarn: pytest.WarningsRecorder) -> None:
    apart = [replace(row, patient=f"{row.patient}-{row.slices}") for row in rows()]
    (series,) = series_of(apart)
    said = str(more(series, 0.01))
    assert "0 patients scored by all of these runs; Dice by slices: none" in said
    assert not recwarn.list
