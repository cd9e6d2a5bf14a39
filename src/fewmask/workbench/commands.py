"""The commands of a round, as a person would type them."""

from collections.abc import Mapping
from pathlib import Path

from fewmask.prepare.options import ScanOptions


def prepare_command(
    data: Path, out: Path, classes: Mapping[str, int], given: Path, scans: ScanOptions
) -> list[str]:
    """`fewmask prepare` of the outlines, tags and reviewed slices that lie in `given`."""
    words = ["prepare", str(data), "--out", str(out), "--outlines", str(given / "labels")]
    for name, value in classes.items():
        words += ["--label", f"{name}={value}"]
    for table in ("tags", "reviewed"):
        path = given / f"{table}.csv"
        if path.exists():
            words += [f"--{table}", str(path)]
    return words + scan_flags(scans)


def train_command(prepared: Path, run: Path, minutes: float) -> list[str]:
    """`fewmask train` from all outlines; the same command resumes."""
    return ["train", str(prepared), "--minutes", f"{minutes:g}", "--out", str(run)]


def predict_command(prepared: Path, run: Path) -> list[str]:
    """`fewmask predict` of all scans, into the run folder."""
    return ["predict", str(run), str(prepared)]


def scan_flags(scans: ScanOptions) -> list[str]:
    """The flags that say how scans are read."""
    read = scans.read
    spacing_mm = None if read.spacing_mm is None else " ".join(f"{mm:g}" for mm in read.spacing_mm)
    values = {
        "--trust": read.trust,
        "--assume": "RAS" if read.assume_ras else None,
        "--volume": None if read.volume is None else str(read.volume),
        "--spacing": spacing_mm,
        "--intensity": scans.intensity,
        "--plane": scans.plane,
        "--series": scans.series,
        "--keep": "first" if scans.keep_first else None,
        "--channel": scans.channel,
    }
    words = [word for flag, value in values.items() if value is not None for word in (flag, value)]
    words += ["--fix-nonfinite"] if read.fix_nonfinite else []
    return words + (["--follow-links"] if scans.follow_links else [])
