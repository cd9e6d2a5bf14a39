"""Every method has its page, functions that it names are there, and measured parts are what the
committed rows say.
"""

import functools
import re
import runpy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fewmask import methods
from fewmask.benchmark.rows import RunRow

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "methods"
SCRIPT = runpy.run_path(str(ROOT / "experiments" / "pages.py"))


@functools.cache
def all_pages() -> dict[Path, str]:
    """Every page as the rows have it; half a minute of work on a slow machine."""
    pages: dict[Path, str] = SCRIPT["pages"]()
    return pages


ROW = RunRow(
    method="unet", settings="", slices=5, volumes=None, draw=0, seed=0, minutes=None, steps=7,
    domain="test", patient="p", case="p", label="liver", prompts="automatic", status="ok",
    dice=0.5, nsd=1.0, hd95_mm=4.0, hd_mm=5.0, assd_mm=1.0, volume_error_ml=0.0,
)  # fmt: skip


def row(**changed: Any) -> RunRow:
    return replace(ROW, **changed)


def test_no_page_is_behind_its_rows() -> None:
    for path, text in all_pages().items():
        assert path.read_text(encoding="utf-8") == text, "run: python experiments/pages.py"


def test_runs_are_averaged_and_bounds_left_out() -> None:
    rows = [
        row(),
        row(draw=1, dice=0.7, hd95_mm=6.0),
        row(prompts="oracle-box", dice=0.9),
        row(method="vnet"),
    ]
    (line,) = SCRIPT["measured"]({"ct-liver": rows}, "unet")
    link = "[ct-liver](../../experiments/ct-liver.toml)"
    assert line == [link, "", "5 slices", "7 steps", "2", "test", "0.600 ± 0.141", "5.0 ± 1.4"]


def test_a_measured_part_is_exchanged_not_added() -> None:
    once = SCRIPT["page"]("# unet\n", [["a"] * 8])
    assert SCRIPT["page"](once, [["a"] * 8]) == once and SCRIPT["page"](once, []) == "# unet\n"


def test_tables_between_marks_are_made_anew() -> None:
    mark = "<!-- differences ct-liver default unet -->\n"
    text = SCRIPT["results"](f"before\n\n{mark}old\n<!-- end -->\nafter\n")
    assert text.startswith(
        f"before\n\n{mark}\n| minus `unet` | budget | time | test | ct-abdomen-other |\n"
    )
    assert "old" not in text
    assert (
        "| `sam_mix` | 5 slices | 470 steps against 1830 steps | +0.199 (+0.147 to +0.252), "
        "higher in 6 of 6, p below 0.001, decided (3 draws) |" in text
    )
    assert text.endswith("\n\n<!-- end -->\nafter\n") and SCRIPT["results"](text) == text
    both = SCRIPT["results"](
        "<!-- table ct-liver default -->\n<!-- end -->\nbetween\n<!-- table ct-liver sam-mix "
        "-->\n<!-- end -->\n"
    )
    assert both.count("| method |") == 2 and both.index("HD95 mm") < both.index(
        "between"
    ) < both.index("HD px")


def test_a_line_per_structure() -> None:
    text = SCRIPT["results"](
        "<!-- structures mr-hippocampus[canvas_sam] default -->\n<!-- end -->\n"
    )
    assert (
        "| structure | canvas_sam, 1 volume |" in text
        and "\n| anterior | 0." in text
        and "\n| posterior | 0." in text
    )


def test_part_of_a_sweep_is_each_method_as_it_is_or_one_method_with_its_changes() -> None:
    changed = row(settings="a=1", dice=0.6)
    only = row(method="sam_pp", slices=0, settings="coarse=cam")
    rows = [row(), changed, row(method="sam_pp"), only]
    chosen = SCRIPT["chosen"]
    assert chosen(rows, None) == rows and chosen(rows, "unet") == rows[:2]
    assert chosen(rows, "methods") == [row(), row(method="sam_pp"), only]
    second = [
        row(draw=1),
        row(draw=1, method="sam_pp"),
        row(draw=2),
        row(draw=1, slices=0, method="unet"),
    ]
    assert chosen([*rows, *second], "methods") == [
        row(),
        second[0],
        row(method="sam_pp"),
        second[1],
    ]
    told = SCRIPT["results"]("<!-- table sam-mix-table[ada_sam] default -->\n<!-- end -->\n")
    assert "| ada_sam feedback=false |" in told and "sam_mix" not in told.split("|", 1)[1]


def test_below_a_table_of_scans_cropped_around_the_truth_that_is_said_once() -> None:
    page, results = SCRIPT["page"], SCRIPT["results"]
    note = "LA 2018 volumes were cropped around the truth by their authors: a pre-localised task."
    assert page(
        "# vnet\n", [["a"] * 8], ["ct-liver", "mr-left-atrium", "mr-left-atrium-dev"]
    ).endswith(f" |\n\n{note}\n")
    assert "cropped" not in page("# vnet\n", [["a"] * 8], ["ct-liver"])
    for mark in (
        "table mr-left-atrium la-2018",
        "table mr-left-atrium default",
        "differences mr-left-atrium default vnet",
    ):
        assert results(f"<!-- {mark} -->\n<!-- end -->\n").count(note) == 1
    assert (
        note in all_pages()[PAGES / "vnet.md"] and note not in all_pages()[PAGES / "trans_unet.md"]
    )


def test_unlike_precisions_of_a_difference_stand_in_a_column_of_their_own() -> None:
    unet, vnet = row(precision="float32"), row(method="vnet", dice=0.7, precision="float32")
    assert "unlike" not in SCRIPT["paired"]([unet, vnet], "default", "unet")
    half = replace(vnet, precision="bfloat16")
    heads, _, line = SCRIPT["paired"]([unet, half], "default", "unet").splitlines()
    assert heads == "| minus `unet` | budget | test | unlike |" and line.endswith(
        " | bfloat16 against float32 |"
    )


def test_differences_between_unlike_times_say_both() -> None:
    rows = [row(steps=400), row(steps=1200)]
    long, short = row(steps=1200, method="vnet", dice=0.7), row(steps=400, method="cps", dice=0.7)
    same = [rows[0], replace(long, steps=400), short]
    assert "time" not in SCRIPT["paired"](same, "default", "unet")
    heads, _, *lines = SCRIPT["paired"](
        [*rows, long, replace(short, steps=300)], "default", "unet"
    ).splitlines()
    assert heads == "| minus `unet` | budget | time | test |"
    said = [line.split("|")[3].strip() for line in lines]
    assert said == ["1200 steps", "300 steps against 400 steps", "300 steps against 1200 steps"]
    (only,) = SCRIPT["paired"]([rows[1], short], "default", "unet").splitlines()[2:]
    assert "400 steps against 1200 steps" in only


def test_every_method_has_a_page_and_every_page_a_method() -> None:
    assert sorted(path.stem for path in PAGES.glob("*.md")) == methods.names()


@pytest.mark.parametrize("name", methods.names())
def test_functions_named_are_there(name: str) -> None:
    named = re.findall(
        r"`((?:methods|blocks|data|external|predict|training)/[\w/]+\.py)(?:: ([\w., ]+))?`",
        (PAGES / f"{name}.md").read_text(),
    )
    assert named
    for file, function in named:
        text = (ROOT / "src" / "fewmask" / file).read_text()
        assert all(
            re.search(rf"(def|class) {part}\b", text)
            for part in re.split(r"[., ]+", function)
            if part
        ), (file, function)
