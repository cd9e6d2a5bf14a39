"""Faults of machines and people, under the names of their rows; those of single parts stand with
their parts.
"""

import ast
import os
import sys
from pathlib import Path

import pytest
import torch

from fewmask.benchmark.plan import read_plan
from fewmask.core.errors import BadConfig, BadDataset, FewmaskError, NoRoom, of_the_machine
from fewmask.io import ledger, raster
from fewmask.io import nifti as io_nifti
from fewmask.io.memory import check_room
from fewmask.io.prepared import Prepared
from fewmask.io.run import States
from fewmask.prepare.build import prepare
from fewmask.prepare.check import check
from fewmask.prepare.options import PrepareOptions
from tests.scans import prepare_scans, write_scans
from tests.source import trees

_RUNS = '[[runs]]\nmethod = ["unet"]\nslices = [2]\nsteps = 1\n'
_OTHER = '[[elsewhere]]\nname = "{}"\nimages = "{}"\ntruth = "t"\nlabel = ["liver=1"]\n'


def plan(folder: Path, text: str) -> Path:
    path = folder / "plan.toml"
    path.write_text('label = ["liver=1"]\n' + text)
    return path


@pytest.mark.parametrize("path", ["../../etc", "/etc", "a/../../b", "..\\\\x"])
def test_c05_a_path_that_leaves_the_data_folder(tmp_path, path) -> None:
    for text in (f'data = "{path}"\n{_RUNS}', f'data = "a"\n{_RUNS}{_OTHER.format("x", path)}'):
        with pytest.raises(BadConfig) as caught:
            read_plan(plan(tmp_path, text))
        assert caught.value.code == "C05" and "plan.toml" in str(caught.value)


@pytest.mark.parametrize(
    "name", ["../../precious", "a/b", "..", "run", "test", "stride.json", "test-cleaned", "", "CON"]
)
def test_a_name_in_a_sweep_file_never_becomes_another_folder(tmp_path, name) -> None:
    """R5: what is called so is removed, and masks are written there."""
    with pytest.raises(BadConfig) as caught:
        read_plan(plan(tmp_path, f'data = "a"\n{_RUNS}{_OTHER.format(name, "i")}'))
    assert caught.value.code == "N45"


def test_a_sweep_of_too_many_runs_is_refused_before_one_is_built(tmp_path) -> None:
    """40 bytes that ask for thirty million runs."""
    many = str(list(range(6000)))
    text = f'data = "a"\n[[runs]]\nmethod = ["unet"]\nslices = {many}\ndraw = {many}\nsteps = 1\n'
    with pytest.raises(BadConfig, match="36,000,000 runs"):
        read_plan(plan(tmp_path, text))


def test_f06_nothing_shares_memory_between_processes() -> None:
    """Batches are made by threads: `/dev/shm` may be as small as it likes."""
    for path, tree in trees().items():
        for node in ast.walk(tree):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            shares = ("torch.multiprocessing", "torch.utils.data", "shared_memory")
            assert not any(name.startswith(shares) for name in names), path


def test_f14_the_newest_state_is_told_by_its_step_not_by_a_clock(tmp_path) -> None:
    states = States(tmp_path)
    for step in (9, 10):
        states.save(step, {"w": torch.full((2,), float(step))})
    for path, time in zip(sorted(tmp_path.iterdir()), (4e9, 4e9, 0, 0), strict=True):
        os.utime(path, (time, time))  # the clock jumped back from 2096 to 1970
    latest = states.latest()
    assert latest is not None and latest.step == 10 and latest.tensors["w"][0] == 10


def test_f16_no_home(monkeypatch) -> None:
    for name in ("FEWMASK_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)

    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nobody)
    assert ledger.cache().name == "weights" and ledger.cache().is_absolute()


