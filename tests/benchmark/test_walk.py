"""From raw NIfTI to masks, scores and a page, as a user walks it: complete masks, and five outlined
slices of one scan.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from fewmask.core.volume import LabelMap
from fewmask.io.nifti import read_grid, read_labels, write_labels
from fewmask.io.prepared import Prepared
from tests.program import Ended, run_program
from tests.scans import prepare_scans, write_scans

SAM = ["--encoder", "tiny", "--amp", "off", "--device", "cpu", "--set", "classifier_width=8"]
TINY = ["--method", "unet", "--amp", "off", "--device", "cpu", "--set", "channels=(4,8)"]


def fewmask(*words: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    """A true process."""
    done = subprocess.run(
        [sys.executable, "-m", "fewmask", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def here(*words: object, code: int = 0) -> Ended:
    """The same in this process."""
    done = run_program(*words)
    assert done.code == code, done.stdout + done.stderr
    return done


def hashes(folder: Path) -> dict[str, tuple[str, int]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in files
    }


def test_five_outlined_slices_of_one_scan(tmp_path) -> None:
    """The product's main input: everything but five slices of one case is unknown, and tags are two
    numbers per scan.
    """
    cases = write_scans(tmp_path / "scans", 4)
    for case in cases:
        path = tmp_path / "scans" / "labels" / f"{case}.nii.gz"
        if case != cases[0]:
            path.unlink()
    whole = read_labels(tmp_path / "scans" / "labels" / f"{cases[0]}.nii.gz")
    partly = whole.voxels.copy()
    partly[5] = 0  # outlined by nobody, though the organ is there
    write_labels(tmp_path / "scans" / "labels" / f"{cases[0]}.nii.gz", LabelMap(partly, whole.grid))
    (tmp_path / "tags.csv").write_text(
        "case,first_slice,last_slice\n" + "".join(f"{case},2,5\n" for case in cases)
    )
    before = hashes(tmp_path / "scans")
    prepared = tmp_path / "prepared"
    here(
        "prepare",
        tmp_path / "scans",
        "--out",
        prepared,
        "--label",
        "liver=6",
        "--tags",
        tmp_path / "tags.csv",
        "--jobs",
        1,
    )
    opened = Prepared.open(prepared)
    assert opened.reviewed[cases[0]] == {2, 3, 4} and opened.reviewed[cases[1]] == frozenset()
    assert opened.tags[cases[0]] == {"liver": (2, 5)}
    run = tmp_path / "run"
    here("train", prepared, "--slices", 3, "--steps", 2, "--out", run, *TINY)
    masks = here("--json", "predict", run, tmp_path / "scans", "--out", tmp_path / "masks")
    assert json.loads(masks.stdout)["written"] == cases
    for case in cases:
        got, wanted = (
            read_grid(p / f"{case}.nii.gz")
            for p in (tmp_path / "masks", tmp_path / "scans" / "images")
        )
        assert got.shape == wanted.shape and np.allclose(got.affine, wanted.affine, atol=1e-4)
    page = Path(json.loads(here("--json", "report", run).stdout)["report"]).read_text()
    assert "No score" in page and "3 outlined slices" in page
    assert "nothing to score" in here("evaluate", run, code=3).stderr
    assert hashes(tmp_path / "scans") == before
    refused = here("train", prepared, "--slices", 9, "--out", tmp_path / "no", code=2).stderr
    assert "9 labelled slices asked for, 3 available" in refused, refused
    assert not (tmp_path / "no" / "config.json").exists()


@pytest.mark.parametrize("method", [pytest.param("sam_mix", marks=pytest.mark.slow), "unet"])
def test_whole_walk(tmp_path, method) -> None:
    """The slow one in processes of its own, as in a shell."""
    walk = fewmask if method == "sam_mix" else here
    prepared = prepare_scans(tmp_path)
    run = tmp_path / "run"
    small = (
        [*SAM, "--set", "lr=0.003"]
        if method == "sam_mix"
        else ["--amp", "off", "--set", "channels=(8,16,16)", "--set", "lr=0.01"]
    )
    walk(
        "train",
        prepared.folder,
        "--method",
        method,
        "--slices",
        4,
        "--steps",
        90,
        "--out",
        run,
        *small,
    )
    walk("predict", run, prepared.folder)
    oracle = ["--oracle-box"] if method == "sam_mix" else []
    result = json.loads(walk("--json", "evaluate", run, *oracle).stdout)
    automatic = result["summaries"][0]
    assert automatic["prompts"] == "automatic" and automatic["n"] == 2
    assert automatic["metrics"]["dice"]["mean"] > 0.5
    assert len(result["summaries"]) == 1 + len(oracle)
    again = json.loads(
        walk(
            "--json",
            "evaluate",
            run / "predictions",
            tmp_path / "scans" / "labels",
            "--label",
            "liver=6",
        ).stdout
    )
    scored = {score["case"]: score["dice"] for score in again["scores"]}
    assert all(
        scored[score["case"]] == pytest.approx(score["dice"])
        for score in result["scores"]
        if score["prompts"] == "automatic"
    )
    walk("report", run)
    page = (run / "report" / "index.html").read_text()
    assert "4 outlined slices" in page and "http://" not in page and "https://" not in page
    assert ("How a mask comes about" in page) == (method == "sam_mix")
    assert json.loads(walk("--json", "info", run).stdout)["method"] == method


def test_a_bad_scan_leaves_the_others_as_they_are(tmp_path) -> None:
    """Twenty scans with five bad ones in between: exit 5, fifteen masks with the bits of a clean
    batch.
    """
    prepared = prepare_scans(tmp_path)
    run = tmp_path / "run"
    here("train", prepared.folder, "--slices", 2, "--steps", 1, "--out", run, *TINY)
    images = tmp_path / "scans" / "images"
    here("predict", run, images, "--out", tmp_path / "clean")
    whole = (images / "case_00.nii.gz").read_bytes()
    (images / "bad_cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    (images / "bad_page.nii.gz").write_bytes(b"<html>not found</html>")
    (images / "bad_empty.nii.gz").write_bytes(b"")
    done = here("predict", run, images, "--out", tmp_path / "mixed", code=5)
    for name in ("bad_cut", "bad_page", "bad_empty"):
        assert name in done.stderr and not (tmp_path / "mixed" / f"{name}.nii.gz").exists()
    for path in sorted((tmp_path / "clean").iterdir()):
        assert path.read_bytes() == (tmp_path / "mixed" / path.name).read_bytes()


def test_errors_name_file_and_fix(tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    assert (
        "layouts understood"
        in here(
            "prepare", tmp_path / "empty", "--out", tmp_path / "p", "--label", "a=1", code=3
        ).stderr
    )
    prepared = prepare_scans(tmp_path)
    wrong = here(
        "train",
        prepared.folder,
        "--slices",
        2,
        "--out",
        tmp_path / "r",
        "--set",
        "labeled=3",
        code=2,
    ).stderr
    assert "did you mean 'labelled'?" in wrong and not (tmp_path / "r" / "config.json").exists()
    many = here("train", prepared.folder, "--slices", 99, "--out", tmp_path / "r", code=2).stderr
    assert "99 labelled slices asked for, 12 available" in many
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "weights.safetensors").write_bytes(b"x")
    assert (
        "not a run folder"
        in here("predict", foreign, tmp_path / "scans", "--out", tmp_path / "m", code=3).stderr
    )
    label = here(
        "prepare",
        tmp_path / "scans",
        "--out",
        tmp_path / "p7",
        "--label",
        "liver=7",
        "--jobs",
        1,
        code=3,
    ).stderr
    assert "liver=7" in label and "values found" in label
