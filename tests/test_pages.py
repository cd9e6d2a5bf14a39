"""Every method has its page, functions that it names are there, and tables are what the committed
rows say.
"""

import functools
import re
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fewmask import methods
from fewmask.benchmark.rows import RunRow

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs" / "methods"
sys.path.append(str(ROOT / "experiments"))  # as Python does for the script it starts
SCRIPT = runpy.run_path(str(ROOT / "experiments" / "pages.py"))
LEADERS = runpy.run_path(str(ROOT / "experiments" / "leaders.py"))


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


def test_tables_stand_on_all_pages_that_need_them() -> None:
    names = {path.relative_to(ROOT).as_posix() for path in all_pages()}
    pages = ("results/index.md", "results/liver.md", "results/history.md", "next.md")
    assert names >= {"README.md", *(f"docs/{page}" for page in pages)}
    assert not any(name.startswith("docs/methods/") for name in names)


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
    told = SCRIPT["results"]("<!-- table sam-mix-table[ada_sam] default -->\n<!-- end -->\n")
    assert "| ada_sam feedback=false |" in told and "sam_mix" not in told.split("|", 1)[1]


def patients(method: str, dice: float, **changed: Any) -> list[RunRow]:
    """Six patients, two draws; patient p has p thousandths more."""
    return [
        row(method=method, dice=dice + p / 1000, draw=draw, patient=str(p), case=str(p), **changed)
        for p in range(6)
        for draw in (0, 1)
    ]


def test_a_short_table_has_the_best_first_and_cleaned_masks_alone() -> None:
    rows = [
        *patients("unet", 0.5),
        *patients("unet", 0.6, cleanup="learned", steps=1000),
        *patients("unet", 0.9, steps=1000),
        *patients("vnet", 0.7),
        *patients("vnet", 0.8, slices=2),
    ]
    text = LEADERS["short"](rows, "default", "few-slices")
    heads, _, *lines = text.split("\n\n")[0].splitlines()
    assert heads == "| labels | method | Dice | HD95 mm | masks | minutes (cores) | draws |"
    assert lines == [
        "| 5 slices | `vnet` | 0.703 ± 0.000 | 4.0 ± 0.0 | as drawn |  | 2 |",
        "| 5 slices | `unet` | 0.602 ± 0.000 | 4.0 ± 0.0 | cleaned | 6 (2 cores) | 2 |",
        "| 5 slices | `unet` | 0.502 ± 0.000 | 4.0 ± 0.0 | as drawn | 1 (2 cores) | 2 |",
    ]
    assert text.endswith(
        "\n\nDecided: with 5 slices `vnet` over `unet`. Nothing else is. Of a pair of which one "
        "was not cleaned, masks as drawn were compared.\n"
    )


def test_the_first_is_compared_with_masks_that_had_the_same_help() -> None:
    """Cleaned, `unet` passes `vnet`, which nobody cleaned; as drawn it is behind by 0.1."""
    rows = [
        *patients("unet", 0.6),
        *patients("unet", 0.8, cleanup="learned"),
        *patients("vnet", 0.7),
    ]
    found = LEADERS["entries"](rows, "default")
    assert [entry.setting.method for entry in found["5 slices"]] == ["unet", "vnet"]
    (lead,) = LEADERS["leads"](found, "dice")
    assert lead.difference.decided and lead.difference.interval.mean == pytest.approx(-0.1)
    assert LEADERS["verdict"]([lead]) == "Nothing in this table is decided."


def test_one_draw_leads_nobody_and_decides_nothing() -> None:
    rows = [*patients("unet", 0.5), row(method="vnet", dice=0.9)]
    entries, leads = LEADERS["entries"], LEADERS["leads"]
    found = entries(rows, "default")
    assert [entry.setting.method for entry in found["5 slices"]] == ["vnet", "unet"]
    assert LEADERS["verdict"](leads(found, "dice")) == "Nothing in this table is decided."


def test_seeds_of_one_choice_of_labels_are_no_draws() -> None:
    rows = [row(dice=0.5, seed=seed, method=one) for seed in range(3) for one in ("unet", "vnet")]
    text = LEADERS["short"](rows, "default", "few-slices")
    assert [line.split(" | ")[-1] for line in text.splitlines()[2:4]] == ["1 (3 seeds) |"] * 2


def test_one_draw_at_the_head_of_a_table_hides_nothing_that_is_decided() -> None:
    longer = [one for one in patients("vnet", 0.9, steps=1000) if one.draw == 0]
    rows = [*patients("unet", 0.5), *patients("vnet", 0.7), *longer]
    text = LEADERS["short"](rows, "default", "few-slices")
    assert text.splitlines()[2].startswith("| 5 slices | `vnet` | 0.903 |")
    assert text.endswith("\n\nDecided: with 5 slices `vnet` over `unet`. Nothing else is.\n")


def test_the_first_page_has_who_leads_in_bold_only_where_that_is_decided(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = [*patients("unet", 0.5), *patients("vnet", 0.7), row(method="cps", dice=0.9)]
    rows += [row(volumes=1, slices=None), row(method="vnet", volumes=1, slices=None, dice=0.4)]
    own = LEADERS["leaders"].__globals__
    monkeypatch.setitem(own, "rows_of", lambda sweep: rows)
    monkeypatch.setitem(own, "TASKS", (("liver", "few-slices", ("5 slices", "1 volume")),))
    assert LEADERS["leaders"]().splitlines()[2:] == [
        "| liver | 5 slices | **`vnet`** | 0.70 ± 0.00 | 4 ± 0 |  | `unet` 0.50 (1 min) |",
        "| liver | 1 scan | `unet` | 0.50 | 4 | 1 (2 cores) | `vnet` 0.40 |",
    ], "one draw of cps leads nobody"


def test_the_first_page_says_minutes_of_every_task() -> None:
    table = all_pages()[ROOT / "docs" / "results" / "index.md"]
    lines = table[table.index("<!-- leaders") :].split("\n\n")[1].splitlines()[2:]
    assert len(lines) == 9 and all("core" in line.split("|")[6] for line in lines), "seconds.toml"


def test_of_a_simulation_that_has_not_run_nothing_is_said(tmp_path: Path) -> None:
    assert SCRIPT["made"]("next", "gone", None, None, None) == "No rows yet.\n"
    said = SCRIPT["made"]("next", "next-hippocampus", None, None, None)
    assert said.startswith("| rule | 5 slices | 10 slices |") and "\n| `random` | 0." in said


def test_below_a_table_of_scans_cropped_around_the_truth_that_is_said_once() -> None:
    results = SCRIPT["results"]
    note = "LA 2018 volumes were cropped around the truth by their authors: a pre-localised task."
    for mark in (
        "leaders",
        "short mr-left-atrium default",
        "table mr-left-atrium la-2018",
        "table mr-left-atrium default",
        "differences mr-left-atrium default vnet",
    ):
        assert results(f"<!-- {mark} -->\n<!-- end -->\n").count(note) == 1
    assert note not in results("<!-- short ct-liver default -->\n<!-- end -->\n")


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
