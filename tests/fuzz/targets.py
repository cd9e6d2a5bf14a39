"""What is fuzzed: per parser a whole file, how it is damaged, and who reads it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from fewmask.benchmark.plan import read_plan
from fewmask.benchmark.rows import read_rows
from fewmask.core.volume import Grid, LabelMap, Volume
from fewmask.io import weights
from fewmask.io.case import CaseFile, write_case
from fewmask.io.dicom import read_series
from fewmask.io.image import read_grid, read_labels, read_names, read_volume
from fewmask.io.prepared import CaseRow, Prepared
from fewmask.io.samix import parse_samix
from fewmask.io.snap import read_snap
from fewmask.io.ssl4mis import parse_h5_volume
from fewmask.prepare.datalist import open_list
from fewmask.prepare.folder import walk_folder
from fewmask.prepare.splitfile import check_names, open_split
from fewmask.prepare.tags import read_tags
from tests.faults.corpus import AFFINE, LABELS, VOXELS, nifti_bytes, pack
from tests.fuzz.damage import Damage, after_length, blind, fields, packed, words
from tests.io.test_dicom import write_series
from tests.io.test_dicommask import box, pixels, write_seg, write_struct
from tests.io.test_metaimage import write as write_mha
from tests.io.test_multiframe import write_enhanced
from tests.io.test_nrrd import ARRAY, segmentation
from tests.io.test_nrrd import write as write_nrrd
from tests.scans import prepare_scans

Reader = Callable[[Path], object]
_FRAMES = [(1, 1, pixels((0, 1))), (2, 2, pixels((0, 0)))]
_HEADER = 352
_ROWS = Path(__file__).parents[2] / "experiments" / "rows"
_SCAN = np.arange(60, dtype=np.int16).reshape(5, 3, 4)


@dataclass(frozen=True)
class Target:
    """One parser."""

    make: Callable[[Path], Path]
    """Writes a whole file (and what must lie beside it) into an empty folder; the file."""
    reads: tuple[Reader, ...]
    damage: Damage = blind


def _image(path: Path) -> None:
    read_grid(path)
    read_volume(path)


def _file(name: str, data: bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def _text(name: str, text: str) -> Callable[[Path], Path]:
    return _file(name, text.encode())


@cache
def _grid() -> Grid:
    """Of the scan that the DICOM masks are drawn on."""
    with TemporaryDirectory() as folder:
        return read_series(write_series(Path(folder) / "scan", _SCAN)).grid


def _labels_on(path: Path) -> LabelMap:
    return read_labels(path, grid=_grid())


def _case(folder: Path) -> Path:
    volume = Volume.from_file_order(VOXELS, AFFINE)
    labels = LabelMap.from_file_order(LABELS, AFFINE).voxels
    write_case(folder / "case.h5", volume, labels, about={"a": 1})
    return folder / "case.h5"


def _earlier_case(folder: Path) -> Path:
    """Of an earlier version: texts had no fixed length, and lay in a heap."""
    import h5py

    path = _case(folder)
    with h5py.File(path, "r+") as file:
        for name in ("stamp", "grid"):
            file.attrs[name] = file.attrs[name].decode()
    return path


def _read_case(path: Path) -> None:
    with CaseFile(path) as case:
        _ = case.volume(), case.about, case.spacing_mm
        if case.has_labels:
            case.labels(range(case.shape[0]))


def _samix(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "s.h5", "w") as file:
        for number in range(2):
            group = file.create_group(f"Slice{number}")
            image = np.linspace(0, 1, 48, dtype=np.float16).reshape(6, 8)
            group.create_dataset("Slice", data=image, fletcher32=True, chunks=image.shape)
            group.create_dataset("Segmentation", data=(image > 0.5).astype(np.uint8))
            group.attrs["ImageLabel"] = np.int64(1)
    return folder / "s.h5"


def _atrium(folder: Path) -> Path:
    import h5py

    with h5py.File(folder / "a.h5", "w") as file:
        image = np.linspace(0, 1, 192, dtype=np.float32).reshape(8, 6, 4)
        file.create_dataset("image", data=image, compression="gzip", shuffle=True)
        file.create_dataset("label", data=(image > 0.5).astype(np.uint8), compression="lzf")
    return folder / "a.h5"


def _tensors(folder: Path) -> Path:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b.c": torch.arange(4, dtype=torch.int64)}
    weights.save_tensors(folder / "w.safetensors", tensors, {"encoder": "vit-b"})
    return folder / "w.safetensors"


def _fit(path: Path) -> None:
    weights.load_into(torch.nn.Linear(3, 2), path)


def _prepared(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        return prepare_scans(folder, 3).folder / name

    return make


def _open(path: Path) -> None:
    _ = Prepared.open(path.parent).digest


def _tags(path: Path) -> None:
    read_tags(path, _cases(), ("liver",))


@cache
def _cases() -> dict[str, CaseRow]:
    with TemporaryDirectory() as folder:
        return prepare_scans(Path(folder), 3).cases


def _split(path: Path) -> None:
    cases = ["case_00", "case_01", "case_02"]
    split, _ = open_split(path, cases)
    check_names(split, path, cases)


def _list(path: Path) -> None:
    open_list(walk_folder(path.parent), path.parent)


def _dicom(folder: Path) -> Path:
    return sorted(write_series(folder / "scan", _SCAN).iterdir())[2]


def _rows(folder: Path) -> Path:
    source = sorted(_ROWS.glob("*.csv"))[0]
    lines = source.read_text().splitlines(keepends=True)
    (folder / "rows.csv").write_text("".join(lines[:4]))
    return folder / "rows.csv"


_NIFTI = (_image, read_labels)
_IMAGES = (read_grid, read_volume, read_names, _labels_on)
_PLAN = """data = "."
label = ["liver=6"]
[[runs]]
method = ["unet"]
slices = [2, 4]
draw = [0]
steps = 1
set = { channels = [4, 8] }
"""
_LIST = """{"name": "x", "labels": {"0": "background", "1": "liver"}, "numTraining": 1,
"training": [{"image": "./images/a.nii.gz", "label": "./labels/a.nii.gz"}], "test": ["./b.nii.gz"]}
"""
_SNAP = '# ITK-SnAP Label Description File\n 0 0 0 0 0 0 0 "Clear"\n 1 255 0 0 1 1 1 "liver"\n'

TARGETS: dict[str, Target] = {
    "nifti": Target(_file("a.nii", nifti_bytes(np.abs(VOXELS))), _NIFTI, fields(0, _HEADER)),
    "nifti2": Target(_file("a.nii", nifti_bytes(np.abs(VOXELS), two=True)), _NIFTI, fields(0, 544)),
    "gzip": Target(
        _file("a.nii.gz", pack(nifti_bytes(LABELS))), _NIFTI, packed(fields(0, _HEADER))
    ),
    "hdf5": Target(_case, (_read_case,), fields(0, 2**31)),
    "hdf5-earlier": Target(_earlier_case, (_read_case,), fields(0, 2**31)),
    # Both without the process in front of them (io/apart.py): a crash is to be seen.
    "samix": Target(_samix, (parse_samix,), fields(0, 2**31)),
    "atrium": Target(_atrium, (parse_h5_volume,), fields(0, 2**31)),
    "safetensors": Target(
        _tensors, (weights.load_tensors, weights.read_metadata, _fit), after_length
    ),
    "dataset.json": Target(_prepared("dataset.json"), (_open,), words),
    "split.toml": Target(_prepared("split.toml"), (_open, _split), words),
    "tags.csv": Target(_prepared("tags.csv"), (_open, _tags), words),
    "reviewed.csv": Target(_prepared("reviewed.csv"), (_open,), words),
    "split.json": Target(
        _text("s.json", '{"train": ["case_00"], "val": [], "test": ["case_01"]}'), (_split,), words
    ),
    "folds.json": Target(
        _text("splits_final.json", '[{"train": ["case_00"], "val": ["case_01"]}]'), (_split,), words
    ),
    "list.json": Target(_text("dataset.json", _LIST), (_list,), words),
    "sweep.toml": Target(_text("plan.toml", _PLAN), (read_plan,), words),
    "rows.csv": Target(_rows, (read_rows,), words),
    "snap.txt": Target(_text("labels.txt", _SNAP), (read_snap,), words),
    "nrrd": Target(lambda folder: write_nrrd(folder / "a.nrrd"), _IMAGES, words),
    "seg.nrrd": Target(
        lambda folder: segmentation(
            folder / "b.nrrd", [ARRAY > 3, ARRAY > 9], [("a", 0, 1), ("b", 1, 1)]
        ),
        _IMAGES,
        words,
    ),
    "metaimage": Target(lambda folder: write_mha(folder / "a.mha"), _IMAGES, words),
    "dicom": Target(_dicom, (lambda path: read_series(path.parent),)),
    "multiframe": Target(
        lambda folder: write_enhanced(folder / "one") / "all",
        (lambda path: read_series(path.parent),),
    ),
    "dicom-seg": Target(
        lambda folder: write_seg(folder / "s.dcm", _FRAMES, ("liver", "spleen")), _IMAGES
    ),
    "rtstruct": Target(
        lambda folder: write_struct(
            folder / "r.dcm", [("liver", [box((-10, -20), (-9, -19), 32)])]
        ),
        _IMAGES,
    ),
}
