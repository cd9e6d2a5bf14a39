"""Ten thousand scans: do time per scan and memory stay flat, and what does a second worker bring?

    python benchmarks/scale.py                         1,000 and 10,000 scans
    python benchmarks/scale.py --counts 200 1000

Makes tiny CT-like scans (32 x 32 voxels in 16 slices) in a temporary folder: 200 of them, under as
many names as are asked for. Trains a tiny network for 8 steps and predicts each number of scans, in
a process of its own with one thread; then the smallest number once more on a Ray cluster of this
machine (extra `ray`) with one worker and with two. Prints a table in Markdown: wall time, processor
time of the command's own processes (not of Ray's), milliseconds of it per scan more than in the
line before (of the first: per scan, start of the program included), and the memory of the largest.
Then what a scan leaves on the disk. `benchmarks/load.py` does all verbs.
"""

import argparse
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import load

SHAPE = (32, 32, 16)
DISTINCT = 200


def disk(folder: Path) -> tuple[int, int]:
    """Files and bytes in a folder and below it."""
    sizes = [path.stat().st_size for path in folder.rglob("*") if path.is_file()]
    return len(sizes), sum(sizes)


def on_ray(folder: Path, scans: Path, workers: int) -> load.Cost:
    """All scans predicted on a cluster of this machine that runs already."""
    import ray

    ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False)
    address = ray.get_runtime_context().gcs_address
    try:
        cost = predict(folder, scans, f"masks-{workers}", "--ray", address)
    finally:
        ray.shutdown()
    return replace(cost, verb=f"predict (Ray, {workers} at a time)")


def predict(folder: Path, scans: Path, out: str, *more: str) -> load.Cost:
    """Masks of a folder of scans, with one thread."""
    words = [str(folder / "run"), str(scans), "--out", str(folder / out), "--threads", "1"]
    return load.measure("predict", *words, *more)


def learn(folder: Path) -> None:
    """A run from `DISTINCT` scans."""
    load.write_scans(folder / "scans", DISTINCT)
    scans, prepared, run = (str(folder / name) for name in ("scans", "prepared", "run"))
    masks = ["--masks", "complete", "--tags", "from-masks", "--recipe", "ct", "--size", "64"]
    load.measure("prepare", scans, "--out", prepared, "--label", "block=1", *masks)
    load.measure("train", prepared, "--out", run, *load.TRAIN.split())


def repeat(folder: Path, count: int) -> Path:
    """A folder of `count` scans: those of the run under many names."""
    scans, images = folder / f"cohort-{count}", sorted((folder / "scans" / "images").iterdir())
    scans.mkdir()
    for index in range(count):
        os.link(images[index % len(images)], scans / f"scan_{index:07d}.nii.gz")
    return scans


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--counts", type=int, nargs="+", default=(1000, 10000))
    parser.add_argument("--no-ray", action="store_true", help="leave Ray out")
    asked = parser.parse_args()
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    load.SHAPE = SHAPE
    print("| verb | scans | wall s | CPU s | CPU ms per scan more | peak MiB |", flush=True)
    print("|---|---|---|---|---|---|", flush=True)
    fewer, less = 0, 0.0
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        learn(folder)
        for count in asked.counts:
            cost = predict(folder, repeat(folder, count), f"masks-of-{count}")
            tell(cost, count, 1000 * (cost.cpu_seconds - less) / (count - fewer))
            fewer, less = count, cost.cpu_seconds
        files, size = disk(folder / f"masks-of-{count}")
        print(f"masks: {files / count:.1f} files and {size / count:,.0f} bytes a scan", flush=True)
        for workers in () if asked.no_ray else (1, 2):
            count = asked.counts[0]
            cost = on_ray(folder, folder / f"cohort-{count}", workers)
            tell(cost, count, 1000 * cost.cpu_seconds / count)


def tell(cost: load.Cost, count: int, more: float) -> None:
    """A line of the table."""
    print(
        f"| {cost.verb} | {count:,} | {cost.seconds:.1f} | {cost.cpu_seconds:.1f} "
        f"| {more:.1f} | {cost.peak_mib:.0f} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
