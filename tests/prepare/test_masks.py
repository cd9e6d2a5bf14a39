"""Label maps of a folder by case."""

from pathlib import Path

import pytest

from fewmask.core.errors import BadDataset
from fewmask.prepare.masks import find_masks, match_cases
from tests.prepare.folders import lay


def test_masks_alone_beside_their_scans_and_in_folders(tmp_path: Path) -> None:
    alone = find_masks(lay(tmp_path / "a", "p_0000.nii", "p_0001.nii")).masks
    assert {case: Path(str(path)).name for case, path in alone.items()} == {
        "p_0000": "p_0000.nii",
        "p_0001": "p_0001.nii",
    }
    whole = find_masks(lay(tmp_path / "b", "images/x.nii", "images/y.nii", "labels/x.nii"))
    assert whole.masks == {"x": tmp_path / "b/labels/x.nii"}
    folder = lay(tmp_path / "c", "s1/segmentations/liver.nii", "s2/segmentations/liver.nii")
    assert find_masks(folder).masks == {
        name: {"liver": folder / f"{name}/segmentations/liver.nii"} for name in ("s1", "s2")
    }
    one = lay(tmp_path / "d", "some.nii.gz") / "some.nii.gz"
    assert find_masks(one).masks == {"some": one}
    with pytest.raises(BadDataset):
        find_masks(lay(tmp_path / "e", "notes.txt"))


def test_cases_meet_as_scans_and_masks_do() -> None:
    assert match_cases(["a", "B", "img03"], ["b", "a_seg", "label03", "z"]) == (
        {"a": "a_seg", "B": "b", "img03": "label03"},
        ["z"],
    )
    assert match_cases(["Ü"], ["anything"]) == ({"Ü": "anything"}, [])
    assert match_cases(["U\u0308", "b"], ["Ü", "c"]) == ({"U\u0308": "Ü"}, ["c"])
