"""The figures of the docs show what the committed rows say."""

import functools
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
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
@pytest.mark.parametrize("name", ["slices", "minutes"])
def test_no_figure_is_behind_its_rows(name: str, theme: str) -> None:
    drawn = (SCRIPT["FIGURES"] / f"{name}-{theme}.svg").read_text()
    found = re.search(r"<dc:description>(\w+)</dc:description>", drawn)
    assert found, "a figure without its digest"
    assert found[1] == SCRIPT["digest"](drawn_from()[name]), "python experiments/figures.py"


def test_a_line_has_a_mean_per_draw() -> None:
    rows = SCRIPT["read_rows"](ROOT / "experiments" / "rows" / "few-slices.csv")
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
