"""Charts: dots are where the numbers are, and words say what they show."""

import math
import re

import numpy as np
import pytest

from fewmask.core.volume import LabelMap
from fewmask.evaluate.scores import CaseScore
from fewmask.report.charts import bland_altman, dice_chart, loss_charts, size_chart
from fewmask.report.failures import (
    Positions,
    add_positions,
    by_size,
    by_source,
    positions_of,
    sources_of,
)
from fewmask.report.svg import Axis, Plot
from tests.scans import AFFINE, SHAPE


def score(case: str, dice: float, pred: float, true: float, label: str = "liver") -> CaseScore:
    return CaseScore(case, label, dice, 0.5, 2.0, 1.0, 1.0, 1.0, pred - true, pred, true, "ok")


def test_axes_hold_their_numbers_and_have_round_ticks() -> None:
    axis = Axis.around([3.0, 17.0], zero=True)
    assert axis.low == 0 and axis.high > 17 and axis.ticks() == [0, 5, 10, 15]
    assert Axis(0.0, 10.0).at(2.5) == 0.25
    log = Axis.around([1.0, 100.0], log=True)
    assert log.at(10.0) == pytest.approx(0.5) and {1.0, 10.0, 100.0} <= set(log.ticks(9))
    assert Axis.around([]).low < Axis.around([]).high
    assert Axis.around([5.0, 5.0]).low < 5 < Axis.around([5.0, 5.0]).high


def test_a_dot_lies_where_its_numbers_say() -> None:
    """Half way across 500 px between margins of 52 and 14: 52 + 227; three quarters up 250 px
    between 40 and 12: 210 - 148.5.
    """
    plot = Plot(Axis(0.0, 10.0), Axis(0.0, 1.0), "a dot", 520.0, 250.0)
    plot.dot(5.0, 0.75, "#123456", "one <scan>")
    drawn = str(plot.draw())
    assert 'cx="279.0" cy="61.5"' in drawn and "one &lt;scan&gt;" in drawn
    assert 'role="img" aria-label="a dot"' in drawn


def test_bland_altman_by_hand() -> None:
    """Differences 10, 20, 30 mL: bias 20, limits 20 -+ 1.96 x 10."""
    scores = [score(c, 0.9, 100.0 * n + 10 * n, 100.0 * n) for n, c in enumerate("abc", 1)]
    (chart,) = bland_altman(scores, ("liver", "spleen"))
    assert chart.title == "liver"
    assert chart.words == (
        "3 scans: mask minus truth +20 mL on the mean, 95 % limits of agreement +0 to +40 mL."
    )
    assert str(chart.svg).count("<circle") == 3 and str(chart.svg).count('class="limit"') == 2
    assert not bland_altman(scores[:1], ("liver",)), "two pairs at least"


def test_a_name_from_outside_stays_text() -> None:
    chart = dice_chart([score("<b>", 0.5, 1.0, 2.0, "<i>")], ("liver",))
    assert chart is not None and "<b>" not in chart.svg and "<i>" not in chart.svg
    assert "&lt;b&gt;: 0.5" in chart.svg
    assert dice_chart([score("a", math.nan, 0.0, 0.0)], ("liver",)) is None


def test_dice_by_size_in_thirds() -> None:
    scores = [score(str(n), n / 10, 1.0, 10.0 * n) for n in (6, 1, 5, 2, 4, 3)]
    groups = by_size(scores)
    assert [(g.name, g.n) for g in groups] == [
        ("smallest third, 10 to 20 mL", 2),
        ("middle third, 30 to 40 mL", 2),
        ("largest third, 50 to 60 mL", 2),
    ]
    assert [g.dice for g in groups] == pytest.approx([0.15, 0.35, 0.55])
    assert not by_size(scores[:5]) and size_chart(scores[:2], ("liver",)) is None


def test_dice_by_the_folder_scans_came_from() -> None:
    images = {"a": "data/north/a.nii.gz", "b": "data/north/b.nii.gz", "c": "data/south/c.nii.gz"}
    sources = sources_of(images)
    assert sources == {"a": "north", "b": "north", "c": "south"}
    scores = [score("a", 0.8, 1.0, 1.0), score("b", 0.6, 1.0, 1.0), score("c", 0.5, 1.0, 1.0)]
    found = [(g.name, g.n, round(g.dice, 6)) for g in by_source(scores, sources)]
    assert found == [("north", 2, 0.7), ("south", 1, 0.5)]
    assert sources_of({"a": "images/a.nii.gz", "b": "images/b.nii.gz"}) == {}
    own = sources_of({str(n): f"{n}/scan.nii.gz" for n in range(9)})
    assert not by_source([score(str(n), 0.5, 1.0, 1.0) for n in range(9)], own), (
        "a folder per scan is no source"
    )


def test_dice_along_a_structure_by_hand() -> None:
    """Truth in slices 0 to 4, one pixel each; the mask misses the first and goes on to 6: the last
    fifth has 1 of truth and 3 of the mask.
    """
    true, mask = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    true[4, 4, 0:5], mask[4, 4, 1:7] = 1, 1
    maps = [LabelMap.from_file_order(one, AFFINE) for one in (mask, true)]
    one = positions_of(maps[0], maps[1], ("liver", "spleen"))
    assert one.dice("liver") == [0, 1, 1, 1, pytest.approx(0.5)] and set(one.counts) == {"liver"}
    both = add_positions(add_positions(Positions({}), one), one)
    assert both.dice("liver") == one.dice("liver") and both.counts["liver"].sum() == 30


def test_every_loss_has_its_own_chart() -> None:
    rows = [
        {"step": str(n), "dice": f"{1 / (n + 1)}", "late": "" if n < 99 else "1"}
        for n in range(100)
    ]
    (chart,) = loss_charts(rows)
    assert chart.title == "dice" and "0.75 at first" in chart.svg
    points = re.findall(r'class="curve" points="([^"]*)"', str(chart.svg))
    assert len(points[0].split()) == 50 and not loss_charts([])
