"""Every command of docs/evidence.md works as it stands, on small made-up scans."""

import json
import re
import shlex
import shutil
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from fewmask.benchmark.rows import add_rows, read_rows
from fewmask.benchmark.score import score_run
from fewmask.cli.app import VERBS, app
from fewmask.core.budget import Budget
from fewmask.core.errors import BadConfig, PartlyDone
from fewmask.evaluate.scores import COLUMNS, as_row, read_scores
from fewmask.io.prepared import write_budget
from fewmask.io.tables import write_csv
from fewmask.training import TrainRequest, train
from tests.scans import prepare_scans

PAGE = (Path(__file__).parents[1] / "docs" / "evidence.md").read_text(encoding="utf-8")
DICE = {2: 0.5, 4: 0.7, 6: 0.77}
"""What runs of these budgets are said to have, give or take 0.01 per scan."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run, copies of it with other budgets and scores, a sweep of one run, lists, scans."""
    folder: Path = tmp_path_factory.mktemp("evidence")
    prepared = prepare_scans(folder)
    train(
        TrainRequest(
            prepared.folder, folder / "run", method="unet", slices=6, steps=2,
            settings=("channels=(4,8)",), amp="off", device="cpu",
        )
    )  # fmt: skip
    score_run(folder / "run")
    for slices, dice in DICE.items():
        run = folder / f"run-{slices}"
        shutil.copytree(folder / "run", run)
        write_budget(run / "budget.toml", Budget("slices", 0, (("case_00", 2),) * slices))
        scores = read_scores(run / "metrics.csv")
        moved = [replace(one, dice=dice + 0.01 * i, status="ok") for i, one in enumerate(scores)]
        write_csv(run / "metrics.csv", COLUMNS, [as_row(one) for one in moved])
    shutil.copytree(folder / "run", folder / "sweep/unet/run")
    shutil.copytree(folder / "prepared", folder / "sweep/prepared")
    add_rows(folder / "rows/slices.csv", read_rows(folder / "run-2"))
    shutil.copytree(folder / "scans", folder / "other_scans")
    (folder / "lists").mkdir()
    (folder / "lists/train.list").write_text("p1_a\np2_a\n")
    (folder / "lists/test.list").write_text("p3_a\n")
    folds = [{"train": ["p1_a", "p2_a"], "val": ["p1_b"]}]
    (folder / "splits_final.json").write_text(json.dumps(folds))
    for verb in VERBS:
        import_module(f"fewmask.cli.{verb}")
    return folder


def test_its_commands(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    said = {}
    for line in "".join(blocks).splitlines():
        quick = ["--jobs", "1"] if line.startswith("fewmask check") else []
        done = CliRunner().invoke(app, [*shlex.split(line)[1:], *quick])
        fine = done.exit_code == 0 or isinstance(done.exception, PartlyDone)
        assert fine, (line, done.output, done.exception)
        said[line] = done.stdout
    assert len(said) == 7
    run, table, sweep, folds, lists, more, compared = said.values()
    assert "ok           How was the checkpoint chosen? It is the last of 2 steps" in run
    assert (
        "How many comparisons were made on these test patients? Test (2 patients): 1 set" in table
    )
    assert "ok           Was one machine used?" in sweep and "cannot know  Was one" in table
    assert (
        "look         Fold 0: Is a patient in two parts of the split? Yes: p1 (train, test)"
        in folds
    )
    assert "ok           Is a patient in two parts of the split? No: patients 2 train, 1" in lists
    assert re.search(r"about \d more slices? for \+0.02 \(\d+ to (\d+|unknown)\); Dice by", more)
    assert "slices: 2: 0.505, 4: 0.705, 6: 0.775; 2 patients" in more
    assert "liver, mL" in compared and "differs" not in compared


def test_as_data(folder: Path) -> None:
    def told(*words: object) -> Any:
        return json.loads(CliRunner().invoke(app, ["--json", *map(str, words)]).stdout)

    assert told("audit", folder / "lists")["answers"][0]["verdict"] == "ok"
    (one,) = told("more", *(folder / f"run-{n}" for n in DICE))["more"]
    assert one["dice"] == pytest.approx({"2": 0.505, "4": 0.705, "6": 0.775})
    lines = told("check", folder / "scans", "--compare", folder / "prepared", "--jobs", 1)["lines"]
    assert {line["quantity"] for line in lines} >= {"orientation"}


def test_a_gain_that_is_none_is_refused(folder: Path) -> None:
    done = CliRunner().invoke(app, ["more", str(folder / "run-2"), "--gain", "0"])
    assert isinstance(done.exception, BadConfig)


def test_the_page_is_short() -> None:
    prose = re.sub(r"```|<!-- .* -->|\||---", " ", PAGE)
    assert len(prose.split()) < 700
