"""Tables and pages do not pay for networks: torch alone takes more than a second to import."""

import subprocess
import sys
from pathlib import Path

import pytest

from fewmask.benchmark.score import score_run
from fewmask.training import TrainRequest, train
from tests.scans import prepare_scans

HEAVY = ("torch", "transformers", "monai")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run with masks and scores, of whole volumes and with a setting of its own."""
    folder: Path = tmp_path_factory.mktemp("light")
    prepared = prepare_scans(folder)
    settings = ("channels=(4,8)",)
    request = TrainRequest(
        prepared.folder, folder / "run", "unet", volumes=2, steps=1, amp="off", settings=settings
    )
    score_run(train(request))
    return folder


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("--help", "sam"),
        ("weights list", "sam-vit-b"),
        ("info unet", "dice loss"),
        ("info run", "channels"),
        ("info prepared", "2 test"),
        ("info scans", "fewmask check"),
        ("check scans", "no problems found"),
        ("compare run", "| unet + clean-up |"),
        ("report run", "index.html"),
    ],
)
def test_tables_and_pages_need_no_network(folder, words, shown) -> None:
    code = (
        "import sys; from fewmask.cli import main\n"
        f"sys.argv = ['fewmask', *{words.split()}]\n"
        "try: main()\nexcept SystemExit as done: assert done.code in (0, None), done\n"
        f"heavy = set({HEAVY}) & set(sys.modules); assert not heavy, heavy"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    assert shown in done.stdout.replace("SAM", "sam")


def test_help_imports_no_numbers_and_no_files() -> None:
    """A third of a second for `fewmask --help` (docs/performance.md) is what these would take."""
    code = (
        "import sys; from fewmask.cli import main\n"
        "sys.argv = ['fewmask', '--help']\n"
        "try: main()\nexcept SystemExit: pass\n"
        "slow = {'numpy', 'scipy', 'nibabel', 'pydicom', 'h5py', 'jinja2', 'torch'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_training_a_3d_method_imports_neither_monai_nor_transformers() -> None:
    """They are for the U-Nets and SAM only, and take longer to import than torch."""
    code = (
        "import sys, fewmask.training, fewmask.methods.vnet\n"
        "assert not {'transformers', 'monai', 'scipy.stats', 'torch._dynamo'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
