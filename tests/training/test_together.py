"""Two processes that share every batch learn what one process learns: the same losses and weights
within rounding, the same files, and nothing where that cannot be.
"""

import csv
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed

from fewmask.blocks import team
from fewmask.blocks.semi import SemiObjective
from fewmask.core.batch import Batch, Draw, Labelled, Task
from fewmask.core.errors import BadConfig
from fewmask.core.run_record import RunRecord
from fewmask.core.signals import StopRequest
from fewmask.io.run import RunFolder
from fewmask.io.weights import load_tensors
from fewmask.methods import Method, names
from fewmask.training import TrainRequest, train
from fewmask.training.stages import plan_stages
from fewmask.training.together import ALONE, Team, check_together
from tests.narrow import required
from tests.scans import prepare_scans
from tests.training import pair

ROOT = Path(__file__).parents[2]


def together(folder: Path, *methods: str) -> list[subprocess.CompletedProcess[str]]:
    """Two processes, as torchrun would start them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "tests.training.pair", str(folder), *methods]
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = []
    for rank in ("0", "1"):
        environment = os.environ | common | {"RANK": rank, "LOCAL_RANK": rank}
        started.append(
            subprocess.Popen(
                command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=environment,
            )
        )  # fmt: skip
    said = [one.communicate() for one in started]
    return [
        subprocess.CompletedProcess(command, one.returncode, *words)
        for one, words in zip(started, said, strict=True)
    ]


def losses(run: Path) -> dict[tuple[str, str], float]:
    """Step and name -> loss."""
    with (run / "losses.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        (row["step"], name): float(text)
        for row in rows
        for name, text in row.items()
        if name != "step" and text
    }


def assert_same(alone: Path, pair_of: Path) -> None:
    one, two = losses(alone), losses(pair_of)
    assert one.keys() == two.keys() and len(one) >= pair.STEPS
    assert two == pytest.approx(one, rel=1e-5, abs=1e-5), alone.name
    weights, others = (load_tensors(RunFolder(run).weights) for run in (alone, pair_of))
    # Together, not one by one: AdamW makes a whole step of what is nothing but rounding.
    apart = sum(
        float((others[name].float() - value.float()).square().sum())
        for name, value in weights.items()
    )
    whole = sum(float(value.float().square().sum()) for value in weights.values())
    assert apart < 1e-6 * whole


def check(folder: Path, *methods: str) -> None:
    prepare_scans(folder)
    done = together(folder, *methods)
    assert [one.returncode for one in done] == [0, 0], done[0].stderr + done[1].stderr
    for name in methods:
        method = name.rstrip("+")
        alone = train(pair.request(folder, method, f"alone-{name}"))
        assert_same(alone, folder / f"pair-{name}")


def test_two_processes_learn_what_one_learns(tmp_path: Path) -> None:
    """Losses over a batch, dropout, noise, and a teacher that follows."""
    check(tmp_path, "mean_teacher")


@pytest.mark.slow
def test_two_processes_learn_what_one_learns_whatever_the_method(tmp_path: Path) -> None:
    check(tmp_path, *pair.SETTINGS)


@pytest.mark.slow
def test_a_pair_that_was_stopped_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    """Only the first is asked, and both stop after the same step."""
    prepare_scans(tmp_path)
    done = together(tmp_path, "ua_mt", "ua_mt+")
    assert [one.returncode for one in done] == [0, 0], done[0].stderr + done[1].stderr
    assert (tmp_path / "stopped-0").exists() and (tmp_path / "stopped-1").exists()
    runs = [RunFolder(tmp_path / name) for name in ("pair-ua_mt", "pair-ua_mt+")]
    assert runs[0].weights.read_bytes() == runs[1].weights.read_bytes()
    assert runs[0].losses.read_bytes() == runs[1].losses.read_bytes()


@pytest.mark.slow
def test_processes_with_folders_or_seeds_of_their_own_are_all_refused(tmp_path: Path) -> None:
    prepare_scans(tmp_path)
    done = together(tmp_path, "mean_teacher?")
    assert [one.returncode for one in done] == [0, 0], done[0].stderr + done[1].stderr
    done = together(tmp_path, "mean_teacher!")
    assert [one.returncode for one in done] == [0, 0], done[0].stderr + done[1].stderr
    for place in (0, 1):
        folders = (tmp_path / f"refused-?-{place}").read_text()
        assert "[F23]" in folders and "process 0: no state\n" in folders
        assert "process 1: no such run folder\n" in folders
        seeds = (tmp_path / f"refused-!-{place}").read_text()
        assert "[C02]" in seeds and "`seed`: 0, 1 (process 0, 1)\n" in seeds
    assert not (tmp_path / "1").exists() and not (tmp_path / "pair-mean_teacher!").exists()


def test_what_processes_were_asked_for_is_compared(tmp_path: Path, monkeypatch) -> None:
    asked = TrainRequest(tmp_path, tmp_path / "run", seed=1, steps=5)
    elsewhere = replace(asked, out=tmp_path / "mount" / "run", device="cpu", threads=3)
    told: list[dict[str, str]] = []

    def gather(box: list[object], mine: dict[str, str], group: object) -> None:
        told.append(mine)
        box[:] = told

    monkeypatch.setattr(distributed, "all_gather_object", gather)
    for request in (asked, elsewhere):
        Team(0, 3).check_alike(request)
    with pytest.raises(BadConfig, match="unlike things") as refused:
        Team(0, 3).check_alike(replace(asked, seed=2, slices=3, budget=None))
    assert refused.value.where == (
        "`slices`: None, None, 3 (process 0, 1, 2)",
        "`seed`: 1, 1, 2 (process 0, 1, 2)",
    )
    ALONE.check_alike(asked)
    assert len(told) == 3, "alone nobody is asked"


UNSEEN = "nobody has looked"
REFUSED = {
    "ada_sam": UNSEEN,
    "bcp": "pastes patches",
    "canvas_sam": UNSEEN,
    "cfr": "trainings",
    "cps": "hard labels",
    "magicnet": "exchange cubes",
    "multimix": UNSEEN,
    "nnunet": "program",
    "noisy_student": "trainings",
    "sam_mix": UNSEEN,
    "sam_pp": UNSEEN,
    "sfr_plus": "trainings",
}


def refusal(folder: Path, method: str, *settings: str, members: int = 2, **more: Any) -> BadConfig:
    """What is said where `members` processes shall learn it."""
    asked = TrainRequest(folder, folder, method=method, settings=settings, **(more or {"steps": 3}))
    plan = plan_stages(asked)
    record = RunRecord(method, {}, Task(("liver",), 64, "ct", 2.0), 0, 3)
    with pytest.raises(BadConfig) as found:
        check_together(Team(0, members), asked, plan, record)
    check_together(ALONE, asked, plan, record)
    return found.value


def test_every_method_is_shared_as_it_would_be_alone_or_refused(tmp_path: Path) -> None:
    """A new method belongs to one of the two lists; without a look it is refused."""
    assert {*pair.SETTINGS, *REFUSED} == set(names()) and not pair.SETTINGS.keys() & REFUSED.keys()
    for method, why in REFUSED.items():
        if why is UNSEEN:  # their networks take seconds to build
            found = vars(importlib.import_module(f"fewmask.methods.{method}")).values()
            own = [one for one in found if isinstance(one, type) and issubclass(one, Method)]
            assert all(one.learns_alone is Method.learns_alone for one in own), method
        else:
            assert why in refusal(tmp_path, method).what, method
    assert UNSEEN in Method.learns_alone and UNSEEN in SemiObjective.learns_alone


def test_settings_that_couple_items_and_unequal_shares_are_refused(tmp_path: Path) -> None:
    assert "batch norms" in refusal(tmp_path, "vnet", "norm=batch").what
    assert "batch norms" in refusal(tmp_path, "unet", "presence=slice").what
    assert "joint_pass" in refusal(tmp_path, "mean_teacher", "joint_pass=true").what
    assert "`steps=" in refusal(tmp_path, "vnet", minutes=3.0).fix
    odd = refusal(tmp_path, "lite_unet", members=4)
    assert "labelled=2 items" in odd.what and odd.fix == "use `labelled=4`"


def test_shares_are_the_batch_and_alone_nothing_changes() -> None:
    image = torch.arange(4.0).reshape(4, 1, 1, 1)
    batch = Batch(
        Labelled(image, image[:, 0].long(), torch.ones(4, 1).long(), (Draw(),) * 4),
        names={"labelled": ("a", "b", "c", "d")},
    )
    halves = [Team(place, 2).share(batch) for place in (0, 1)]
    assert [half.names["labelled"] for half in halves] == [("a", "b"), ("c", "d")]
    parts = [required(half.labelled) for half in halves]
    assert torch.equal(torch.cat([part.image for part in parts]), image)
    assert [len(part.draws) for part in parts] == [2, 2]
    assert ALONE.share(batch) is batch
    assert (team.members(), team.place(), team.total(image) is image) == (1, 0, True)
    asked = StopRequest()
    ALONE.agree(asked)
    assert not asked.stop


def torchrun(folder: Path, out: str, *more: str) -> subprocess.Popen[str]:
    """The command of the manual, on two small processes."""
    words = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "fewmask", "train", str(folder / "prepared"), "--out", str(folder / out),
        "--method", "vnet", "--volumes", "2", "--device", "cpu", "--amp", "off",
        "--set", "patch=(16,32,32)", "--set", "filters=2", *more,
    ]  # fmt: skip
    source = str(ROOT / "src")
    return subprocess.Popen(
        words, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def children(parent: int) -> list[int]:
    """Processes that it started."""
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found]


def wait_for(path: Path, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not list(path.parent.glob(path.name)):
        assert time.monotonic() < end, f"{path} did not come"
        time.sleep(0.05)


@pytest.mark.slow
def test_torchrun_stops_on_a_signal_and_when_one_dies_and_goes_on(tmp_path: Path) -> None:
    """A signal to one process stops both with 143, everything saved; a killed one ends the other
    with a message and 4; then the same command finishes, and one process of both has spoken.
    """
    prepare_scans(tmp_path)
    steps = ("--steps", "4000", "--save-steps", "10")
    for place, number, code, told in (
        (1, signal.SIGTERM, 143, "stopped by a signal after step"),
        (0, signal.SIGKILL, 4, "another process of this training ended"),
        (1, signal.SIGKILL, 4, "another process of this training ended"),
    ):
        started = torchrun(tmp_path, "run", *steps)
        before = {path.name for path in (tmp_path / "run").glob("state-*.json")}
        while {path.name for path in (tmp_path / "run").glob("state-*.json")} <= before:
            assert started.poll() is None, started.communicate()
            time.sleep(0.05)
        os.kill(children(started.pid)[place], number)
        out, error = started.communicate(timeout=120)
        assert started.returncode == 1, "torchrun's own"
        assert told in error, error[-3000:]
        assert number == signal.SIGKILL or f": {code} (pid" in error, error[-3000:]
        held = (tmp_path / "run" / ".fewmask.lock").exists()
        assert not held or number == signal.SIGKILL
    record = RunFolder(tmp_path / "run")
    last = max(record.path.glob("state-*.json"))
    assert int(last.stem.split("-")[1]) >= 10
    done = torchrun(tmp_path, "short", "--steps", "3")
    out, error = done.communicate(timeout=120)
    assert done.returncode == 0, error
    assert out.count("trained: ") == 1
    rows = losses(tmp_path / "short")
    assert {step for step, _ in rows} == {"0", "1", "2"}
    environment = json.loads((tmp_path / "short" / "environment.json").read_text())
    assert environment["processes"] == 2
