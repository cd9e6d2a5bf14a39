"""Split files in JSON, and of nnU-Net."""

import json
from pathlib import Path

import pytest

from fewmask.core.budget import Split
from fewmask.core.errors import BadDataset
from fewmask.io.prepared import write_split
from fewmask.prepare.splitfile import open_split

CASES = ["c0", "c1", "c2", "c3"]


def write(path: Path, record: object) -> Path:
    path.write_text(json.dumps(record))
    return path


def test_lists_in_json_are_those_of_toml(tmp_path: Path) -> None:
    split = Split(("c0", "c1"), ("c2",), ("c3",))
    write_split(tmp_path / "split.toml", split)
    lists = {"training": ["c0", "c1"], "validation": ["c2"], "test": ["c3"]}
    assert open_split(tmp_path / "split.toml", CASES) == (split, [])
    assert open_split(write(tmp_path / "s.json", lists), CASES) == (split, [])


def test_folds_of_nnunet(tmp_path: Path) -> None:
    folds = [{"train": ["c0", "c1", "c2"], "val": ["c3"]}, {"train": ["c3"], "val": ["c0"]}]
    path = write(tmp_path / "splits_final.json", folds)
    split, (note,) = open_split(path, CASES)
    assert split == Split(("c0", "c1", "c2"), (), ("c3",))
    assert "fold 0 of 2" in note and f"`split={path}#1`" in note
    assert open_split(Path(f"{path}#1"), CASES)[0] == Split(("c3",), (), ("c0",))
    with pytest.raises(BadDataset, match="there is no fold 2"):
        open_split(Path(f"{path}#2"), CASES)


def test_names_of_files_stand_for_their_cases(tmp_path: Path) -> None:
    lists = {"train": ["imagesTr/c0_0000.nii.gz", "c1.nii"], "test": ["c2", "else.nii"]}
    split, _ = open_split(write(tmp_path / "s.json", lists), CASES)
    assert (split.train, split.test) == (("c0", "c1"), ("c2", "else.nii"))


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    with pytest.raises(BadDataset, match="a pickle is a program") as caught:
        open_split(tmp_path / "splits_final.pkl", CASES)
    assert caught.value.fix.startswith("save it as splits_final.json")


@pytest.mark.parametrize(
    "record", [{"val": ["c0"]}, {"train": "c0"}, {"train": ["c0"], "fold": 1}, [], 3, ["c0"]]
)
def test_what_is_no_split(tmp_path: Path, record: object) -> None:
    with pytest.raises(BadDataset) as caught:
        open_split(write(tmp_path / "s.json", record), CASES)
    assert caught.value.code == "S04" and caught.value.fix
