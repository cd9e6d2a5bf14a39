"""Work on a Ray cluster: equal to the bit to the same work here, whoever is killed; nothing is lost
or done twice; and what is in the way is told at once.
"""

import os
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fewmask.benchmark import cluster
from fewmask.benchmark.cluster import on_ray
from fewmask.benchmark.plan import read_plan
from fewmask.benchmark.sweep import run_sweep
from fewmask.core.errors import BadConfig, BadScan, FewmaskError, NoRoom
from fewmask.core.progress import ProgressEvent
from fewmask.core.spread import Spread
from fewmask.predict import load_predictor, predict_folder
from fewmask.training import TrainRequest, train
from tests.benchmark.squares import Square
from tests.benchmark.test_sweep import plan_file
from tests.scans import prepare_scans, write_scans

os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


@pytest.fixture(scope="module")
def two_machines() -> Iterator[Any]:
    """A cluster of two nodes with a CPU each; the second one may be killed."""
    from ray.cluster_utils import Cluster

    # What tests are made of is found by workers as by pytest.
    before = os.environ.get("PYTHONPATH", "")
    root = str(Path(__file__).parents[2])
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [root, before]))
    found = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    found.add_node(num_cpus=1)
    yield found
    found.shutdown()
    os.environ["PYTHONPATH"] = before


@pytest.mark.slow
def test_what_dies_is_done_again_and_folders_must_be_shared(
    tmp_path: Path, two_machines: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """100 squares in order with one death; no more than the window of 2 items for each of 2 places
    is taken from the items ahead of what came back.
    """
    out, taken = tmp_path / "out", 0

    def numbers() -> Iterator[int]:
        nonlocal taken
        for number in range(20, -1, -1):
            taken += 1
            yield number if number != 13 else 14

    with on_ray(two_machines.address, out, [tmp_path], 1) as spread:
        assert [path.name for path in out.iterdir()] != [], "the token"
        results: list[Any] = []
        for result in spread(Square(out), numbers()):
            results.append(result)
            assert taken - len(results) < 4
        wanted = [number**2 if number != 13 else 196 for number in range(20, -1, -1)]
        assert [square for square, _ in results] == wanted
        assert len({pid for _, pid in results}) >= 2, "a process that died, and one that did not"
        with pytest.raises(BadScan, match="thirteen"):
            list(spread(Square(out), [1, 13]))
    assert [path.name for path in out.iterdir()] == ["killed"], "the token is gone"
    with (
        pytest.raises(NoRoom, match="does not see the same folder") as found,
        on_ray(two_machines.address, out, [tmp_path / "not-there"]),
    ):
        pass
    assert found.value.code == "F23" and "not-there" in found.value.where[0]
    monkeypatch.setattr(cluster, "write_text", lambda path, text: path.write_text("another's"))
    with pytest.raises(NoRoom, match="same folder"), on_ray(two_machines.address, out, []):
        pass
    with pytest.raises(BadConfig, match="no machine of the cluster has 2 CPUs") as few:
        monkeypatch.undo()
        with on_ray(two_machines.address, out, [], 2):
            pass
    assert few.value.fix == "use `threads=1` or less"


def test_without_ray_or_a_cluster_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"  # nobody listens
        with (
            pytest.raises(BadConfig, match="no Ray cluster answers") as silent,
            on_ray(address, tmp_path, []),
        ):
            pass
    assert address in silent.value.what and "ray start" in silent.value.fix
    with (
        pytest.raises(BadConfig, match="no address of a Ray cluster"),
        on_ray("somewhere", tmp_path, []),
    ):
        pass
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadConfig, match="not installed") as missing, on_ray("auto", tmp_path, []):
        pass
    assert missing.value.fix == "pip install 'fewmask[ray]'"


@pytest.mark.slow
def test_who_dies_again_and_again_costs_one_item(tmp_path: Path, two_machines: Any) -> None:
    with on_ray(two_machines.address, tmp_path, [], 1) as spread:
        answers: list[Any] = list(spread(Square(tmp_path, always=True), [1, 3, 2]))
    one, dead, two = answers
    assert (one[0], two[0]) == (1, 4)
    assert isinstance(dead, NoRoom) and dead.code == "F22" and "4 times" in dead.what


@dataclass(frozen=True)
class Noting:
    """Notes which process began an item, and which finished one."""

    function: Callable[[Any], Any]
    folder: Path

    def __call__(self, item: Any) -> Any:
        (self.folder / "begun").open("a").write(f"{os.getpid()}\n")
        result = self.function(item)
        if not getattr(result, "kept", False):
            name = getattr(item, "case", None) or item.name
            (self.folder / "done").open("a").write(f"{name}\n")
        return result


