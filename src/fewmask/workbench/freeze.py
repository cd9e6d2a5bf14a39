"""What a round begins from: copies, so that what is drawn while it trains is the next one's."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from fewmask.core.volume import Plane
from fewmask.io.atomic import make_folder, write_bytes
from fewmask.io.image import read_labels, write_labels
from fewmask.io.tables import read_csv, write_csv
from fewmask.prepare.tags import COLUMNS

Slices = dict[str, set[int]]
"""Case -> d of outlined slices."""


def freeze(root: Path, folder: Path, cases: Iterable[str], aside: Slices, plane: Plane) -> None:
    """Copy outlines of `cases`, tags and reviewed slices of WORK `root` to `folder`, without the
    slices that are kept `aside`. What lies there of other scans stays behind: nobody knows them.
    """
    make_folder(folder / "labels")
    flips: dict[str, tuple[int, bool]] = {}
    for case in sorted(cases):
        path = root / "labels" / f"{case}.nii.gz"
        if not path.exists():
            continue
        if case not in aside:
            write_bytes(folder / "labels" / path.name, path.read_bytes())
            continue
        labels = read_labels(path).in_plane(plane)
        voxels = labels.voxels.copy()
        voxels[sorted(aside[case])] = 0
        write_labels(folder / "labels" / path.name, replace(labels, voxels=voxels))
        flips[case] = len(voxels), labels.grid.orientation.flips[0]
    for name in ("tags", "reviewed"):
        path = root / f"{name}.csv"
        if not path.exists() or not read_csv(path, COLUMNS, optional=("class",)):
            continue
        if name == "tags":
            write_bytes(folder / path.name, path.read_bytes())
        else:
            rows = read_csv(path, COLUMNS)
            write_csv(folder / path.name, COLUMNS, _without(rows, aside, flips))


def _without(
    rows: list[dict[str, str]], aside: Slices, flips: Mapping[str, tuple[int, bool]]
) -> Iterator[dict[str, object]]:
    """Lines of reviewed.csv, slice by slice where some of a case are taken out."""
    for row in rows:
        case = row["case"]
        if case not in aside:
            yield dict(row)
            continue
        depth, flipped = flips[case]
        hidden = {depth - 1 - d if flipped else d for d in aside[case]}
        for shown in range(int(row["first_slice"]), int(row["last_slice"]) + 1):
            if shown not in hidden:
                yield {"case": case, "first_slice": shown, "last_slice": shown}
