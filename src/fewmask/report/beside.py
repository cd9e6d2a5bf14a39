"""Small tables that `predict` lays beside masks."""

import math
from pathlib import Path

from fewmask.core.errors import BadDataset
from fewmask.io.tables import read_csv
from fewmask.io.text import expecting
from fewmask.report.doubt import Quality

QUALITY, VOLUMES = "quality.csv", "volumes.csv"
_QUALITY = ("case", "structure", "dice", "low", "high", "reasons")


def read_quality(folder: Path) -> dict[str, list[Quality]]:
    """Predicted Dice of every case (quality.csv); nothing where there is no such table. Raises
    `BadDataset` for lines that are none.
    """
    path = folder / QUALITY
    found: dict[str, list[Quality]] = {}
    if not path.exists():
        return found
    rows = read_csv(path, _QUALITY)
    with expecting(path, kind=BadDataset, fix="remove it, or predict the scans again"):
        for row in rows:
            dice, low, high = (_number(row[name]) for name in ("dice", "low", "high"))
            line = Quality(row["structure"], dice, low, high, row["reasons"])
            found.setdefault(row["case"], []).append(line)
    return found


def read_structures(folder: Path) -> list[str]:
    """Names of the structures 1, 2, ... as volumes.csv lists them; none without the table."""
    path = folder / VOLUMES
    if not path.exists():
        return []
    rows = read_csv(path, ("case", "structure"))
    return list(dict.fromkeys(row["structure"] for row in rows if row["structure"] != "mean"))


def _number(text: str) -> float:
    """Raises `ValueError` for what is neither empty nor a number."""
    return float(text) if text else math.nan
