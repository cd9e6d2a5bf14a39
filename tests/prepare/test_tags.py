"""Slice numbers of a person's file become d, whichever way the file runs; lines that do not fit are
named.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from fewmask.core.errors import BadDataset
from fewmask.prepare.tags import move_ends, order_notes, read_reviewed, read_tags, tags_from_masks
from tests.prepare.test_splits import case_row, table

ROWS = table(case_row("a", "a"), case_row("b", "b"))
"""Eight slices each; the liver is outlined in d = 2 and 3."""
DOWN = {**ROWS, "b": replace(ROWS["b"], flipped=True)}
"""The file of b runs from head to feet."""


def written(folder: Path, *lines: str, head: str = "case,first_slice,last_slice") -> Path:
    path = folder / "tags.csv"
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


def test_slices_count_as_the_file_runs(tmp_path: Path) -> None:
    """File slices 4..6 of 8, stored from head to feet, are d = 7 - 6 .. 7 - 4 = 1..3."""
    path = written(tmp_path, "a,2,5", "b,4,6")
    tags, notes = read_tags(path, DOWN, ("liver",))
    assert tags == {"a": {"liver": (2, 5)}, "b": {"liver": (1, 3)}} and notes == []


def test_empty_numbers_say_that_it_is_absent(tmp_path: Path) -> None:
    path = written(tmp_path, "a,spleen,,", "a,liver,0,7", head="case,class,first_slice,last_slice")
    tags, _ = read_tags(path, ROWS, ("liver", "spleen"))
    assert tags == {"a": {"spleen": None, "liver": (0, 7)}}


def test_how_slices_of_dicom_scans_are_counted_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    images = {"a": tmp_path / "a", "b": tmp_path / "b.nii", "c": tmp_path}
    (note,) = order_notes(["a", "b"], images)
    assert "1 DICOM scan (a)" in note and "other way" in note
    assert order_notes(["b", "gone"], images) == []


def test_class_names_are_read_in_any_letters(tmp_path: Path) -> None:
    path = written(tmp_path, "a;LIVER;2,0;5,0", head="Case;Class;First Slice;Last-Slice")
    assert read_tags(path, ROWS, ("liver", "spleen"))[0] == {"a": {"liver": (2, 5)}}


def test_two_lines_of_one_structure_must_say_the_same(tmp_path: Path) -> None:
    """The last one would win in silence. Equal lines, and other structures, do no harm."""
    head = "case,class,first_slice,last_slice,by"
    path = written(tmp_path, "a,liver,2,5,x", "A,Liver,2,5,y", "a,spleen,1,2,x", head=head)
    assert read_tags(path, ROWS, ("liver", "spleen"))[0]["a"]["liver"] == (2, 5)
    path = written(tmp_path, "a,liver,2,5,x", "A,Liver,2,6,x", head=head)
    with pytest.raises(BadDataset, match="contradict each other: a liver"):
        read_tags(path, ROWS, ("liver", "spleen"))


def test_a_case_that_is_not_here_is_a_note(tmp_path: Path) -> None:
    path = written(tmp_path, "other,0,1", "b,2,3")
    assert read_tags(path, ROWS, ("liver",)) == (
        {"b": {"liver": (2, 3)}},
        ["tags.csv: no case is called other   nearest: a, b"],
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("a,liver,0,8", "slices '0'..'8' are not within 0..7"),
        ("a,liver,5,4", "slices '5'..'4' are not within 0..7, first before last"),
        ("a,liver,-1,4", "slices '-1'..'4'"),
        ("a,liver,2.5,4", "slices '2.5'..'4'"),
        ("a,liver,,4", "slices ''..'4'"),
        ("a,kidney,0,1", "no class is called 'kidney' (column `class`: one of liver, spleen)"),
        ("a,,2,3", "no class is named (column `class`: one of liver, spleen)"),
        ("a,liver,3,6", "liver is outlined in slice 2, outside its tag"),
        ("a,liver,0,2", "liver is outlined in slice 3, outside its tag"),
        ("a,liver,,", "liver is outlined in slice 2, though its line is empty (absent)"),
    ],
)
def test_a_line_that_does_not_fit_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = written(tmp_path, line, head="case,class,first_slice,last_slice")
    with pytest.raises(BadDataset) as caught:
        read_tags(path, ROWS, ("liver", "spleen"))
    assert said in str(caught.value) and caught.value.code == "S04"


def test_all_lines_that_do_not_fit_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match=r"lines that are wrong: 2") as caught:
        read_tags(written(tmp_path, "a,0,9", "b,9,9"), ROWS, ("spleen",))
    assert "a: slices" in str(caught.value) and "b: slices" in str(caught.value)


def test_tags_of_masks_are_first_and_last_slice_of_complete_ones() -> None:
    rows = table(case_row("a", "a"), case_row("b", "b", complete=False))
    assert tags_from_masks(rows, ("liver", "spleen")) == {"a": {"liver": (2, 3), "spleen": None}}


def test_hasty_tags_are_wrong_at_both_ends_and_stay_within_the_scan() -> None:
    """Eight slices; 2 to 3 off by one is one of four pairs, off by five lies at the ends."""
    rows = table(*(case_row(name, name) for name in "abcdefghijklmnop"))
    tags = {name: {"liver": (2, 3), "spleen": None} for name in rows}
    assert move_ends(tags, 0, rows) == tags
    moved = move_ends(tags, 1, rows)
    assert {tuple(spans["liver"] or ()) for spans in moved.values()} == {
        (1, 2), (1, 4), (2, 3), (3, 4),
    }  # fmt: skip
    assert all(spans["spleen"] is None for spans in moved.values())
    far = {spans["liver"] for spans in move_ends(tags, 5, rows).values()}
    assert far <= {(0, 0), (0, 7), (7, 7)}


def test_reviewed_slices_add_up_and_run_as_the_file_does(tmp_path: Path) -> None:
    """Two spans of one case; of the other, stored from head to feet, 0..1 are d = 6 and 7."""
    path = written(tmp_path, "a,1,2", "a,5,5", "b,0,1", "other,0,0")
    reviewed, notes = read_reviewed(path, DOWN)
    assert reviewed == {"a": {1, 2, 5}, "b": {6, 7}}
    assert notes == ["tags.csv: no case is called other   nearest: a, b"]
    with pytest.raises(BadDataset, match="does not fit the scans"):
        read_reviewed(written(tmp_path, "a,0,8"), ROWS)


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ("case,first_slice,last_slice", "001,2.0,5.0"),  # pandas
        ("case,first_slice,last_slice", "1,2,5"),  # Excel: a number lost its zeros
        ("case,first_slice,last_slice", "1.0,2.0,5.0"),  # pandas, of such a table
        ("case,first_slice,last_slice", "001.nii.gz,2,5"),
        ("case;first_slice;last_slice", "001;2;5,0"),  # Excel in Germany
        ("case,first_slice,last_slice", "001_seg.nii,2,5"),  # the mask's name
    ],
)
def test_tables_are_read_as_programs_leave_them(tmp_path: Path, head: str, line: str) -> None:
    rows = table(case_row("001", "p"), case_row("010", "q"))
    path = written(tmp_path, line, head=head)
    assert read_tags(path, rows, ("liver",)) == ({"001": {"liver": (2, 5)}}, [])


@pytest.mark.parametrize("empty", [",", "nan,nan", "NA,NA"])
def test_cells_that_programs_leave_empty_say_absent(tmp_path: Path, empty: str) -> None:
    path = written(tmp_path, f"a,spleen,{empty}", head="case,class,first_slice,last_slice")
    assert read_tags(path, ROWS, ("liver", "spleen"))[0] == {"a": {"spleen": None}}


def test_a_name_that_may_mean_two_cases_means_none(tmp_path: Path) -> None:
    """`1` is 01 and 001."""
    rows = table(case_row("01", "p"), case_row("001", "q"), case_row("b", "r"))
    tags, notes = read_tags(written(tmp_path, "1,2,5", "b,2,3"), rows, ("liver",))
    assert tags == {"b": {"liver": (2, 3)}} and "no case is called 1 " in notes[0]


def test_a_table_of_other_cases_is_refused_with_the_nearest_names(tmp_path: Path) -> None:
    rows = table(case_row("ct_09", "p"), case_row("ct_10", "q"))
    for read in (lambda path: read_tags(path, rows, ("liver",)), lambda p: read_reviewed(p, rows)):
        with pytest.raises(BadDataset, match="no line is of a case that is there") as caught:
            read(written(tmp_path, "ct_9b,0,1"))
        assert "ct_9b   nearest: ct_09" in str(caught.value) and caught.value.code == "S04"


def test_slices_may_count_from_one(tmp_path: Path) -> None:
    """ITK-SNAP's 3..6 of 8 are d = 2..5; of b, stored from head to feet, 7 - 5 .. 7 - 2 = 2..5."""
    path = written(tmp_path, "a,3,6", "b,3,6")
    assert read_tags(path, DOWN, ("liver",), 1)[0] == {
        "a": {"liver": (2, 5)},
        "b": {"liver": (2, 5)},
    }
    for line, said in (("a,0,4", "not within 1..8"), ("b,1,5", "outlined in slice 6, outside")):
        with pytest.raises(BadDataset) as caught:
            read_tags(written(tmp_path, line), DOWN, ("liver",), 1)
        assert said in str(caught.value)
