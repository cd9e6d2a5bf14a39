"""On a GPU a batch is augmented as on a CPU, float16 trains, and scans that are read and written
side by side get the same masks; skipped where there is none.
"""

import hashlib
from pathlib import Path
from typing import Literal

import pytest
import torch

from fewmask.blocks.prompts import main_component
from fewmask.core.batch import Batch, BatchSpec
from fewmask.core.budget import Budget
from fewmask.data import open_loader
from fewmask.data.loader import Ahead
from fewmask.data.pending import apply_pending
from fewmask.io.prepared import Prepared
from fewmask.io.run import RunFolder
from fewmask.io.tables import read_csv
from fewmask.predict import Predictor, work
from fewmask.predict.folder import predict_folder
from fewmask.predict.work import load_prepared
from fewmask.training import TrainRequest, train
from tests.data.test_pending import SPECS
from tests.scans import prepare_scans

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="no GPU is here: these tests compare one with the CPU"
    ),
]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare_scans(tmp_path_factory.mktemp("scans"), size=64)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_a_batch_is_augmented_as_on_a_cpu(prepared: Prepared, spec: BatchSpec) -> None:
    """A pixel is looked for within 1e-5 of a pixel: images are as near, but where dark grey levels
    are bent steeply (strong views), and a mask may differ where two classes meet.
    """
    budget, gpu = Budget("volumes", 0, volumes=(prepared.split.train[0],)), torch.device("cuda")
    with (
        open_loader(prepared, budget, spec, 0) as here,
        open_loader(prepared, budget, spec, 0, ahead=Ahead(2, pin=True, defer=True)) as there,
    ):
        for index in range(4):
            wanted, found = here.batch(index), apply_pending(there.batch(index).to(gpu))
            near(found, wanted)


def near(found: Batch, wanted: Batch) -> None:
    for stream in ("labelled", "weak", "unlabelled"):
        one, other = getattr(found, stream), getattr(wanted, stream)
        for name, value in vars(other).items() if other is not None else ():
            if not isinstance(value, torch.Tensor):
                continue
            mine = getattr(one, name)
            assert mine.is_cuda and mine.dtype == value.dtype and mine.shape == value.shape
            off = (mine.cpu().double() - value.double()).abs()
            if name in ("image", "strong"):
                assert float(off.max()) <= 5e-4 and float((off > 1e-5).double().mean()) <= 1e-2, (
                    stream,
                    name,
                    float(off.max()),
                    float((off > 1e-5).double().mean()),
                )
            else:
                assert float((off > 0).double().mean()) <= 1e-4, (stream, name)


@pytest.mark.parametrize("method", ["unet", "vnet", "sam_mix"])
def test_float16_trains_resumes_and_predicts(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    three = method == "vnet"
    settings = ("patch=[16,32,32]", "filters=4", "turns=false", "dropout=0.0") if three else ()
    monkeypatch.setattr("fewmask.training.hardware.half_type", lambda device: torch.float16)

    def ask(name: str, amp: Literal["on", "off"]) -> TrainRequest:
        return TrainRequest(
            prepared.folder,
            tmp_path / name,
            method,
            steps=4,
            amp=amp,
            device="cuda",
            settings=settings,
            save_steps=2,
            slices=None if three else 4,
            volumes=1 if three else None,
        )

    rough, exact = RunFolder(train(ask("a", "on"))), RunFolder(train(ask("b", "off")))
    assert rough.read_record().precision == "float16"
    mine, its = (read_csv(run.losses, ())[0] for run in (rough, exact))
    for name in its:
        assert float(mine[name]) == pytest.approx(float(its[name]), rel=0.05, abs=0.01), name
    scan = load_prepared(prepared, prepared.split.test[0])
    assert Predictor.load(rough.path, "cuda").volume(scan).label_map.voxels.shape == scan.shape
    latest = rough.latest()
    assert latest is not None and latest.tensors["scale.scale"] > 0
    assert all(torch.isfinite(t).all() for t in latest.tensors.values() if t.is_floating_point())


def test_masks_that_are_written_side_by_side_are_the_same(
    prepared: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = train(
        TrainRequest(prepared.folder, tmp_path / "run", "unet", slices=4, steps=2, device="cuda")
    )
    predictor, found = Predictor.load(run, "cuda"), []
    for name in ("beside", "in-turn"):
        if name == "in-turn":
            monkeypatch.setattr(work, "overlaps", lambda predictor: False)
        done = predict_folder(predictor, prepared.folder, tmp_path / name)
        assert len(done.written) == len(prepared.cases)
        # Signs are means over voxels, and two predictions of one card may differ in last digits.
        files = [one for one in sorted((tmp_path / name).iterdir()) if "signs" not in one.name]
        found.append({one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in files})
    assert found[0] == found[1]


def test_components_are_those_of_a_cpu() -> None:
    numbers = torch.Generator().manual_seed(0)
    mask = torch.rand(30, 40, 40, generator=numbers) > 0.5
    heat = torch.rand(30, 40, 40, generator=numbers)
    kept = main_component(mask.cuda(), heat.cuda())
    assert kept.is_cuda and torch.equal(kept.cpu(), main_component(mask, heat))
