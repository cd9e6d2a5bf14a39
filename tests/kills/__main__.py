"""Kills by the dozen: what is left is whole, and the same command ends in the same bits.

python -m tests.kills [WORK ...]

Half of the kills come before a file operation that is drawn, half after a time that is drawn. What
was killed is gone on with and killed again, until it ends.
"""

import argparse
import os
import random
import shutil
import tempfile
import time
from pathlib import Path

from tests.kills.child import die, in_child, must, watch_files
from tests.kills.works import WORKS, Work, damage, digests, make_place


def main() -> int:
    """One line per work; 1 if anything was damaged or other than it should be."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills")
    parser.add_argument("work", nargs="*", metavar="WORK", help=f"of {', '.join(WORKS)}")
    parser.add_argument("--kills", type=int, help="instead of the usual number of each")
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder).resolve()
        must(lambda: make_place(place))
        for name in asked.work or WORKS:
            begun = time.monotonic()
            kills = asked.kills or WORKS[name].kills
            troubles, ends = kill_often(WORKS[name], place, kills, asked.seed)
            spent = time.monotonic() - begun
            print(
                f"{name}: {kills} kills, {ends} ends, {len(troubles)} troubles, {spent:.0f} s",
                *troubles,
                sep="\n  ",
                flush=True,
            )
            bad += len(troubles)
    return min(bad, 1)


def kill_often(work: Work, place: Path, kills: int, seed: int = 0) -> tuple[list[str], int]:
    """What was damaged or ended otherwise (nothing, it is hoped), and how often the work was gone
    on with to its end.
    """
    draw = random.Random(seed)  # noqa: S311  no secret
    expected, events, seconds = _undisturbed(work, place)
    troubles: list[str] = []
    made = ends = 0
    while made < kills:
        out = _fresh(work, place)
        while made < kills:
            at = draw.randint(1, events) if made % 2 else 0
            code = _kill(work, place, out, at, 0.0 if at else draw.uniform(0.0, seconds))
            if code == 0:
                break
            if code != -9:
                troubles.append(f"after {made} kills: ended with {code}")
                break
            made += 1
            troubles += [f"kill {made}: {name} is damaged" for name in damage(out)]
        if in_child(lambda: work.run(place, out)) != 0:  # noqa: B023  done before the next
            troubles.append(f"after {made} kills: does not go on")
        found = digests(out)
        lacking = {name for name in expected.keys() - found.keys() if name.endswith(work.may_lack)}
        found |= {name: expected[name] for name in lacking}
        names = sorted(found.keys() | expected.keys())
        troubles += [f"{n}: other bits" for n in names if found.get(n) != expected.get(n)]
        ends += 1
    return troubles, ends


def _undisturbed(work: Work, place: Path) -> tuple[dict[str, str], int, float]:
    """Bits, file operations and seconds of the work when nobody kills it."""
    out, numbers = _fresh(work, place), place / "numbers"

    def counted() -> None:
        seen: list[int] = []
        watch_files(out, seen.append)
        begun = time.monotonic()
        work.run(place, out)
        numbers.write_text(f"{seen[-1]} {time.monotonic() - begun}")

    must(counted)
    events, seconds = numbers.read_text().split()
    return digests(out), int(events), float(seconds)


def _fresh(work: Work, place: Path) -> Path:
    """An output folder with what the work begins with; always the same one, since some files hold
    its name.
    """
    out = place / "out"
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    if work.begins_with:
        shutil.copytree(place / work.begins_with, out / work.begins_with)
    return out


def _kill(work: Work, place: Path, out: Path, event: int, seconds: float) -> int:
    """Run it in a child that is killed at this file operation, or after this time."""

    def killed() -> None:
        if event:
            watch_files(out, lambda number: die() if number == event else None)
        work.run(place, out)

    return in_child(killed, seconds=seconds)


if __name__ == "__main__":
    raise SystemExit(main())
