"""The command for a GPU runs on a CPU at toy size, keeps what is finished, and writes faults
down.
"""

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

COMMAND = [
    sys.executable,
    str(Path(__file__).parents[2] / "benchmarks" / "gpu.py"),
    "--toy",
    "--device",
    "cpu",
]


def run(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, "--out", str(out), *words], capture_output=True, text=True, timeout=600
    )


def rows(out: Path, part: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "rows" / f"{part}.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_parts_leave_rows_and_finished_ones_are_kept(tmp_path) -> None:
    first = run(tmp_path, "--only", "check", "atrium-vnet")
    assert first.returncode == 0, first.stdout + first.stderr
    assert [(row["what"], row["right"]) for row in rows(tmp_path, "check-0")] == [
        ("unet", True),
        ("vnet", True),
    ]
    (learned,) = rows(tmp_path, "atrium-vnet")
    assert (
        learned["steps"] == learned["asked"] == 3
        and learned["papers"] == 6000
        and "la_2018_dice" in learned
    )
    assert (tmp_path / "atrium.csv").read_text().count("vnet") == learned["n"]
    again = run(tmp_path, "--only", "check", "atrium-vnet")
    assert len(rows(tmp_path, "check-0")) == 2 and "| unet |" in again.stdout


def test_a_fault_is_written_down(tmp_path) -> None:
    (tmp_path / "runs" / "atrium-vnet").mkdir(parents=True)
    (tmp_path / "runs" / "atrium-vnet" / "thesis.docx").write_text("mine")
    found = run(tmp_path, "--only", "atrium-vnet")
    assert (
        found.returncode == 1
        and "other files" in (tmp_path / "rows" / "atrium-vnet.error.txt").read_text()
    )
    assert "atrium-vnet.error" in found.stdout


def test_a_training_that_is_cut_short_ends_with_its_last_state(tmp_path, monkeypatch) -> None:
    monkeypatch.syspath_prepend(str(Path(COMMAND[1]).parent))
    from gpu_parts import job, learn

    prepared = job.phantoms(tmp_path, True).folder
    learn.learn(job.Job("atrium-vnet", tmp_path, "cpu", True, time.time(), {"atrium": prepared}))
    (row,) = rows(tmp_path, "atrium-vnet")
    assert (
        row["steps"] == 1
        and row["asked"] == 3
        and row["cut"].startswith("cut short")
        and row["n"] == 4
    )


@pytest.mark.slow
def test_everything_at_toy_size(tmp_path) -> None:
    found = run(tmp_path, "--minutes", "9")
    assert found.returncode == 0, found.stdout + found.stderr
    assert "vnet variant" in found.stdout and "held_out" in found.stdout
