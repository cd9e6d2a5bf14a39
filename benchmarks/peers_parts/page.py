"""`docs/performance.md` out of the rows."""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from peers_parts.turns import Row

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
HEADS = ["work", "peer", "aim", "reached", "ours, CPU s", "peer, CPU s", "memory, MiB", "command"]


@dataclass(frozen=True)
class Aim:
    """A line that the page has, measured or not."""

    work: str
    """As in the rows."""
    peer: str
    name: str
    """As on the page."""
    ratio: float
    """The peer's processor time over ours that was wanted."""
    options: str = ""
    """Of the command."""


_SCORES = "Dice, HD95, ASSD, NSD of a 512 x 512 x 200 pair"
_READ = "open, read, check (CRC) and place a 512 x 512 x 300 `.nii.gz`"
_HERE = "share of a matrix product's rate: "
AIMS = (
    Aim("scores", "MONAI", _SCORES, 20),
    Aim("scores", "surface-distance", _SCORES, 4),
    Aim("scores", "MedPy", _SCORES, 200, " --medpy PYTHON"),
    Aim("reading", "nibabel", _READ, 0.7),
    Aim("reading", "SimpleITK", _READ, 0.7),
    Aim("windows", "MONAI", "sliding window, same V-Net and windows", 1),
    Aim("windows, Gaussian", "MONAI", "the same, windows weighed by a Gaussian", 1),
    Aim("step, 2D", "MONAI, float32", "training step of a U-Net, 8 slices, data included", 1.2),
    Aim("step, 2D", "MONAI, bfloat16", "training step of a U-Net, 8 slices, data included", 1.2),
    Aim("step, 3D", "MONAI, float32", "training step of a V-Net, 2 patches, data included", 1.2),
    Aim("step, 3D", "MONAI, bfloat16", "training step of a V-Net, 2 patches, data included", 1.2),
    Aim("start, --help", "limit 0.3 s", "`fewmask --help`", 1),
    Aim("start, first step", "limit 5 s", "`fewmask train` to its first step", 1),
    Aim("volume", "ViT-B at 1024 px", "masks of one CT volume", 10),
    Aim("sam-mix", "release", "SAM-Mix step, per outlined slice", 50),
    Aim("cfr", "SAM online, ours", "CFR re-training step", 10),
    Aim("cfr", "release", "CFR re-training step", 10),
    Aim("rate, SAM's encoder", "matrix product", f"{_HERE}SAM's encoder, 448 px", 0.5),
    Aim("rate, V-Net step", "matrix product", f"{_HERE}V-Net step", 0.5),
    Aim("prepare", "nnU-Net", "prepare 18 CT scans", 5, " --nnunet PYTHON"),
)
START, END = "<!-- written by benchmarks/peers.py -->\n", "<!-- end -->\n"
"""Between these the page is made of rows; the rest is by hand."""


def line(rows: Sequence[Row]) -> list[str]:
    """A line of the table, of all pairs of one work and peer."""
    key = rows[0].work, rows[0].peer
    return cells(next(aim for aim in AIMS if (aim.work, aim.peer) == key), rows)


def cells(aim: Aim, rows: Sequence[Row]) -> list[str]:
    """The same; without rows it says that there are none."""
    command = f"`{aim.work.partition(',')[0].replace('step', 'steps')}{aim.options}`"
    start, end = [aim.name, aim.peer, f">= {aim.ratio:g}x"], [command]
    if not rows or rows[0].pair == 0:
        why = f"skipped: {rows[0].note}" if rows else "not yet measured"
        return [*start, why, "", "", "", *end]
    ratios = [row.ratio for row in rows]
    middle = statistics.median(ratios)
    reached = f"{middle:.3g}x ({min(ratios):.3g} to {max(ratios):.3g}, {len(ratios)} pairs)"
    ours = statistics.median(row.ours_cpu_s for row in rows)
    theirs = statistics.median(row.peer_cpu_s for row in rows)
    memory = f"{rows[0].ours_mib:.0f} / {rows[0].peer_mib:.0f}" if rows[0].peer_mib else ""
    shown = f"**{reached}**" if middle < aim.ratio else reached
    return [*start, shown, f"{ours:.3g}", f"{theirs:.3g}", memory, *end]


def written(text: str, rows: Sequence[Row]) -> str:
    """The page with its measured part exchanged: a line per aim, and what the rows say besides."""
    groups = {
        key: list(group) for key, group in itertools.groupby(rows, lambda row: (row.work, row.peer))
    }
    lines = [HEADS, ["---"] * len(HEADS)]
    lines += [cells(aim, groups.get((aim.work, aim.peer), [])) for aim in AIMS]
    table = "".join("| " + " | ".join(line) + " |\n" for line in lines)
    machines = sorted({row.machine for row in rows if row.machine})
    notes = [
        f"* {aim.work}, {aim.peer}: {groups[aim.work, aim.peer][0].note}.\n"
        for aim in AIMS
        if groups.get((aim.work, aim.peer)) and groups[aim.work, aim.peer][0].pair
    ]
    measured = f"{table}\nMachine: {'; '.join(machines)}. What the lines mean:\n\n{''.join(notes)}"
    before, _, rest = text.partition(START)
    return before + START + measured + END + rest.partition(END)[2]
