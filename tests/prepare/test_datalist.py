"""Lists of pairs and of names: MONAI, the Decathlon, nnU-Net with regions."""

import json
from pathlib import Path

import pytest

from fewmask.core.errors import BadDataset
from fewmask.prepare.discover import discover
from tests.prepare.folders import lay, pairs, uses


def write(root: Path, name: str = "dataset.json", **record: object) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(json.dumps(record))
    return root


@pytest.mark.parametrize("name", ["dataset.json", "folds.json"])
def test_a_list_is_followed_into_its_own_folders(tmp_path: Path, name: str) -> None:
    lay(tmp_path, "a/x1.nii", "a/x2.nii", "a/spare.nii", "b/one.nii", "b/two.nii")
    lines = [
        {"image": "a/x1.nii", "label": "b/one.nii"},
        {"image": "./a/x2.nii", "label": "./b/two.nii", "fold": 1},
    ]
    layout = discover(write(tmp_path, name, training=lines, testing=["a/gone.nii"]))
    assert (layout.kind, pairs(layout)) == ("list", {"x1": "one.nii", "x2": "two.nii"})
    assert [problem.code for problem in layout.problems] == ["M15"]
    assert (
        uses(layout, tmp_path)["a/spare.nii"] == "unused" and uses(layout, tmp_path)[name] == "list"
    )


def test_a_list_leads_nowhere_else(tmp_path: Path) -> None:
    lay(tmp_path, "secret.nii", "data/a.nii")
    lines = [{"image": "../secret.nii"}, {"image": str(tmp_path / "secret.nii")}]
    with pytest.raises(BadDataset, match="none of them is there"):
        discover(write(tmp_path / "data", training=lines))


def test_several_files_per_line_are_channels(tmp_path: Path) -> None:
    lay(tmp_path, "a/t.nii", "a/u.nii", "m/l.nii")
    write(tmp_path, training=[{"image": ["a/t.nii", "a/u.nii"], "label": "m/l.nii"}])
    assert pairs(discover(tmp_path)) == {"t": "l.nii"}
    assert pairs(discover(tmp_path, channel="1")) == {"u": "l.nii"}
    assert uses(discover(tmp_path), tmp_path)["a/u.nii"] == "channel"


def test_a_list_names_folders_beside_the_usual_ones(tmp_path: Path) -> None:
    """As AMOS: a part for validation, and cases numbered with four digits."""
    lay(tmp_path, *(f"{part}Tr/amos_000{n}.nii" for part in ("images", "labels") for n in (0, 1)))
    lay(tmp_path, "imagesVa/amos_0008.nii", "labelsVa/amos_0008.nii")
    lines = [{"image": f"./imagesTr/amos_000{n}.nii"} for n in (0, 1)]
    more = [{"image": "./imagesVa/amos_0008.nii", "label": "./labelsVa/amos_0008.nii"}]
    layout = discover(write(tmp_path, training=lines, validation=more, modality={"0": "CT"}))
    assert pairs(layout) == {f"amos_000{n}": f"amos_000{n}.nii" for n in (0, 1, 8)}
    assert layout.problems == ()


@pytest.mark.parametrize(
    "labels",
    [
        {"0": "background", "1": "liver (whole)", "3": "prostate/uterus"},
        ["background", "liver (whole)", "cyst", "prostate/uterus"],
        {"background": 0, "liver (whole)": 1, "prostate/uterus": [3]},
    ],
)
def test_names_as_data_sets_write_them(tmp_path: Path, labels: object) -> None:
    names = discover(write(lay(tmp_path, "imagesTr/a.nii"), labels=labels)).names
    assert names["liver (whole)"] == 1 and names["prostate/uterus"] == 3
    assert "background" not in names


def test_regions_have_several_values(tmp_path: Path) -> None:
    labels = {"background": 0, "kidney": [1, 2, 3], "masses": [2, 3], "tumor": 2, "ignore": 4}
    assert discover(write(lay(tmp_path, "imagesTr/a.nii"), labels=labels)).names == {
        "kidney": (1, 2, 3),
        "masses": (2, 3),
        "tumor": 2,
        "ignore": 4,
    }


def test_names_beside_other_folders_are_kept(tmp_path: Path) -> None:
    layout = discover(write(lay(tmp_path, "images/a.nii", "labels/a.nii"), labels={"1": "liver"}))
    assert (layout.kind, layout.names, pairs(layout)) == ("plain", {"liver": 1}, {"a": "a.nii"})
