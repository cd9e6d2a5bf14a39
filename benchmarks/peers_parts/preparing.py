"""Prepare a folder of CT scans: ours, and nnU-Net's plan and preprocess (2d), each from files."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

from fewmask.synth.phantom import LABELS, write_phantoms
from peers_parts.turns import Cost, Match, Skipped, elsewhere, program

WORK = "prepare"


def matches(
    nnunet: Path | None, scans: Path | None, toy: bool = False
) -> Iterator[Match | Skipped]:
    """Against nnU-Net, with one process each."""
    if nnunet is None:
        yield Skipped(WORK, "nnU-Net", "`--nnunet` names no interpreter that has it")
        return
    folder = Path(mkdtemp(prefix="peers-"))
    if scans is None:
        scans = folder / "scans"
        write_phantoms(scans, 2 if toy else 18)
    labels = [word for name in LABELS for word in ("--label", f"{name}={LABELS[name]}")]
    command = [sys.executable, "-m", "fewmask", "--quiet", "prepare", str(scans), *labels]
    command += ["--out", str(folder / "ours"), "--masks", "complete", "--tags", "from-masks"]
    command += ["--recipe", "ct", "--jobs", "1"]

    def ours() -> Cost:
        shutil.rmtree(folder / "ours", ignore_errors=True)
        return program(command)()

    count = _as_raw(scans, folder / "raw" / "Dataset001_Peers")
    script = Path(__file__).parent / "alone" / "nnunet_prepare.py"
    theirs = elsewhere(nnunet, script, str(folder))
    yield Match(WORK, "nnU-Net", ours, theirs, f"{count} scans, one process each, 2d plan")


def _as_raw(scans: Path, raw: Path) -> int:
    """The same files under nnU-Net's names."""
    images = sorted((scans / "images").glob("*.nii.gz"))
    for kind, ending in (("images", "_0000"), ("labels", "")):
        target = raw / f"{kind}Tr"
        target.mkdir(parents=True)
        for path in images:
            name = path.name.removesuffix(".nii.gz")
            (target / f"{name}{ending}.nii.gz").symlink_to((scans / kind / path.name).resolve())
    text = {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **LABELS},
        "numTraining": len(images),
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(text))
    return len(images)
