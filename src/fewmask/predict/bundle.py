"""A run as a MONAI bundle: a folder that MONAI's bundle tools run without fewmask.

MONAI's own transforms stand for ours. They resample otherwise, so where a scan's pixels are not the
network's, borders may lie a voxel apart.
"""

import io
import warnings
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewmask.blocks.presence import gate, judge
from fewmask.core.errors import BadConfig, FewmaskError
from fewmask.io.atomic import make_folder, write_bytes
from fewmask.io.outputs import check_folder
from fewmask.io.run import RunFolder
from fewmask.io.text import read_json, write_json
from fewmask.predict.export import open_portable
from fewmask.predict.onnx import Drawing, presence_of
from fewmask.predict.predictor import Predictor
from fewmask.version import __version__

_OURS = {"configs", "models", "docs"}
_CODES = {"axial": "SPL", "coronal": "PIL", "sagittal": "LIP"}
"""Axes (d, h, w) in the words of nibabel and MONAI."""


@dataclass(frozen=True)
class Bundle:
    """What was written, and what the bundle leaves out."""

    folder: Path
    notes: tuple[str, ...]


class Gated(nn.Module):
    """Probabilities as masks follow from them, slice by slice."""

    def __init__(self, drawing: Drawing) -> None:
        super().__init__()
        self.drawing = drawing

    def forward(self, image: Float[Tensor, "b 1 *space"]) -> Float[Tensor, "b c *space"]:
        """(b, c, *space), background first."""
        if self.drawing.presence == "none":
            probs: Tensor = self.drawing(image)
            return probs
        probs, present = self.drawing(image)
        return gate(probs, judge(present, "slice"))


def export_bundle(run: Path, out: Path) -> Bundle:
    """Write the bundle: `configs/metadata.json`, `configs/inference.json`, `models/model.ts`,
    a README.

    Raises `BadConfig` for a method that is not one network, for a recipe that stretches slices
    (MONAI's bundle has no place for it), and (F11) for a folder that holds other files.
    """
    folder, predictor = open_portable(run)
    ours = _is_bundle(out)
    inputs = [run, *folder.inputs]
    check_folder(out, inputs, owns=lambda path: ours and path.name in _OURS, name="monai_bundle")
    if predictor.recipe.stretch:
        raise BadConfig(
            f"recipe {predictor.recipe.name!r} stretches slices, which no MONAI inferer undoes",
            did="nothing was written",
            fix="use `onnx` instead, or train with another recipe",
            code="C02",
        )
    notes = _left_out(folder, predictor)
    for name in sorted(_OURS):
        make_folder(out / name)
    write_json(out / "configs" / "metadata.json", describe(folder, predictor))
    write_json(out / "configs" / "inference.json", inference(folder, predictor))
    text = "\n".join([f"# {folder.read_record().method} of fewmask", "", _USE, "", *notes, ""])
    write_bytes(out / "docs" / "README.md", text.encode())
    write_bytes(out / "models" / "model.ts", _script(predictor, presence_of(folder.read_record())))
    return Bundle(out, tuple(notes))


def _is_bundle(folder: Path) -> bool:
    """Was this folder written here?"""
    try:
        changes = read_json(folder / "configs" / "metadata.json").get("changelog", {})
    except FewmaskError:
        return False
    return any("exported by fewmask" in str(text) for text in dict(changes).values())


_USE = (
    'In this folder `python -c "from monai.bundle import run; '
    "run(config_file='configs/inference.json', dataset_dir='SCANS')\"` draws a mask of every "
    "`.nii.gz` in SCANS into `masks/`. It needs what `configs/metadata.json` lists."
)


def describe(run: RunFolder, predictor: Predictor) -> dict[str, Any]:
    """`metadata.json`."""
    import monai
    import numpy as np

    record, task = run.read_record(), predictor.task
    patch = predictor.method.batch_spec.patch
    sides = list(patch) if patch else [predictor.recipe.size] * 2
    channels = {str(n): name for n, name in enumerate(("background", *task.classes))}
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/"
        "0.8.1/meta_schema_20240725.json",
        "version": "1.0.0",
        "changelog": {"1.0.0": f"exported by fewmask {__version__}"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": np.__version__,
        "required_packages_version": {"nibabel": "5.3"}
        | ({"scikit-image": "0.22"} if _largest(run, predictor) else {}),
        "name": f"{record.method} ({', '.join(task.classes)})",
        "task": "segmentation",
        "description": f"Masks of {', '.join(task.classes)}, learned from few outlines",
        "authors": "",
        "copyright": "",
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "hounsfield" if predictor.recipe.modality == "ct" else "magnitude",
                    "modality": predictor.recipe.modality.upper(),
                    "num_channels": 1,
                    "spatial_shape": sides,
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": True,
                    "channel_def": {"0": "image"},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": task.k + 1,
                    "spatial_shape": sides,
                    "dtype": "float32",
                    "value_range": [0, 1],
                    "is_patch_data": True,
                    "channel_def": channels,
                }
            },
        },
    }


