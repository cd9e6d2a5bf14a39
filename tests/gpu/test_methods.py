"""On a GPU every method trains, goes on after a stop and predicts as on a CPU; skipped where
there is none.
"""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fewmask.blocks.bezier import bend
from fewmask.core.errors import NoRoom
from fewmask.core.randomness import rng
from fewmask.methods import is_external, names
from fewmask.predict import Predictor
from fewmask.predict.work import load_prepared
from fewmask.training import TrainRequest, train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(
        not torch.cuda.is_available(), reason="no GPU is here: these tests compare one with the CPU"
    ),
]


@pytest.fixture(scope="module")
def parts() -> Iterator[object]:
    """The benchmark's own checks, so that there is one list of settings."""
    folder = str(Path(__file__).parents[2] / "benchmarks")
    sys.path.insert(0, folder)
    from gpu_parts import check, job

    yield check, job
    sys.path.remove(folder)


@pytest.fixture(scope="module")
def job(parts, tmp_path_factory):
    return parts[1].Job("check", tmp_path_factory.mktemp("gpu"), "cuda", True, 0.0)


@pytest.mark.parametrize("method", [name for name in names() if not is_external(name)])
def test_it_trains_goes_on_and_predicts_as_on_a_cpu(parts, job, method) -> None:
    check, places = parts
    row = check.check_method(job, method, places.phantoms(job.out, True))
    assert row["probs_off"] <= check.PROBS and row["voxels_off"] <= check.VOXELS, row
    # Some kernels add in any order, and AdamW moves a weight by about its rate (1e-2 at most) in
    # its first steps whatever the gradient's size: two runs that nobody stopped differ as much.
    assert row["resumed_off"] <= 5e-3, row


def test_a_full_gpu_says_what_to_do(parts, job) -> None:
    prepared = parts[1].phantoms(job.out, True)
    settings = ("patch=[16,64,64]", "turns=false")
    request = TrainRequest(
        prepared.folder,
        job.out / "full",
        "vnet",
        volumes=1,
        steps=2,
        settings=settings,
        device="cuda",
    )
    run = train(replace(request, out=job.out / "fits"))
    predictor, scan = Predictor.load(run, "cuda"), load_prepared(prepared, prepared.split.test[0])
    torch.cuda.empty_cache()
    try:
        for part in (1e-5, 2e-3):  # not even the weights, and no step
            torch.cuda.set_per_process_memory_fraction(part)
            with pytest.raises(NoRoom, match="memory is full") as caught:
                train(replace(request, settings=(*settings, "labelled=8")))
            assert caught.value.code == "F07"
        torch.cuda.set_per_process_memory_fraction(1e-5)
        with pytest.raises(NoRoom, match="memory is full"):
            predictor.volume(scan)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def test_grey_level_curves_are_those_of_a_cpu() -> None:
    image = torch.rand(2, 1, 6, 16, 16, generator=torch.Generator().manual_seed(0))
    for kind in ("scaled", "as_released"):
        here, there = bend(image.cuda(), kind, rng(0, "bend")), bend(image, kind, rng(0, "bend"))
        assert torch.allclose(here.cpu(), there, atol=1e-5)