def noting(spread: Spread, folder: Path) -> Spread:
    """`spread`, with notes in `folder`."""
    return lambda function, items: spread(Noting(function, folder), items)


def last_begun(folder: Path) -> int:
    return int((folder / "begun").read_text().split()[-1])


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.mark.slow
def test_masks_of_a_cohort_equal_those_made_here_though_a_worker_and_a_machine_die(
    tmp_path: Path, two_machines: Any
) -> None:
    prepared = prepare_scans(tmp_path)
    request = TrainRequest(
        prepared.folder, tmp_path / "run", method="unet", steps=3, slices=4, device="cpu",
        amp="off", threads=1, settings=("channels=(4,8)",),
    )  # fmt: skip
    predictor = load_predictor(train(request), "cpu")
    cohort, here, there = tmp_path / "cohort", tmp_path / "here", tmp_path / "there"
    count = 60
    cases = write_scans(cohort, 12)
    for number in range(count):
        image = cohort / "images" / f"{cases[number % 12]}.nii.gz"
        image.with_name(f"more_{number:03d}.nii.gz").write_bytes(image.read_bytes())
    notes = tmp_path / "notes"
    notes.mkdir()
    local = predict_folder(predictor, cohort / "images", here)
    lent = two_machines.add_node(num_cpus=1)
    killed: list[str] = []

    def kill(event: ProgressEvent) -> None:
        if event.done == 5:
            os.kill(last_begun(notes), signal.SIGKILL)
            killed.append("worker")
        if event.done == 20:
            two_machines.remove_node(lent, allow_graceful=False)
            killed.append("machine")

    with on_ray(two_machines.address, there, [cohort], 1) as spread:
        remote = predict_folder(
            predictor, cohort / "images", there, spread=noting(spread, notes), on_progress=kill
        )
    assert killed == ["worker", "machine"]
    assert files(there) == files(here), "masks, notes and tables, nothing else"
    assert remote.written == local.written and not remote.refused
    done = Counter((notes / "done").read_text().split())
    assert len(done) == count + 12 and set(done.values()) == {1}, "no mask was drawn twice"
    begun = len((notes / "begun").read_text().split())
    print(f"{begun - count - 12} of {count + 12} scans begun again; kept {remote.kept}")


@pytest.mark.slow
def test_rows_of_a_sweep_equal_those_made_here_though_a_worker_and_a_machine_die(
    tmp_path: Path, two_machines: Any
) -> None:
    plan = read_plan(
        plan_file(tmp_path, runs=[
            {"method": ["unet"], "slices": [2, 3], "draw": [0, 1, 2], "steps": 30, "name": "a",
             "set": {"channels": [4, 8], "labelled": 2}}
        ], amp="off")
    )  # fmt: skip
    data, said = tmp_path / "data", list[str]()
    tables = [tmp_path / "rows-here" / "plan.csv", tmp_path / "rows-there" / "plan.csv"]
    run_sweep(plan, data, tmp_path / "here", tables[0], device="cpu", threads=1)
    notes, work = tmp_path / "notes", tmp_path / "there"
    notes.mkdir()
    lent = two_machines.add_node(num_cpus=1)

    def say(line: str) -> None:
        said.append(line)
        if len(said) == 1:
            os.kill(last_begun(notes), signal.SIGKILL)
        if len(said) == 2:
            time.sleep(0.5)  # for the next one to begin
            two_machines.remove_node(lent, allow_graceful=False)

    with on_ray(two_machines.address, work, [data], 1) as spread:
        summary = run_sweep(
            plan, data, work, tables[1], device="cpu", threads=1,
            spread=noting(spread, notes), say=say,
        )  # fmt: skip
    assert (len(summary.done), summary.elsewhere, summary.failed) == (6, [], [])
    assert tables[0].read_bytes() == tables[1].read_bytes()
    done = Counter((notes / "done").read_text().split())
    assert len(done) == 6 and set(done.values()) == {1}, "no run was made twice"
    begun = len((notes / "begun").read_text().split())
    print(f"{begun - 6} of 6 runs begun again")


def test_an_error_of_a_task_keeps_its_words() -> None:
    """Errors travel pickled; Ray wraps them."""
    import pickle

    error = NoRoom("full", where="there", fix="free some", code="F09")
    again: FewmaskError = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    assert str(again) == str(error) and again.exit_code == 4