def inference(run: RunFolder, predictor: Predictor) -> dict[str, Any]:
    """`inference.json`: `run` needs MONAI and nibabel; `evaluator`, for tools that ask for one,
    pytorch-ignite too.
    """
    return {
        "imports": ["$import glob", "$import os", "$import numpy as np", "$import torch"],
        "bundle_root": ".",
        "dataset_dir": "scans",
        "output_dir": "$@bundle_root + '/masks'",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "datalist": "$sorted(glob.glob(os.path.join(@dataset_dir, '*.nii*')))",
        "network_def": "$torch.jit.load(@bundle_root + '/models/model.ts', map_location=@device)",
        "network": "$@network_def.eval()",
        "preprocessing": {"_target_": "Compose", "transforms": _before(predictor)},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': one} for one in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": _inferer(predictor),
        "postprocessing": {"_target_": "Compose", "transforms": _after(run, predictor)},
        "evaluator": {
            "_target_": "SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "draw": "$lambda one: @postprocessing({**one, 'pred': @inferer("
        "one['image'][None].to(@device), @network)[0]})",
        "run": ["$torch.set_grad_enabled(False)", "$[@draw(one) and None for one in @dataset]"],
    }


def _before(predictor: Predictor) -> list[dict[str, Any]]:
    recipe = predictor.recipe
    image = {"keys": "image"}
    low, high = recipe.window_hu if recipe.modality == "ct" else recipe.percentiles
    bounds = {"b_min": 0.0, "b_max": 1.0, "clip": True}
    scale = (
        {"_target_": "ScaleIntensityRanged", **image, "a_min": low, "a_max": high, **bounds}
        if recipe.modality == "ct"
        else {
            "_target_": "ScaleIntensityRangePercentilesd",
            **image,
            "lower": low,
            "upper": high,
            **bounds,
        }
    )
    # 0: as it is
    deep = recipe.slice_mm if predictor.windows is not None else 0.0
    pixdim = [deep, recipe.spacing_mm, recipe.spacing_mm]
    return [
        {"_target_": "LoadImaged", **image},
        {"_target_": "EnsureChannelFirstd", **image},
        {"_target_": "Orientationd", **image, "axcodes": _CODES[recipe.plane], "labels": None},
        scale,
        {"_target_": "Spacingd", **image, "pixdim": pixdim, "mode": "bilinear"},
        {"_target_": "EnsureTyped", **image},
    ]


def _inferer(predictor: Predictor) -> dict[str, Any]:
    windows = predictor.windows
    if windows is None:
        size = predictor.recipe.size
        return {
            "_target_": "SliceInferer",
            "roi_size": [size, size],
            "spatial_dim": 0,
            "sw_batch_size": predictor.batch,
            "overlap": 0.25,
        }
    return {
        "_target_": "SlidingWindowInferer",
        "roi_size": list(windows.patch),
        "sw_batch_size": windows.batch,
        "overlap": 0.5,
    }


def _after(run: RunFolder, predictor: Predictor) -> list[dict[str, Any]]:
    pred = {"keys": "pred"}
    back = {
        "_target_": "Invertd",
        **pred,
        "transform": "@preprocessing",
        "orig_keys": "image",
        "nearest_interp": False,
        "to_tensor": True,
    }
    labels = _largest(run, predictor)
    largest = {
        "_target_": "KeepLargestConnectedComponentd",
        **pred,
        "applied_labels": labels,
        "connectivity": 1,
    }
    save = {
        "_target_": "SaveImaged",
        **pred,
        "output_dir": "@output_dir",
        "output_postfix": "mask",
        "output_dtype": "$np.uint8",
        "separate_folder": False,
        "print_log": False,
    }
    return [
        back,
        {"_target_": "AsDiscreted", **pred, "argmax": True},
        *([largest] if labels else []),
        save,
    ]


def _largest(run: RunFolder, predictor: Predictor) -> list[int]:
    """Classes of which clean-up keeps the largest part."""
    rules = (run.read_cleanup() or {}).get("structures", {})
    classes = enumerate(predictor.task.classes, 1)
    return [n for n, name in classes if rules.get(name, {}).get("keep") == "largest"]


def _left_out(run: RunFolder, predictor: Predictor) -> list[str]:
    notes = [
        "Borders may lie a voxel from fewmask's own where a scan's pixels are not the network's."
    ]
    if presence_of(run.read_record()) == "scan":
        notes.append("Slices are judged one by one, not with their neighbours along the scan.")
    rules = (run.read_cleanup() or {}).get("structures", {})
    if any(rule.get("keep") == "above" or rule.get("fill_holes") for rule in rules.values()):
        notes.append("Of the clean-up rule only `largest` is applied.")
    if predictor.method.any_size:
        notes.append("Slices wider than the network's grid are seen through windows.")
    return notes


def _script(predictor: Predictor, presence: str) -> bytes:
    """The network as TorchScript, which `models/model.ts` of a bundle is."""
    network = Gated(Drawing(predictor.method, presence, predictor.task.k)).eval()
    patch = predictor.method.batch_spec.patch
    sides = patch or (predictor.recipe.size,) * 2
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(network, torch.rand(2, 1, *sides), check_trace=False)
        buffer = io.BytesIO()
        torch.jit.save(traced, buffer)
    return _without_traces(buffer.getvalue())


def _without_traces(script: bytes) -> bytes:
    """A TorchScript archive without the parts that say in which files of which machine its lines
    were traced.
    """
    kept = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(script)) as old, zipfile.ZipFile(kept, "w") as new:
        for part in old.infolist():
            if not part.filename.endswith(".debug_pkl"):
                new.writestr(part.filename, old.read(part))
    return kept.getvalue()
