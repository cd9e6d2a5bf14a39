"""Nothing is written into an input, or over what is not ours: every `--out` of every verb."""

import hashlib
import re
from pathlib import Path

import pytest
from typer.main import get_command

from fewmask.cli.app import app
from fewmask.cli.flags import in_flags
from fewmask.core.errors import BadConfig
from fewmask.training import train
from tests.cli.test_verbs import fewmask, small
from tests.scans import prepare_scans

_PREPARE = ["prepare", "scans", "--label", "liver=6", "--jobs", "1", "--out"]
INTO_INPUTS = {
    "check, the scans": ["check", "scans", "--copy-header", "case_00", "--out", "scans/images"],
    "check, the masks": ["check", "scans", "--copy-header", "case_00", "--out", "scans/labels"],
    "check, through a link": ["check", "scans", "--copy-header", "case_00", "--out", "link"],
    "prepare": [*_PREPARE, "scans/out"],
    "prepare, beside its table": [*_PREPARE, "tables", "--tags", "tables/tags.csv"],
    "train": ["train", "prepared", "--steps", "1", "--out", "prepared/run"],
    "train, the scans": ["train", "prepared", "--steps", "1", "--out", "scans/run"],
    "predict, the scans": ["predict", "run", "prepared", "--out", "scans/masks"],
    "convert, the scans": ["convert", "prepared", "--out", "scans/slices.h5"],
    "nnunet, the scans": ["nnunet", "export", "prepared", "--slices", "2", "--out", "scans/raw"],
    "export, onnx, the scans": ["export", "run", "--onnx", "scans/net.onnx"],
    "export, bundle, the scans": ["export", "run", "--monai-bundle", "scans/bundle"],
    "export, hub, the scans": ["export", "run", "--hub", "scans/images/model"],
    "next, the scans": ["next", "run", "--out", "scans/plan.csv"],
    "predict": ["predict", "run", "scans", "--out", "scans/masks"],
    "predict, one scan": ["predict", "run", "scans/images/case_00.nii.gz", "--out", "scans/images"],
    "predict, through a link": ["predict", "run", "scans/images", "--out", "link"],
    "evaluate": ["evaluate", "masks", "scans/labels", "--out", "scans/labels/case_00.nii.gz"],
    "convert, its input": ["convert", "prepared", "--out", "prepared/dataset.json"],
    "convert, a new file in it": ["convert", "prepared", "--out", "prepared/slices.h5"],
    "nnunet": ["nnunet", "export", "prepared", "--slices", "2", "--out", "prepared/raw"],
    "export, onnx": ["export", "run", "--onnx", "run/net.onnx"],
    "export, bundle": ["export", "run", "--monai-bundle", "run/bundle"],
    "export, hub": ["export", "run", "--hub", "run/model"],
    "sweep, runs": ["sweep", "plan.toml", "--data", "scans", "--work", "scans/work"],
    "sweep, rows": ["sweep", "plan.toml", "--data", "scans", "--rows", "scans/r.csv"],
    "next": ["next", "run", "--out", "prepared/plan.csv"],
    "next, new scans": ["next", "run", "--scans", "scans", "--out", "scans/plan.csv"],
    "benchmark": ["benchmark", "next", "next.toml", "--data", "scans", "--work", "scans/work"],
}
OVER_OTHERS = {
    "check": ["check", "scans", "--copy-header", "case_01", "--out", "others"],
    "prepare": [*_PREPARE, "others"],
    "train": ["train", "prepared", "--steps", "1", "--out", "others"],
    "pretrain": ["pretrain", "--steps", "1", "--out", "others"],
    "demo": ["demo", "--out", "others"],
    "predict": ["predict", "run", "scans/images", "--out", "others"],
    "evaluate": ["evaluate", "masks", "scans/labels", "--out", "others/thesis.txt"],
    "convert": ["convert", "prepared", "--out", "others/thesis.txt"],
    "nnunet": ["nnunet", "export", "prepared", "--slices", "2", "--out", "others"],
    "export, bundle": ["export", "run", "--monai-bundle", "others"],
    "export, hub": ["export", "run", "--hub", "others"],
    "sweep, rows": ["sweep", "plan.toml", "--data", "scans", "--rows", "others/thesis.txt"],
    "next": ["next", "run", "--out", "others/thesis.txt"],
}
A_FILE = {
    name: [word if word != "others" else "others/thesis.txt" for word in words]
    for name, words in OVER_OTHERS.items()
    if "thesis" not in words[-1]
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """Scans, a dataset, a run, masks, a sweep file, and a folder with a thesis in it."""
    place: Path = tmp_path_factory.mktemp("outputs")
    prepared = prepare_scans(place)
    train(small(prepared.folder, place / "run"))
    done = fewmask("predict", place / "run", prepared.folder, "--out", place / "masks")
    assert done.exit_code in (0, 5)
    (place / "others").mkdir()
    (place / "others" / "thesis.txt").write_text("ten years of work\n")
    mask = (place / "scans" / "labels" / "case_01.nii.gz").read_bytes()
    (place / "others" / "case_01.nii.gz").write_bytes(mask[:100])  # nobody knows whose
    (place / "tables").mkdir()
    (place / "tables" / "tags.csv").write_text("case,first_slice,last_slice\ncase_00,2,5\n")
    (place / "link").symlink_to(place / "scans" / "images")
    (place / "plan.toml").write_text(
        'data = "."\nlabel = ["liver=6"]\n[[runs]]\nmethod = ["unet"]\nslices = [2]\nsteps = 1\n'
    )
    (place / "next.toml").write_text(
        'data = "."\nlabel = ["liver=6"]\n[split]\ntrain = ["case_00"]\ntest = ["case_01"]\n'
    )
    return place


@pytest.mark.parametrize(
    "words",
    [*INTO_INPUTS.values(), *OVER_OTHERS.values(), *A_FILE.values()],
    ids=[*INTO_INPUTS, *(f"{n}, over" for n in OVER_OTHERS), *(f"{n}, a file" for n in A_FILE)],
)
def test_f11_is_refused_before_anything_is_written(place: Path, monkeypatch, words) -> None:
    monkeypatch.chdir(place)
    before = _state(place)
    error = fewmask(*words).exception
    assert isinstance(error, BadConfig) and error.code == "F11" and error.exit_code == 2, error
    assert error.fix and error.where
    command = get_command(app).commands[words[0]]  # type: ignore[attr-defined]
    flags = {flag for parameter in command.params for flag in parameter.opts}
    named = set(re.findall(r"--[a-z-]+", in_flags(error.fix)))
    assert named <= flags & {*words, "--out"}, "the fix names a flag that was given, or can be"
    assert _state(place) == before


def test_our_own_files_are_written_again(place: Path, monkeypatch) -> None:
    monkeypatch.chdir(place)
    for words in (
        ["check", "scans", "--copy-header", "case_00", "--out", "mended"],
        ["evaluate", "masks", "scans/labels", "--label", "liver=6", "--out", "new/scores.csv"],
    ):
        for _ in range(2):
            assert fewmask(*words).exit_code in (0, 5)


def _state(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else ""
        for path in sorted(folder.rglob("*"))
    }
