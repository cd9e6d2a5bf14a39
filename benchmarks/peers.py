"""Beside other packages: the same work by us and by them, in turn, in one run.

    pip install -e ".[peers]"
    OMP_NUM_THREADS=1 python benchmarks/peers.py scores windows    # these; without a name, all
    python benchmarks/peers.py scores --medpy OTHER/bin/python     # an interpreter that has MedPy
    python benchmarks/peers.py --page                              # docs/performance.md anew

Every pair of calls is a line of `experiments/rows/peers.csv`, which this run's lines replace; the
page shows the median of the ratios of processor time, and their smallest and largest. Peers that
are not installed are lines too, with the reason. Machines are shared: ratios of pairs taken in turn
are worth more than seconds.
"""

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path

from peers_parts import page
from peers_parts.rows import read_rows, replace_rows
from peers_parts.turns import Match, Row, Skipped, take_turns

ROWS = Path(__file__).parents[1] / "experiments" / "rows" / "peers.csv"
Found = Iterable[Match | Skipped]


def scores(words: argparse.Namespace) -> Found:
    """Dice, HD95, ASSD, NSD."""
    from peers_parts import scoring

    return scoring.matches(words.medpy, 64 if words.toy else 512)


def reading(words: argparse.Namespace) -> Found:
    """A compressed scan."""
    from peers_parts import reading

    return reading.matches(64 if words.toy else 512)


def windows(words: argparse.Namespace) -> Found:
    """Overlapping windows over a volume."""
    from peers_parts import sliding

    return sliding.matches(64 if words.toy else 128)


def steps(words: argparse.Namespace) -> Found:
    """Training steps with their data."""
    from peers_parts import steps

    return steps.matches(words.toy)


def volume(words: argparse.Namespace) -> Found:
    """The masks of one scan."""
    from peers_parts import sams

    return sams.volume(words.toy)


def sam_mix(words: argparse.Namespace) -> Found:
    """A slice that SAM learns from."""
    from peers_parts import sams

    return sams.sam_mix(words.toy)


def cfr(words: argparse.Namespace) -> Found:
    """A re-training step."""
    from peers_parts import sams

    return sams.cfr(words.toy)


def rate(words: argparse.Namespace) -> Found:
    """Share of the machine's matrix rate."""
    from peers_parts import sams

    return sams.rate(words.toy)


def start(words: argparse.Namespace) -> Found:
    """Starting the program."""
    from peers_parts import starting

    return starting.matches(words.toy)


def prepare(words: argparse.Namespace) -> Found:
    """A folder of scans."""
    from peers_parts import preparing

    return preparing.matches(words.nnunet, words.scans, words.toy)


WORKS: dict[str, Callable[[argparse.Namespace], Found]] = {
    work.__name__.replace("_", "-"): work
    for work in (scores, reading, windows, steps, start, volume, sam_mix, cfr, rate, prepare)
}


def measure(found: Found, pairs: int, rows: Path) -> None:
    """Write and print the pairs of each peer as soon as they are there."""
    for one in found:
        if isinstance(one, Skipped):
            lines = [Row(one.work, one.peer, 0, note=one.reason)]
        else:
            lines = list(take_turns(one, pairs))
        replace_rows(rows, lines)
        print("| " + " | ".join(page.line(lines)) + " |", flush=True)


def main() -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("work", nargs="*", help=f"of {', '.join(WORKS)}")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--medpy", type=Path, help="an interpreter that has MedPy")
    parser.add_argument("--nnunet", type=Path, help="an interpreter that has nnU-Net")
    parser.add_argument("--scans", type=Path, help="images/ and labels/ to prepare, not phantoms")
    parser.add_argument("--toy", action="store_true", help="as small as can be: does it run?")
    parser.add_argument("--page", action="store_true", help="write docs/performance.md")
    words = parser.parse_args()
    unknown = set(words.work) - set(WORKS)
    if unknown:
        parser.error(f"no work is named {', '.join(sorted(unknown))}; there are {', '.join(WORKS)}")
    if words.page:
        text = page.PAGE.read_text(encoding="utf-8")
        page.PAGE.write_text(page.written(text, read_rows(words.rows)), encoding="utf-8")
        return
    for name in words.work or WORKS:
        measure(WORKS[name](words), words.pairs, words.rows)


if __name__ == "__main__":
    main()
