"""`fewmask next` and `fewmask benchmark next`: lines, a plan file, one JSON object."""

import json
from pathlib import Path

import pytest

from fewmask.benchmark.rows import add_rows
from fewmask.core.errors import BadConfig
from fewmask.io.tables import read_csv
from fewmask.training import train
from tests.benchmark.test_next import row
from tests.cli.test_verbs import fewmask, refused, small, told
from tests.scans import prepare_scans


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run on three scans of eight slices, of which slices 2 to 5 are outlined, without tags."""
    folder: Path = tmp_path_factory.mktemp("next")
    prepared = prepare_scans(folder, masks="partial", tags=None)
    train(small(prepared.folder, folder / "run"))
    return folder


def test_a_plan_file_counts_slices_as_it_is_told(folder: Path) -> None:
    from_zero, from_one = folder / "zero.csv", folder / "one.csv"
    said = told("next", folder / "run", "-n", 4, "--out", from_zero)
    told("next", folder / "run", "-n", 4, "--out", from_one, "--slices-from", 1)
    lines, later = (read_csv(path, ("case", "slice", "structure", "reason")) for path in
                    (from_zero, from_one))  # fmt: skip
    assert 0 < len(lines) <= 4
    assert [int(line["slice"]) + 1 for line in lines] == [int(line["slice"]) for line in later]
    assert all(line["structure"] == "liver" and line["reason"] in said for line in lines)
    told("next", folder / "run", "-n", 2, "--out", from_zero)
    assert len(read_csv(from_zero, ["case"])) == 2, "our own plan is written again"


def test_one_object_and_a_word_where_fewer_are_free(folder: Path) -> None:
    done = fewmask("--json", "next", folder / "run", "-n", 50, "--rule", "spread")
    found = json.loads(done.stdout)
    assert found["rule"] == "spread" and len(found["suggestions"]) <= 6
    assert "no more are free" in done.stderr


def test_a_rule_that_is_not_there_is_refused(folder: Path) -> None:
    error = refused(BadConfig, "next", folder / "run", "--rule", "best")
    assert error.code == "C02" and "entropy" in error.fix


def test_the_table_of_a_simulation_is_shown_without_a_training(tmp_path: Path) -> None:
    plan, rows = tmp_path / "plan.toml", tmp_path / "rows.csv"
    plan.write_text("")
    add_rows(rows, [row("random", 5, 0, "p", 0.5), row("entropy", 5, 0, "p", 0.75)])
    said = told("benchmark", "next", plan, "--data", tmp_path, "--rows", rows, "--table")
    assert "0.750" in said and "+0.250" in said and "the rule to take: random" in said
