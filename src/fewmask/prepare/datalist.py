"""Lists that come with data sets: `dataset.json` of the Medical Segmentation Decathlon and of
nnU-Net, and lists of pairs as MONAI has them.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fewmask.core.errors import BadConfig, BadDataset
from fewmask.io.text import read_json
from fewmask.prepare.folder import FolderTree, printable
from fewmask.prepare.mapping import Values

_PARTS = ("training", "validation", "test", "testing")
_LARGEST = 64 * 2**20
_MOST_FILES = 10


@dataclass(frozen=True)
class DataList:
    """What such a file says."""

    path: Path
    record: Mapping[str, Any]
    names: Mapping[str, Values] = field(default_factory=dict)
    """Structure name -> value, or the values of a region; without background."""
    rows: tuple[tuple[str, str | None], ...] = ()
    """Image and mask of each line, as written; of several channels the files in a row."""
    further: Mapping[Path, str] = field(default_factory=dict)
    """Where lines name several files: those of the channels that are not taken, and of what."""

    @property
    def counts_channels(self) -> bool | None:
        """Do four digits at the end of a file name count channels? None where it does not say."""
        if "channel_names" in self.record or "file_ending" in self.record:
            return True
        if any(re.search(r"_(?!0000)\d{4}\.", image) for image, _ in self.rows):
            return False
        modality = self.record.get("modality")
        return True if isinstance(modality, Mapping) and len(modality) > 1 else None

    @property
    def channels(self) -> dict[str, str]:
        """Number of a channel -> what it shows, where the file says so."""
        table = self.record.get("channel_names", self.record.get("modality"))
        if not isinstance(table, Mapping):
            return {}
        return {str(number): str(name)[:40] for number, name in table.items()}

    @property
    def kind(self) -> str:
        """`nnunet` (version 2) or `msd`."""
        return "nnunet" if "channel_names" in self.record or "file_ending" in self.record else "msd"


def open_list(tree: FolderTree, top: Path, channel: str | None = None) -> DataList | None:
    """The folder's `dataset.json`, else its only JSON file with a list of pairs; None without.
    Where lines name several files, `channel` counts them from 0.

    Raises `BadDataset`: no JSON, or labels that are no table of names and whole numbers (M08).
    """
    path = top / "dataset.json"
    if path in tree.files[top]:
        return read_list(path, channel)
    found = []
    files = [other for other in tree.files[top] if other.suffix.lower() == ".json"]
    # Converters of DICOM write one beside every scan.
    for other in files if len(files) <= _MOST_FILES else ():
        try:
            record = read_json(other, kind=BadDataset, max_bytes=_LARGEST)
        except BadDataset:  # somebody's settings, or a list that is none
            continue
        if any(True for _ in _rows(record)):
            found.append((other, record))
    return _read(*found[0], channel) if len(found) == 1 else None


def read_list(path: Path, channel: str | None = None) -> DataList:
    """What this file says. Raises as `open_list`."""
    return _read(path, read_json(path, kind=BadDataset, max_bytes=_LARGEST), channel)


def _read(path: Path, record: Any, channel: str | None) -> DataList:
    if not isinstance(record, Mapping):
        raise BadDataset(
            f"{path.name} is not a table",
            where=printable(path),
            fix="restore the data set's own file, or remove it",
            code="M08",
        )
    rows, further = [], {}
    for images, label in _rows(record):
        number = int(channel) if channel and channel.isdecimal() and len(images) > 1 else 0
        if number >= len(images):
            raise BadConfig(
                f"no channel {number}: {path.name} lists {len(images)} files per scan",
                fix="`channel` counts them from 0",
                code="C02",
            )
        rows.append((images[number], label))
        others = [name for name in images if name != images[number]]
        further.update({_below(path.parent, name): images[number] for name in others})
    return DataList(path, record, _declared_names(record, path), tuple(rows), further)


def _rows(record: Any) -> Iterator[tuple[list[str], str | None]]:
    """Images and label of each line."""
    if not isinstance(record, Mapping):
        return
    for part in _PARTS:
        lines = record.get(part)
        for line in lines if isinstance(lines, list) else []:
            line = {"image": line} if isinstance(line, str) else line
            if not isinstance(line, Mapping):
                continue
            images, label = line.get("image"), line.get("label")
            images = [images] if isinstance(images, str) else images
            label = label[0] if isinstance(label, list) and len(label) == 1 else label
            if isinstance(images, list) and images and all(isinstance(i, str) for i in images):
                yield images, label if isinstance(label, str) else None


def _declared_names(record: Mapping[str, Any], path: Path) -> dict[str, Values]:
    """Names of a dataset.json: `{"1": "liver"}` (MSD), `["background", "liver"]`, or `{"liver": 1}`
    and regions `{"whole": [1, 2]}` (nnU-Net).
    """
    labels = record.get("labels", {})
    if isinstance(labels, list):
        labels = {str(value): name for value, name in enumerate(labels)}
    if not isinstance(labels, Mapping):
        raise BadDataset(
            "dataset.json: labels is not a table of names and values",
            where=printable(path),
            fix='write such as "labels": {"background": 0, "liver": 1}',
            code="M08",
        )
    names: dict[str, Values] = {}
    for key, value in labels.items():
        name, number = (value, key) if isinstance(value, str) and key.isdecimal() else (key, value)
        values = number if isinstance(number, list) else [number]
        if not values or name in names or not all(_is_value(one) for one in values):
            raise BadDataset(
                f"dataset.json: label {name!r} = {number!r} is not one whole number",
                where=printable(path),
                fix='write such as "liver": 1, or "whole": [1, 2] for a region',
                code="M08",
            )
        whole = tuple(sorted({int(one) for one in values} - {0}))
        if whole:
            names[name] = whole[0] if len(whole) == 1 else whole
    return names


def _is_value(number: object) -> bool:
    return not isinstance(number, bool) and bool(re.fullmatch(r"\d{1,9}", str(number)))


def follow(listed: DataList, tree: FolderTree) -> tuple[dict[Path, Path | None], list[str]]:
    """The scans of a list that the folder walk found, with their masks, and the names of those
    that it did not find. A path that leads out of the folder is not there.
    """
    top = listed.path.parent
    there = {path for folder in tree.files for path in tree.nifti(folder)}
    found: dict[Path, Path | None] = {}
    absent = []
    for image, label in listed.rows:
        scan, mask = _below(top, image), _below(top, label) if label else None
        if scan in there:
            found[scan] = mask if mask in there else None
        if scan not in there or (mask and mask not in there):
            absent.append(image if scan not in there else str(label))
    return found, absent


def _below(top: Path, name: str) -> Path:
    return top.joinpath(*(part for part in Path(name).parts if part != "."))
