"""What every part is told, and the rows it leaves."""

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from fewmask.core.budget import Split
from fewmask.io.prepared import Prepared, write_split
from fewmask.prepare.build import prepare
from fewmask.prepare.options import PrepareOptions
from fewmask.synth.phantom import LABELS, write_phantoms


@dataclass(frozen=True)
class Job:
    """One part, in a process of its own."""

    name: str
    out: Path
    device: str
    toy: bool
    until: float
    """Seconds since the epoch at which the part has to be done."""
    data: dict[str, Path] = field(default_factory=dict)
    """Prepared datasets, `atrium` and `organs`, as far as they are here."""
    steps: int | None = None
    """Training steps that were asked for."""
    compile: bool = False
    """Trainings let torch.compile write their kernels."""

    @property
    def left(self) -> float:
        """Seconds."""
        return self.until - time.time()

    @property
    def place(self) -> torch.device:
        """As torch has it."""
        return torch.device(self.device)

    def tell(self, **row: Any) -> None:
        """One row, on the disk at once and in sight."""
        line = json.dumps({"part": self.name, **row}, default=str)
        with rows_of(self.out, self.name).open("a") as file:
            file.write(line + "\n")
        print(line, flush=True)

    def has(self, **row: Any) -> bool:
        """Is there a row with these values, from now or from an earlier call?"""
        wanted = json.loads(json.dumps(row, default=str)).items()
        return any(
            all(found.get(key) == value for key, value in wanted)
            for found in self.rows()
            if "left_out" not in found
        )

    def rows(self) -> list[dict[str, Any]]:
        """What it has told."""
        path = rows_of(self.out, self.name)
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def forget_gaps(self) -> None:
        """Drop rows that say that something was left out: it is tried again."""
        kept = [json.dumps(row) + "\n" for row in self.rows() if "left_out" not in row]
        rows_of(self.out, self.name).write_text("".join(kept))


def rows_of(out: Path, name: str) -> Path:
    """Where a part writes its rows."""
    folder = out / "rows"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.jsonl"


def phantoms(out: Path, small: bool) -> Prepared:
    """Abdominal phantoms with four organs, 64 or 224 pixels a slice, prepared once; the last one is
    for testing.
    """
    folder = out / ("phantoms-64" if small else "phantoms-224")
    if not (folder / "prepared" / "dataset.json").exists():
        cases = write_phantoms(folder / "scans", 3 if small else 4)
        write_split(folder / "split.toml", Split(tuple(cases[:-1]), (), (cases[-1],)))
        options = PrepareOptions(
            labels={name: (value,) for name, value in LABELS.items()},
            recipe="ct",
            size=64 if small else 224,
            masks="complete",
            tags="from-masks",
            split=folder / "split.toml",
        )
        prepare(folder / "scans", folder / "prepared", options)
    return Prepared.open(folder / "prepared")
