"""Liver on real CT from a handful of slices: train, predict, score in domain and on other scanners, one row per case.

    FEWMASK_DATA=... python experiments/ct_liver.py --method sam_mix --slices 50 --minutes 10 --work runs/ct-liver

Rows go to experiments/rows/ct-liver.csv. A run whose rows are there is skipped and a killed run is resumed, so the script
goes on where it was stopped. Recipe and split are fixed here: 12 patients to learn from, 6 to test on, 2 scans from elsewhere.
"""

import argparse
import csv
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from fewmask.io.tables import append_csv

ROWS = Path(__file__).parent / "rows" / "ct-liver.csv"
KEYS = ["method", "settings", "slices", "draw", "seed", "minutes"]
SCORES = ["case", "dice", "nsd", "hd95_mm", "hd_mm", "assd_mm", "volume_error_ml", "status", "prompts"]
COLUMNS = [*KEYS, "steps", "domain", *SCORES]
TRAIN = ["00", "01", "03", "04", "07", "09", "10", "12", "13", "15", "16", "18"]
TEST = ["19", "21", "22", "24", "27", "28"]


def call(*words: object) -> None:
    """Run one fewmask command as a user would, and show it."""
    arguments = [str(word) for word in words if word != ""]
    print("$ fewmask " + shlex.join(arguments), flush=True)
    subprocess.run([sys.executable, "-m", "fewmask", *arguments], check=True)  # noqa: S603


def prepare(data: Path, work: Path) -> Path:
    """The prepared dataset, made once per working folder."""
    prepared = work / "prepared"
    if not (prepared / "dataset.json").exists():
        stem = sorted(path.name for path in (data / "ct-abdomen" / "images").iterdir())[0].rsplit("_", 1)[0]
        work.mkdir(parents=True, exist_ok=True)
        lines = [
            f"{part} = {json.dumps([f'{stem}_{n}' for n in numbers])}" for part, numbers in (("train", TRAIN), ("test", TEST))
        ]
        (work / "split.toml").write_text("\n".join(lines) + "\nval = []\n")
        flags = ["--label", "liver=6", "--recipe", "ct-liver", "--masks", "complete", "--tags", "from-masks"]
        call("prepare", data / "ct-abdomen", "--out", prepared, *flags, "--split", work / "split.toml")
    return prepared


def run(key: dict[str, Any], data: Path, work: Path) -> None:
    """Train, predict and score one setting; append its rows."""
    prepared = prepare(data, work)
    out = work / "-".join(str(key[name]).replace(" ", "_").replace("=", "_") for name in KEYS if key[name] != "")
    settings = [word for setting in key["settings"].split() for word in ("--set", setting)]
    call("train", prepared, "--method", key["method"], "--slices", key["slices"], "--draw", key["draw"], "--seed", key["seed"],
         "--minutes", key["minutes"], *settings, "--out", out)  # fmt: skip
    call("predict", out, prepared)
    call("evaluate", out, *(["--oracle-box"] if key["method"] == "sam_mix" else []))
    other = out / "other"
    call("predict", out, data / "ct-abdomen-other" / "images", "--out", other)
    call("evaluate", other, data / "ct-abdomen-other" / "labels", "--label", "liver=1", "--out", other / "metrics.csv")
    call("report", out)
    steps = json.loads((out / "config.json").read_text())["steps"]
    for domain, table in (("ct-abdomen", out / "metrics.csv"), ("ct-abdomen-other", other / "metrics.csv")):
        with table.open(newline="") as file:
            rows = [
                {**key, "steps": steps, "domain": domain, **{name: row[name] for name in SCORES}} for row in csv.DictReader(file)
            ]
        ROWS.parent.mkdir(exist_ok=True)
        append_csv(ROWS, COLUMNS, rows)


def is_done(key: dict[str, Any]) -> bool:
    """Are both domains of this setting in the table?"""
    if not ROWS.exists():
        return False
    with ROWS.open(newline="") as file:
        found = {row["domain"] for row in csv.DictReader(file) if all(row[name] == str(key[name]) for name in KEYS)}
    return found >= {"ct-abdomen", "ct-abdomen-other"}


def main() -> None:
    """Parse, skip what is done, run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="sam_mix")
    parser.add_argument("--settings", default="", help="space-separated key=value pairs for --set")
    parser.add_argument("--slices", type=int, default=50)
    parser.add_argument("--draw", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--work", type=Path, default=Path("runs/ct-liver"))
    arguments = vars(parser.parse_args())
    work = arguments.pop("work")
    if is_done(arguments):
        print("already in", ROWS)
        return
    run(arguments, Path(os.environ["FEWMASK_DATA"]), work)


if __name__ == "__main__":
    main()
