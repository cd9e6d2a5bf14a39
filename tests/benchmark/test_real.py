"""The same walk on real scans, where they are: what the data's own page says, and two classes at
once.
"""

import json

import numpy as np
import pytest

from fewmask.io.nifti import read_labels
from fewmask.io.prepared import Prepared
from fewmask.prepare.build import prepare
from fewmask.prepare.options import PrepareOptions
from tests.benchmark.test_walk import SAM, fewmask


def test_ct_abdomen_is_what_its_page_says(tmp_path, real_scans) -> None:
    options = PrepareOptions(
        labels={"liver": (6,)}, recipe="ct-liver", masks="complete", tags="from-masks"
    )
    summary = prepare(real_scans / "ct-abdomen", tmp_path / "prepared", options)
    prepared = Prepared.open(summary.prepared)
    assert summary.built == 18 and not [line for line in summary.refused if line["case"]]
    assert sum(row.shape[0] for row in prepared.cases.values()) == 2206
    assert sum(len(slices) for slices in prepared.candidates(prepared.cases).values()) == 901
    assert all(row.ct and row.complete for row in prepared.cases.values())


@pytest.mark.slow
def test_two_classes_of_mr(tmp_path, real_scans) -> None:
    """Hippocampus, anterior and posterior: percentiles instead of a window, two prompts per slice,
    two rows per case.
    """
    source = real_scans / "mr-hippocampus"
    scans = tmp_path / "scans"
    for part in ("images", "labels"):
        (scans / part).mkdir(parents=True)
        for path in sorted((source / part).iterdir())[:6]:
            (scans / part / path.name).write_bytes(path.read_bytes())
    prepared, run = tmp_path / "prepared", tmp_path / "run"
    labels = ["--label", "anterior=1", "--label", "posterior=2"]
    fewmask(
        "prepare",
        scans,
        "--out",
        prepared,
        *labels,
        "--masks",
        "complete",
        "--tags",
        "from-masks",
        "--jobs",
        1,
    )
    opened = Prepared.open(prepared)
    assert opened.classes == ("anterior", "posterior") and opened.recipe.modality == "mr"
    fewmask(
        "train",
        prepared,
        "--slices",
        10,
        "--steps",
        160,
        "--out",
        run,
        "--method",
        "sam_mix",
        *SAM,
        "--set",
        "lr=0.003",
    )
    fewmask("predict", run, prepared)
    result = json.loads(fewmask("--json", "evaluate", run).stdout)
    tested = set(opened.split.test)
    assert {(s["case"], s["label"]) for s in result["scores"]} == {
        (c, k) for c in tested for k in ("anterior", "posterior")
    }
    values = [
        np.unique(read_labels(run / "predictions" / f"{case}.nii.gz").voxels) for case in tested
    ]
    assert set(np.concatenate(values).tolist()) <= {0, 1, 2}
    assert max(score["dice"] for score in result["scores"]) > 0.3, "160 steps find something"
