"""Stands in for `nnunet_worker.py` where nnU-Net is not set up: the same verbs, files and lines; it
learns one threshold.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
from safetensors.numpy import load_file, save_file

DATASET = "Dataset001_fewmask"
RAW, PREPROCESSED, RESULTS = (f"nnUNet_{name}" for name in ("raw", "preprocessed", "results"))


def plan(configuration: str, memory_gb: float, processes: int) -> None:
    raw, done = (Path(os.environ[name]) / DATASET for name in (RAW, PREPROCESSED))
    done.mkdir(parents=True)
    (done / "dataset.json").write_text((raw / "dataset.json").read_text())
    (done / "nnUNetPlans.json").write_text(json.dumps({"configuration": configuration}))
    print("planned", len(list((raw / "labelsTr").iterdir())), "for", memory_gb, "GB")


def fit(configuration: str, epochs: int, iterations: int, seed: int, device: str, out: str) -> None:
    raw = Path(os.environ[RAW]) / DATASET
    state = Path(os.environ[RESULTS]) / "epoch"
    state.parent.mkdir(exist_ok=True)
    first = int(state.read_text()) if state.exists() else 0
    print("fewmask " + json.dumps({"epoch": first, "loss": None}))
    inside = []
    for path in (raw / "labelsTr").iterdir():
        image = np.asanyarray(
            nibabel.load(raw / "imagesTr" / path.name.replace(".nii", "_0000.nii")).dataobj
        )
        inside.append(image[np.asanyarray(nibabel.load(path).dataobj) == 1])
    for epoch in range(first, epochs):
        if os.environ.get("STAND_IN_FAILS") == str(epoch):
            raise SystemExit("no luck today")
        if os.environ.get("STAND_IN_WAITS") == str(epoch):
            time.sleep(60)
        state.write_text(str(epoch + 1))
        print("fewmask " + json.dumps({"epoch": epoch + 1, "loss": 1 / (epoch + 1)}))
    values = np.concatenate(inside)
    save_file({"bounds": np.quantile(values, [0.05, 0.95]).astype(np.float32)}, out)


def ask(
    folder: str, weights: str, configuration: str, mirror: bool, device: str, image: str, out: str
) -> None:
    assert json.loads((Path(folder) / "plans.json").read_text()) == {"configuration": configuration}
    assert json.loads((Path(folder) / "dataset.json").read_text())["labels"]["background"] == 0
    print("asked", "with mirrored copies" if mirror else "once")
    low, high = load_file(weights)["bounds"]
    scan = nibabel.load(image)
    voxels = np.asanyarray(scan.dataobj)
    nibabel.save(
        nibabel.Nifti1Image(
            ((voxels >= float(low)) & (voxels <= float(high))).astype(np.uint8), scan.affine
        ),
        out,
    )


if __name__ == "__main__":
    commands: dict[str, Callable[..., None]] = {"plan": plan, "fit": fit, "ask": ask}
    commands[sys.argv[1]](**json.loads(sys.argv[2]))
