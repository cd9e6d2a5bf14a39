"""The figures of the docs show what the committed rows say."""

import functools
import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "experiments"))  # as Python does for the script it starts
SCRIPT = runpy.run_path(str(ROOT / "experiments" / "figures.py"))


@functools.cache
def drawn_from() -> dict[str, Any]:
    """Every figure's panels, as the rows have them."""
    panels: dict[str, Any] = SCRIPT["figures"]()
    return panels


def test_every_figure_is_there() -> None:
    files = {path.name for path in SCRIPT["FIGURES"].glob("*.svg")}
    assert files == {f"{name}-{theme}.svg" for name in drawn_from() for theme in SCRIPT["THEMES"]}


@pytest.mark.parametrize("theme", list(SCRIPT["THEMES"]))
@pytest.mark.parametrize("name", ["slices", "minutes", "left-atrium", "hippocampus", "organs"])
def test_no_figure_is_behind_its_rows(name: str, theme: str) -> None:
    drawn = (SCRIPT["FIGURES"] / f"{name}-{theme}.svg").read_text()
    found = re.search(r"<dc:description>(\w+)</dc:description>", drawn)
    assert found, "a figure without its digest"
    assert found[1] == SCRIPT["digest"](drawn_from()[name]), "python experiments/figures.py"


def test_a_line_has_a_mean_per_draw() -> None:
    rows = SCRIPT["rows_of"]("few-slices")
    lines = SCRIPT["by_slices"](rows, "test")
    places = dict(lines["lite_unet", ""])
    assert set(places) >= {2, 5, 10, 20, 50, 100}
    one = [
        row.dice
        for row in SCRIPT["cleaned"](rows, "test")
        if (row.method, row.slices, row.draw, row.steps) == ("lite_unet", 5, 0, 1000)
    ]
    assert len(one) == 6
    assert places[5][0] == pytest.approx(sum(one) / 6)


def test_a_structure_has_a_place_of_its_own() -> None:
    (panel,) = drawn_from()["organs"]
    assert panel.names[5] == "liver" and len(panel.names) == 13
    liver = {line: dict(points)[6.0] for line, points in panel.lines.items()}
    rows = SCRIPT["rows_of"]("ct-organs-2d")
    own = [
        row.dice
        for row in rows
        if (row.method, row.steps, row.label, row.cleanup)
        == ("lite_unet", 3000, "liver", "learned")
    ]
    assert liver["lite_unet", "50 slices"] == [pytest.approx(sum(own) / 6)]
