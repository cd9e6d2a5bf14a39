"""The page beside other packages is what its rows say, and its command runs at toy size."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module", autouse=True)
def parts() -> Iterator[None]:
    sys.path.insert(0, str(ROOT / "benchmarks"))
    yield
    sys.path.remove(str(ROOT / "benchmarks"))


def row(pair: int, ours: float, theirs: float, **more):
    from peers_parts.turns import Row

    return Row("scores", "MONAI", pair, ours, theirs, **more)


def test_the_page_is_not_behind_its_rows() -> None:
    from peers_parts import page
    from peers_parts.rows import read_rows

    rows = read_rows(ROOT / "experiments" / "rows" / "peers.csv")
    text = page.PAGE.read_text()
    assert text == page.written(text, rows), "run: python benchmarks/peers.py --page"


def test_median_and_ends_of_the_ratios_and_a_missed_aim_in_bold() -> None:
    """Peer over ours: 10, 30 and 20 where 20 was wanted; then 10, 15, 20."""
    from peers_parts import page

    reached = page.line([row(1, 1, 10), row(2, 1, 30), row(3, 2, 40)])
    assert reached[2:6] == [">= 20x", "20x (10 to 30, 3 pairs)", "1", "30"]
    assert page.line([row(1, 1, 10), row(2, 1, 15), row(3, 1, 20)])[3].startswith("**15x")
    assert page.line([row(0, 0, 0, note="not here")])[3] == "skipped: not here"
    assert page.written("", []).count("not yet measured") == len(page.AIMS)


def test_rows_come_back_and_replace_those_of_the_same_peer(tmp_path) -> None:
    from peers_parts.rows import read_rows, replace_rows
    from peers_parts.turns import Row

    table = tmp_path / "rows" / "peers.csv"
    other = Row("reading", "nibabel", 1, 2.0, 1.0, note="a, b")
    replace_rows(table, [row(1, 1, 10), row(2, 1, 30)])
    replace_rows(table, [other])
    replace_rows(table, [row(1, 1, 5)])
    assert read_rows(table) == [row(1, 1, 5), other]


def test_turns_are_taken_in_turn_after_one_of_each() -> None:
    from peers_parts.turns import Cost, Match, take_turns

    said: list[str] = []

    def side(name: str, seconds: float):
        def call() -> Cost:
            said.append(name)
            return Cost(seconds, seconds)

        return call

    match = Match("scores", "MONAI", side("a", 1.0), side("b", 4.0))
    assert [one.ratio for one in take_turns(match, 2)] == [4.0, 4.0]
    assert said == ["a", "b"] * 3


def test_a_peer_that_is_not_here_is_a_line_with_the_reason(tmp_path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "peers.py"), "prepare"]
    done = subprocess.run(
        [*command, "--rows", str(tmp_path / "rows.csv")], capture_output=True, text=True, check=True
    )
    assert "skipped: `--nnunet` names no interpreter" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("work", ["scores", "windows", "steps", "volume", "sam-mix", "cfr", "rate"])
def test_every_work_runs_at_toy_size(tmp_path, work) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "peers.py"), work, "--toy"]
    done = subprocess.run(
        [*command, "--pairs", "1", "--rows", str(tmp_path / "rows.csv")],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and "1 pairs" in done.stdout, done.stderr