def test_f20_a_scan_that_is_too_large_ends_that_scan(tmp_path, monkeypatch) -> None:
    write_scans(tmp_path / "scans", 3)

    def small(needed: int, what: str) -> None:
        raise NoRoom(f"{what} needs more", fix="a larger machine", code="F20")

    calls = iter([small, *[check_room] * 100])
    monkeypatch.setattr(raster, "check_room", lambda *words: next(calls)(*words))
    options = PrepareOptions({"liver": (6,)}, recipe="ct", masks="complete", jobs=1)
    summary = prepare(tmp_path / "scans", tmp_path / "out", options)
    assert (summary.built, len(summary.refused)) == (2, 1)
    assert summary.refused[0]["code"] == "F20" and summary.refused[0]["case"] == "case_00"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS")
def test_f20_memory_of_a_real_limit(tmp_path) -> None:
    """A prepared dataset whose table asks for 3,000,000,000 slices, on 4 GiB."""
    import resource
    import subprocess

    prepared = prepare_scans(tmp_path)
    (prepared.folder / "reviewed.csv").write_text(
        "case,first_slice,last_slice\ncase_00,0,3000000000\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "fewmask", "convert", prepared.folder, "--out", tmp_path / "x.h5"],
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3 and "reviewed.csv" in done.stderr


def test_m10_an_empty_mask_is_told_by_check_as_by_prepare(tmp_path) -> None:
    write_scans(tmp_path / "scans", 2)
    path = tmp_path / "scans" / "labels" / "case_01.nii.gz"
    labels = io_nifti.read_labels(path)
    labels.voxels[:] = 0
    io_nifti.write_labels(path, labels)
    options = PrepareOptions({"liver": (6,)}, jobs=1)
    notes = check(tmp_path / "scans", options).notes
    more = prepare(tmp_path / "scans", tmp_path / "out", options).notes
    for told in (notes, more):
        assert [note[:14] for note in told if "M10" in note] == ["case_01: M10: "]


_BROKEN = {
    "key gone": ("dataset.json", lambda text: text.replace('"recipe"', '"recip"', 1)),
    "a list": ("dataset.json", lambda text: text.replace('"cases": [', '"cases": 3, "x": [')),
    "a case called ../x": ("dataset.json", lambda text: text.replace('"case_00"', '"../x"')),
    "no classes": ("dataset.json", lambda text: text.replace('"liver"\n', "", 1)),
    "no number": ("tags.csv", lambda text: text.replace(",2,", ",two,", 1)),
    "3e9 slices": ("reviewed.csv", lambda text: text.replace(",0,7", ",0,3000000000", 1)),
    "5000 digits": ("reviewed.csv", lambda text: text.replace(",0,7", ",0," + "9" * 5000, 1)),
    "negative": ("reviewed.csv", lambda text: text.replace(",0,7", ",-5,7", 1)),
    "no list": ("split.toml", lambda text: text.replace("[", "3 # [", 1)),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    return prepare_scans(tmp_path_factory.mktemp("broken"), 3)


@pytest.mark.parametrize("kind", _BROKEN)
def test_broken_tables_name_their_file(prepared, kind) -> None:
    """Exit 3 with file and fix, and nothing unbounded is built."""
    name, change = _BROKEN[kind]
    path = prepared.folder / name
    whole = path.read_text()
    assert change(whole) != whole, "the table looks otherwise now"
    try:
        path.write_text(change(whole))
        with pytest.raises(FewmaskError) as caught:
            Prepared.open(prepared.folder)
    finally:
        path.write_text(whole)
    assert isinstance(caught.value, BadDataset), caught.value
    assert name in str(caught.value) and caught.value.fix
    assert len(str(caught.value)) < 2000


def test_what_nobody_told_better_is_told_with_its_file() -> None:
    error = of_the_machine(OSError(30, "Read-only file system", "/data/x"))
    assert error.exit_code == 4 and "/data/x" in str(error) and error.fix
    assert of_the_machine(MemoryError()).code == "F20"
