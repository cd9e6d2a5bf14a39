"""Rows of runs: what stands in committed tables comes back byte for byte, as numbers in between."""

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest

from fewmask.benchmark.rows import (
    COLUMNS,
    LEARNED,
    METRICS,
    FinishedRun,
    RunRow,
    add_rows,
    as_rows,
    domains_done,
    from_texts,
    read_rows,
    read_scored,
    to_texts,
)
from fewmask.core.errors import BadDataset
from fewmask.core.renamed import todays_words
from fewmask.evaluate.scores import CaseScore
from fewmask.io.tables import read_csv, write_csv

ROWS = Path(__file__).parents[2] / "experiments" / "rows"
OTHERS = ("zero-shot", "quality", "peers", "boxes", "presence", "second-look")
"""Of their own kind, each made by the script in `experiments` or `benchmarks` that is called so.
"""
TABLES = [path for path in sorted(ROWS.glob("*.csv")) if path.stem not in OTHERS]
FORMER = {"gate", "neighbours"}
"""Settings that older tables have by other names."""
RUN = FinishedRun(
    method="unet", settings="a=1", slices=5, volumes=None, draw=0, seed=1, minutes=None, steps=7
)
SCORE = CaseScore(
    case="p1", label="liver", dice=0.5, nsd=0.25, nsd_tolerance_mm=2.0, hd95_mm=3.0, hd_mm=4.0,
    assd_mm=1.0, volume_error_ml=-0.5, pred_ml=1.0, truth_ml=1.5, status="ok",
)  # fmt: skip


def test_there_are_tables() -> None:
    assert len(TABLES) >= 13


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_committed_table_comes_back_byte_for_byte(path: Path, tmp_path: Path) -> None:
    columns = path.read_text(encoding="utf-8").partition("\n")[0].split(",")
    texts = [to_texts(row) for row in read_rows(path)]
    lines = [{column: line.pop(column) for column in columns} for line in texts]
    for line, before in zip(lines, read_csv(path, ()), strict=True):
        words = before["settings"].split()
        if FORMER & {word.partition("=")[0] for word in words}:
            assert line["settings"] == " ".join(todays_words(line["method"], words))
            line["settings"] = before["settings"]
    write_csv(tmp_path / path.name, columns, lines)
    assert (tmp_path / path.name).read_bytes() == path.read_bytes()
    assert {line.pop("cleanup", "none") for line in texts} == {"none"}
    assert not any(any(line.values()) for line in texts), "what the table does not hold is empty"


def test_every_field_has_a_column_and_every_metric_a_field() -> None:
    names = [field.name for field in fields(RunRow) if field.name != "others"]
    assert sorted(COLUMNS) == sorted("class" if name == "label" else name for name in names)
    for metrics in METRICS.values():
        assert {metric.column for metric in metrics} <= set(names)


def test_numbers_are_numbers_and_missing_ones_none() -> None:
    (row,) = as_rows(
        replace(RUN, slices=0), "test", [replace(SCORE, nsd=math.nan)], [], {"p1": "p"}
    )
    assert (row.slices, row.volumes, row.patient, row.dice) == (0, None, "p", 0.5)
    assert row.number("dice") == 0.5 and row.sam_mix_dice is None
    assert row.number("nsd") is None and row.number("sam_mix_dice") is None
    texts = to_texts(row)
    assert (texts["slices"], texts["volumes"], texts["nsd"], texts["sam_mix_dice"]) == (
        "0", "", "nan", "",
    )  # fmt: skip
    assert to_texts(from_texts(texts)) == texts


def test_lines_of_a_protocol_stand_in_its_columns_alone() -> None:
    numbers = {"dice": 0.75, "hd_px": 9.0, "n": 4, "n_missed": 1}
    names = {"case": "p1", "class": "liver", "prompts": "automatic", "protocol": "sam-mix"}
    other = replace(SCORE, case="p2")
    scored, unscored = as_rows(RUN, "test", [SCORE, other], [{**names, **numbers}], {})
    assert (scored.sam_mix_dice, scored.sam_mix_hd_px) == (0.75, 9.0)
    assert (scored.sam_mix_slices, scored.sam_mix_missed) == (4, 1)
    assert scored.dice == 0.5 and scored.la_2018_dice is None and unscored.sam_mix_dice is None


