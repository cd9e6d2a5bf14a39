"""A simulation of `fewmask next`: masks that no rule asked for stay shut, it goes on where it
stopped, and its table by hand.
"""

import math
from pathlib import Path

import pytest

from fewmask.benchmark import next as simulation
from fewmask.benchmark.next import read_next_plan, simulate
from fewmask.benchmark.next_table import next_table, rule_of, winner
from fewmask.benchmark.rows import RunRow, read_rows
from fewmask.core.errors import BadConfig
from fewmask.io.case import CaseFile
from fewmask.io.prepared import read_budget
from fewmask.io.text import write_toml
from tests.scans import prepare_scans


def plan_file(folder: Path, **changes: object) -> Path:
    cases = [f"case_{number:02d}" for number in range(6)]
    (folder / "data" / "home").mkdir(parents=True)
    record = {
        "data": "home", "label": ["liver=6"], "recipe": "ct", "amp": "off", "method": "unet",
        "split": {"train": cases[:4], "test": cases[4:]}, "set": {"channels": [4, 8]}, "steps": 2,
        "budgets": [2, 4], "rules": ["random", "entropy"], "draws": [0],
    }  # fmt: skip
    write_toml(folder / "plan.toml", record | changes)
    return folder / "plan.toml"


def test_only_what_a_rule_asked_for_is_opened_and_nothing_is_made_twice(
    tmp_path, monkeypatch
) -> None:
    opened: list[tuple[str, int]] = []
    read = CaseFile.labels

    def spy(self, slices):
        opened.extend((self.path.stem, d) for d in slices)
        return read(self, slices)

    plan = read_next_plan(plan_file(tmp_path))
    prepared = prepare_scans(tmp_path, 6)  # here masks are opened; what comes after counts
    monkeypatch.setattr(CaseFile, "labels", spy)

    monkeypatch.setattr(simulation, "prepare_plan", lambda *_: prepared)
    places = tmp_path / "data", tmp_path / "work", tmp_path / "rows.csv"
    said: list[str] = []
    first = simulate(plan, *places, device="cpu", say=said.append)
    names = ["random-2s-draw0", "random-4s-draw0", "entropy-2s-draw0", "entropy-4s-draw0"]
    assert first.done == names == said
    budgets = {name: read_budget(tmp_path / "work" / name / "budget.toml") for name in names}
    assert budgets["random-2s-draw0"] == budgets["entropy-2s-draw0"], "no network yet: by lot"
    for rule in ("random", "entropy"):
        few, more = (set(budgets[f"{rule}-{n}s-draw0"].slices) for n in (2, 4))
        assert few < more and len(few) == 2 and len(more) == 4
        assert {case for case, _ in more} == {"case_00", "case_01", "case_02", "case_03"}
    asked = {pair for budget in budgets.values() for pair in budget.slices}
    training = {pair for pair in opened if pair[0] < "case_04"}
    assert training and training <= asked
    rows = read_rows(tmp_path / "rows.csv")
    assert {(rule_of(row), row.slices) for row in rows} == {
        (rule, n) for rule in ("random", "entropy") for n in (2, 4)
    }
    again = simulate(plan, *places, device="cpu", say=said.append)
    assert again.there == names and said == names and read_rows(tmp_path / "rows.csv") == rows


@pytest.mark.parametrize(
    "change", [{"rules": ["best"]}, {"budgets": [4, 2]}, {"draws": []}, {"rule": ["random"]}]
)
def test_a_plan_is_read_strictly(tmp_path, change) -> None:
    with pytest.raises(BadConfig):
        read_next_plan(plan_file(tmp_path, **change))


def row(rule: str, n: int, draw: int, patient: str, dice: float, cleanup: str = "learned"):
    return RunRow(
        method="unet", settings=f"rule={rule} a=1", slices=n, volumes=None, draw=draw, seed=draw,
        minutes=None, steps=2, domain="test", patient=patient, case=patient, label="liver",
        prompts="automatic", cleanup=cleanup, status="ok", dice=dice, nsd=1.0, hd95_mm=0.0,
        hd_mm=0.0, assd_mm=0.0, volume_error_ml=0.0,
    )  # fmt: skip


def test_differences_are_paired_and_a_rule_wins_over_all_budgets() -> None:
    """Eight patients, two draws: `entropy` is better by 0.1 and a little more in each."""
    rows = []
    for draw in (0, 1):
        for number in range(8):
            base = 0.5 + 0.02 * number
            rows += [row("random", n, draw, f"p{number}", base) for n in (5, 10, 20)]
            rows += [row("random", 5, draw, f"p{number}", 0.9, cleanup="none")]
            rows += [row("entropy", 5, draw, f"p{number}", base)]
            gain = 0.1 + 0.001 * number
            rows += [row("entropy", n, draw, f"p{number}", base + gain) for n in (10, 20)]
    lines = next_table(rows)
    assert [(one.rule, one.slices) for one in lines] == [
        ("random", 5), ("entropy", 5), ("random", 10), ("entropy", 10), ("random", 20),
        ("entropy", 20), ("random", None), ("entropy", None),
    ]  # fmt: skip
    assert lines[0].dice.mean == pytest.approx(0.57) and lines[0].difference is None
    over_all = lines[-1].difference
    assert over_all is not None and over_all.interval.mean == pytest.approx(0.1035)
    assert (over_all.n, over_all.n_higher, over_all.draws) == (8, 8, 2)
    assert winner(lines) == "entropy"


def test_one_draw_and_unfinished_draws_decide_nothing() -> None:
    rows = [row("random", n, 0, f"p{i}", 0.5) for n in (5, 10) for i in range(8)]
    rows += [row("entropy", n, 0, f"p{i}", 0.6 + i / 100) for n in (5, 10) for i in range(8)]
    assert winner(next_table(rows)) == "random", "one draw"
    assert winner(next_table(row for row in rows if "random" not in row.settings)) is None
    rows += [row("random", n, 1, f"p{i}", 0.5) for n in (5, 10) for i in range(8)]
    rows += [row("entropy", 5, 1, f"p{i}", 0.9) for i in range(8)]
    lines = next_table(rows)
    assert winner(lines) == "random", "the second draw lacks a budget"
    assert next_table([row("random", 5, 0, "p", math.nan)]) == []
