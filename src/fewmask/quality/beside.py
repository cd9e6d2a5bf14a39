"""Signs of a mask in a small file beside it, `CASE.signs.json`: from these the tables of a folder
are made, so that several processes, and the same command again, lose no row.
"""

from dataclasses import dataclass
from pathlib import Path

from fewmask.core.errors import BadDataset
from fewmask.io.text import expecting, read_json, write_json
from fewmask.quality.signs import Signs

ENDING = ".signs.json"


@dataclass(frozen=True)
class Seen:
    """What was seen of the masks of one case."""

    case: str
    signs: dict[str, Signs]
    """By structure, in the order of classes."""
    mask: str
    """Name of the mask's file or folder."""
    outlined: dict[str, tuple[int, int]] | None = None
    """By structure, on slices that the network learned from: twice the voxels that its drawing and
    the outline share, and the voxels of both. None: no slice.
    """


def signs_path(folder: Path, case: str) -> Path:
    """Beside the mask of a case."""
    return folder / f"{case}{ENDING}"


def write_signs(folder: Path, seen: Seen) -> None:
    """Before the mask is written."""
    record = {
        "mask": seen.mask,
        "structures": {name: one.as_dict() for name, one in seen.signs.items()},
        "outlined": seen.outlined,
    }
    write_json(signs_path(folder, seen.case), record)


def read_signs_beside(folder: Path, case: str) -> Seen | None:
    """None: an earlier version drew the mask. Raises `BadDataset` for a file that is not ours."""
    path = signs_path(folder, case)
    if not path.exists():
        return None
    with expecting(path, kind=BadDataset, fix="predict the scan again"):
        record = read_json(path)
        signs = {name: Signs.from_dict(one) for name, one in record["structures"].items()}
        outlined = record["outlined"]
        overlaps = outlined and {name: (int(a), int(b)) for name, (a, b) in outlined.items()}
        return Seen(case, signs, str(record["mask"]), overlaps)


def read_all(folder: Path) -> list[Seen]:
    """Of all masks that are in the folder, by name of the case."""
    names = sorted(path.name.removesuffix(ENDING) for path in folder.glob(f"*{ENDING}"))
    found = [read_signs_beside(folder, case) for case in names]
    return [seen for seen in found if seen is not None and (folder / seen.mask).exists()]
