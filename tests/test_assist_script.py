"""What `experiments/assist.py` asks, and how it counts."""

import runpy
from pathlib import Path

import numpy as np

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "experiments" / "assist.py"))


def test_slices_lie_between_the_ends_and_have_neighbours_that_hold_it() -> None:
    truth = np.zeros((20, 4, 4), bool)
    truth[3:15, 1:3, 1:3] = True  # 3 to 14: from 5 on, and 14 is the second next of 12
    assert SCRIPT["chosen"](truth) == [5, 7, 10, 12]
    truth[10] = False
    assert SCRIPT["chosen"](truth) == [5, 6, 11, 12]
    assert SCRIPT["chosen"](np.zeros((20, 4, 4), bool)) == []


def test_a_click_is_the_middle_of_the_deepest_pixel() -> None:
    mask = np.zeros((9, 9), bool)
    mask[1:6, 2:7] = True
    assert SCRIPT["click"](mask) == (4.5, 3.5, 1)


def test_the_table_counts_what_fitting_made_worse() -> None:
    row = {"box": 0.9, "click": 0.5, "copied 1": 0.8, "fitted 1": 0.7, "copied 2": 0.5}
    rows = {"liver": [{**row, "fitted 2": 0.5}], "spleen": [{**row, "box": 0.7, "fitted 2": 0.6}]}
    *_, spleen, everything = SCRIPT["table"](rows).splitlines()
    assert spleen == (
        "| spleen | 1 | 0.700 | 0.500 | 0.800 | 0.700 | 1 of 1 | 0.500 | 0.600 | 0 of 1 |"
    )
    assert everything == (
        "| all | 2 | 0.800 | 0.500 | 0.800 | 0.700 | 2 of 2 | 0.500 | 0.550 | 0 of 2 |"
    )
