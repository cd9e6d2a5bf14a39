"""How long the program takes to start: the peer is the limit that was set."""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import mkdtemp

from gpu_parts.job import phantoms

from peers_parts.turns import Cost, Match, Side, elsewhere, program

HELP_S, STEP_S = 0.3, 5.0


def matches(toy: bool = False) -> Iterator[Match]:
    """`fewmask --help`, and `train` up to the end of its first step."""
    shown = program([sys.executable, "-m", "fewmask", "--help"])
    yield Match("start, --help", f"limit {HELP_S} s", shown, _limit(HELP_S), "the whole process")
    folder = Path(mkdtemp(prefix="peers-"))
    prepared, runs = phantoms(folder, toy), itertools.count()
    script = Path(__file__).parent / "alone" / "first_step.py"

    def first_step() -> Cost:
        words = [str(prepared.folder), "lite_unet", str(folder / f"run-{next(runs)}")]
        return elsewhere(Path(sys.executable), script, *words)()

    note = "default method, from the start of Python to the end of the first step, one thread"
    yield Match("start, first step", f"limit {STEP_S:g} s", first_step, _limit(STEP_S), note)


def _limit(seconds: float) -> Side:
    return lambda: Cost(seconds, seconds)
