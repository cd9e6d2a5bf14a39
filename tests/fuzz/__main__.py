"""Fuzzing by hand: `python -m tests.fuzz nifti --seconds 600` (`all` for every target in turn).

Exit 1 where anything but a refusal came of a file; `--first N --count 1` shows one again.
"""

import argparse
import faulthandler
import resource
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import TARGETS
from tests.fuzz.walk import walk


def main() -> int:
    """One line of figures per target."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=[*TARGETS, "all"])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--count", type=int, help="damaged files, instead of --seconds")
    parser.add_argument("--first", type=int, default=0, help="number of the first damaged file")
    asked = parser.parse_args()
    faulthandler.enable()
    found = 0
    for name in TARGETS if asked.target == "all" else [asked.target]:
        folder = Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
        seconds = None if asked.count else asked.seconds
        tally = walk(name, folder, count=asked.count, seconds=seconds, first=asked.first)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{name}: {tally.files} damaged files, {tally.refused} refused, "
            f"{len(tally.findings)} findings, slowest {tally.slowest:.2f} s, peak {peak:.0f} MiB",
            flush=True,
        )
        if tally.findings:
            print(f"files in {folder}", *tally.findings[:10], sep="\n")
            found += len(tally.findings)
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
