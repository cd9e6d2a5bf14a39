"""The examples for Slurm under a scheduler of our own: tasks of an array as processes, some killed
and requeued as when a machine is lost, some told that their time is up.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from fewmask.benchmark.plan import read_plan
from fewmask.benchmark.rows import read_rows
from fewmask.benchmark.sweep import run_sweep
from fewmask.training import TrainRequest, train
from tests.benchmark.test_sweep import plan_file
from tests.scans import prepare_scans, write_scans

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples" / "slurm"
STUB = """#!/bin/bash
echo "$@" >> said
trap 'echo saved >> said; exit 143' TERM
if [ ! -e second ]; then touch second; for i in $(seq 400); do sleep 0.05; done; fi
"""
OURS = f"""#!/bin/bash
exec {sys.executable} -m fewmask "$@"
"""
SCONTROL = """#!/bin/bash
echo "$@" >> requeued
"""


class Slurm:
    """Runs tasks of one array, each in a session of its own, as on a machine of its own."""

    def __init__(self, folder: Path, tasks: int, fewmask: str) -> None:
        self.folder, self.tasks, self.restarts = folder, tasks, Counter[int]()
        for name, text in (("fewmask", fewmask), ("scontrol", SCONTROL)):
            path = folder / "bin" / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)

    def start(self, script: str, task: int, *words: object) -> subprocess.Popen[str]:
        """A task of the array 77; each time it is started again counts as a restart."""
        environment = os.environ | {
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT / "src"),
            "SLURM_ARRAY_JOB_ID": "77",
            "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_ARRAY_TASK_COUNT": str(self.tasks),
            "SLURM_CPUS_PER_TASK": "1",
            "SLURM_RESTART_COUNT": str(self.restarts[task]),
        }
        self.restarts[task] += 1
        return subprocess.Popen(
            ["bash", str(EXAMPLES / script), *map(str, words)], cwd=self.folder, env=environment,
            text=True, start_new_session=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


def lose(task: subprocess.Popen[str]) -> None:
    """The machine is gone, with all that ran on it."""
    os.killpg(task.pid, signal.SIGKILL)
    ends(task)


def ends(task: subprocess.Popen[str]) -> int:
    """With this exit code."""
    task.communicate(timeout=200)
    return task.returncode


def test_a_task_whose_time_is_up_saves_and_is_requeued(tmp_path: Path) -> None:
    slurm = Slurm(tmp_path, 8, STUB)
    task = slurm.start("sweep.sbatch", 3, "plan.toml", "scans", "work")
    while not (tmp_path / "second").exists():
        time.sleep(0.01)
    os.kill(task.pid, signal.SIGTERM)
    assert ends(task) == 143
    said = (tmp_path / "said").read_text().splitlines()
    assert said == ["--quiet sweep plan.toml --data scans --work work --part 3/8", "saved"]
    assert (tmp_path / "requeued").read_text() == "requeue 77_3\n"
    again = slurm.start("sweep.sbatch", 3, "plan.toml", "scans", "work")
    assert ends(again) == 0 and (tmp_path / "requeued").read_text().count("\n") == 1
    last = slurm.start("predict.sbatch", 8, "run", "scans", "masks")
    assert ends(last) == 0
    said = (tmp_path / "said").read_text().splitlines()
    assert said[-1] == "--quiet predict run scans --out masks --part 8/8"


@pytest.mark.slow
def test_an_array_that_loses_a_machine_draws_every_mask(tmp_path: Path) -> None:
    prepared = prepare_scans(tmp_path)
    request = TrainRequest(
        prepared.folder, tmp_path / "run", method="unet", steps=3, slices=4, device="cpu",
        amp="off", threads=1, settings=("channels=(4,8)",),
    )  # fmt: skip
    train(request)
    write_scans(tmp_path / "cohort", 12)
    scans, masks, here = (tmp_path / name for name in ("cohort/images", "masks", "here"))
    slurm = Slurm(tmp_path, 1, OURS)
    assert ends(slurm.start("predict.sbatch", 1, tmp_path / "run", scans, here)) in (0, 5)
    slurm = Slurm(tmp_path, 3, OURS)
    tasks = {n: slurm.start("predict.sbatch", n, tmp_path / "run", scans, masks) for n in (1, 2, 3)}
    while not list(masks.glob("*.nii.gz")):
        time.sleep(0.02)
    lose(tasks[2])
    tasks[2] = slurm.start("predict.sbatch", 2, tmp_path / "run", scans, masks)
    for task in tasks.values():
        _, error = task.communicate()
        assert task.returncode in (0, 5), error
    made = {path.name: path.read_bytes() for path in masks.iterdir()}
    assert made == {path.name: path.read_bytes() for path in here.iterdir()}


@pytest.mark.slow
def test_an_array_that_loses_a_machine_makes_every_run(tmp_path: Path) -> None:
    path = plan_file(tmp_path, amp="off", runs=[
        {"method": ["unet"], "slices": [2, 3], "draw": [0, 1], "steps": 40,
         "set": {"channels": [4, 8], "labelled": 2}}
    ])  # fmt: skip
    plan, data, rows = read_plan(path), tmp_path / "data", tmp_path / "here.csv"
    run_sweep(plan, data, tmp_path / "here", rows, device="cpu", threads=1)
    slurm = Slurm(tmp_path, 2, OURS)
    work = tmp_path / "work"
    tasks = {n: slurm.start("sweep.sbatch", n, path, data, work) for n in (1, 2)}
    while len(list(work.glob("*/run/config.json"))) < 2:
        assert all(task.poll() is None for task in tasks.values())
        time.sleep(0.02)
    lose(tasks[1])
    os.kill(tasks[2].pid, signal.SIGTERM)
    _, error = tasks[2].communicate()
    assert tasks[2].returncode == 143, error
    assert (tmp_path / "requeued").read_text() == "requeue 77_2\n"
    tasks = {n: slurm.start("sweep.sbatch", n, path, data, work) for n in (1, 2)}
    for task in tasks.values():
        _, error = task.communicate()
        assert task.returncode == 0, error

    def lines(table: Path) -> list[str]:
        return sorted(map(repr, read_rows(table)))

    assert lines(tmp_path / "rows" / "plan.csv") == lines(rows)
