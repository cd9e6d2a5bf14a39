from pathlib import Path

import pytest

from fewmask.core.errors import BadConfig, BadDataset
from fewmask.io.tables import append_csv, read_csv, write_csv


def test_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    write_csv(
        path,
        ["case", "dice"],
        [{"case": 'a, "b"\nc', "dice": 0.1}, {"case": "d", "dice": None}, {"case": "e"}],
    )
    assert read_csv(path, ["case"]) == [
        {"case": 'a, "b"\nc', "dice": "0.1"},
        {"case": "d", "dice": ""},
        {"case": "e", "dice": ""},
    ]
    with pytest.raises(ValueError, match="other"):
        write_csv(path, ["case"], [{"case": "a", "other": 1}])
    assert len(read_csv(path, ["dice"])) == 3


def test_what_excel_writes(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"\xef\xbb\xbfcase , first_slice\r\n x1 ,3\r\n\r\n,\r\n")
    assert read_csv(tmp_path / "a.csv", ["case", "first_slice"]) == [
        {"case": "x1", "first_slice": "3"}
    ]


def test_header_names_are_read_in_any_letters(tmp_path: Path) -> None:
    """Names that nobody asks for stay as they are."""
    (tmp_path / "a.csv").write_text("sep=;\nCase;First Slice;CLASS;HD 95\na;1;x;2\n")
    assert read_csv(tmp_path / "a.csv", ["case", "first_slice"], optional=["class"]) == [
        {"case": "a", "first_slice": "1", "class": "x", "HD 95": "2"}
    ]
    (tmp_path / "a.csv").write_text("first slice,first_slice\n1,2\n")
    with pytest.raises(BadDataset, match="twice"):
        read_csv(tmp_path / "a.csv", ["first_slice"])


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0\xa1"])
def test_a_spreadsheet_is_called_so(tmp_path: Path, start: bytes) -> None:
    (tmp_path / "tags.xlsx").write_bytes(start + bytes(range(200)))
    with pytest.raises(BadDataset, match=r"tags.xlsx is a spreadsheet") as caught:
        read_csv(tmp_path / "tags.xlsx", ["case"])
    assert "CSV UTF-8" in caught.value.fix


def test_header_alone_gives_no_rows(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", ["case"], [])
    assert read_csv(tmp_path / "a.csv", ["case"]) == []


@pytest.mark.parametrize("mark", [";", "\t"])
def test_other_separators_are_seen_in_the_header(tmp_path: Path, mark: str) -> None:
    """Excel writes semicolons where a comma is a decimal sign."""
    (tmp_path / "a.csv").write_text(f"case{mark}first\na{mark}1,0\n")
    assert read_csv(tmp_path / "a.csv", ["case", "first"]) == [{"case": "a", "first": "1,0"}]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"case\na\n", "'first'"),
        (b"case,first,case\na,1,b\n", "twice"),
        (b"case,first\na\n", "line 2: 1 fields"),
        (b"case,first\na,1\nb,2,3\n", "line 3: 3 fields"),
        (b'case,first\n"a,1\n', "line 2 is not CSV"),
        (b"", "lacks the column"),
        ("case,first\n".encode("utf-16"), "UTF-16"),
        (b"case,first\n\xff,1\n", "not UTF-8"),
    ],
)
def test_bad_tables_name_file_line_and_fix(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "tags.csv").write_bytes(data)
    with pytest.raises(BadDataset) as caught:
        read_csv(tmp_path / "tags.csv", ["case", "first"])
    assert words in str(caught.value)
    assert "tags.csv" in str(caught.value)
    assert caught.value.fix


def test_append_makes_the_file_then_adds(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    for step in range(3):
        append_csv(path, ["step", "dice"], [{"step": step, "dice": step / 2}])
    assert path.read_text() == "step,dice\n0,0.0\n1,0.5\n2,1.0\n"


def test_append_drops_a_torn_last_line(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    path.write_text("step,dice\n0,0.25\n1,0.1")
    append_csv(path, ["step", "dice"], [{"step": 1, "dice": 0.125}])
    assert path.read_text() == "step,dice\n0,0.25\n1,0.125\n"


def test_append_refuses_other_columns(tmp_path: Path) -> None:
    path = tmp_path / "losses.csv"
    path.write_text("step,focal\n0,1\n")
    with pytest.raises(BadConfig, match="other columns"):
        append_csv(path, ["step", "dice"], [{"step": 1, "dice": 0.5}])
    assert path.read_text() == "step,focal\n0,1\n"


@pytest.mark.parametrize("mark", [b";", b"\t"])
def test_other_marks_between_fields_are_read(tmp_path: Path, mark: bytes) -> None:
    """N17: Excel writes semicolons where a comma is the decimal point."""
    path = tmp_path / "tags.csv"
    path.write_bytes(b"case,first\na,1\n".replace(b",", mark))
    assert read_csv(path, ["case", "first"]) == [{"case": "a", "first": "1"}]