def test_steps_make_another_run_only_where_no_minutes_were_asked_for() -> None:
    assert RUN.key != replace(RUN, steps=8).key
    timed = replace(RUN, minutes=5.0)
    assert timed.key == replace(timed, steps=8).key != RUN.key
    rows = as_rows(replace(timed, stride="2,9,9"), "far", [SCORE], [], {})
    assert domains_done(rows, timed.key, "2,9,9") == set(), "not scored after clean-up yet"
    rows += as_rows(replace(timed, stride="2,9,9"), "far", [SCORE], [], {}, LEARNED)
    assert domains_done(rows, timed.key, "2,9,9") == {"far"}
    assert domains_done(rows, timed.key, "") == domains_done(rows, RUN.key, "2,9,9") == set()


def test_a_run_that_is_made_again_replaces_its_rows_in_its_domain(tmp_path: Path) -> None:
    path = tmp_path / "rows" / "table.csv"
    first = as_rows(RUN, "test", [SCORE], [], {}) + as_rows(RUN, "far", [SCORE], [], {})
    add_rows(path, first)
    again = as_rows(RUN, "far", [replace(SCORE, dice=0.75)], [], {})
    add_rows(path, again)
    assert read_rows(path) == [first[0], *again]
    cleaned = as_rows(RUN, "far", [SCORE], [], {}, LEARNED)
    add_rows(path, cleaned)
    assert read_rows(path) == [first[0], *again, *cleaned], "beside the rows of masks as drawn"
    assert read_rows(tmp_path / "none.csv") == []


def test_a_table_without_a_row_cannot_be_compared(tmp_path: Path) -> None:
    full, empty = tmp_path / "full.csv", tmp_path / "empty.csv"
    rows = as_rows(RUN, "test", [SCORE], [], {})
    add_rows(full, rows)
    write_csv(empty, COLUMNS, [])
    assert read_scored([full]) == rows
    with pytest.raises(BadDataset, match="holds no score") as caught:
        read_scored([full, empty])
    assert caught.value.where == (str(empty),) and caught.value.code == "S04"


def test_what_is_no_number_is_refused_with_its_row(tmp_path: Path) -> None:
    texts = to_texts(as_rows(RUN, "test", [SCORE], [], {})[0])
    write_csv(tmp_path / "table.csv", COLUMNS, [{**texts, "dice": "good"}])
    with pytest.raises(BadDataset, match=r"table.csv line 2: the row of unet, p1, liver"):
        read_rows(tmp_path / "table.csv")


@pytest.mark.parametrize(
    ("column", "text", "wanted"),
    [
        ("slices", "-3", "a number from 0 on"),
        ("steps", "-1", "a number from 0 on"),
        ("steps", "many", "a number from 0 on"),
        ("dice", "1.5", "a number from 0 to 1"),
        ("hd95_mm", "-2.0", "a number from 0 on"),
        ("sam_mix_missed", "-1", "a number from 0 on"),
        ("draw", "first", "a number"),
        ("status", "fine", "ok or both_empty or missed or spurious"),
    ],
)
def test_c03_a_row_that_cannot_be_is_told_with_its_line(tmp_path, column, text, wanted) -> None:
    path = tmp_path / "rows.csv"
    add_rows(path, as_rows(RUN, "test", [SCORE, replace(SCORE, case="p2")], [], {}))
    assert [row.case for row in read_rows(path)] == ["p1", "p2"]
    first, second = read_csv(path, ())
    write_csv(path, list(first), [first, second | {column: text}])
    with pytest.raises(BadDataset) as refused:
        read_rows(path)
    assert refused.value.code == "C03" and "rows.csv line 3: " in refused.value.what
    told = [f"file  {path}", f"got     {column} {text!r}", f"wanted  {wanted}"]
    assert list(refused.value.where) == told
