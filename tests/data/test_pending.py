"""Augmentation of a whole batch in one call gives what it gives image by image."""

from dataclasses import replace

import pytest
import torch

from fewmask.core.batch import Batch, BatchSpec, Draw, Look
from fewmask.core.budget import Budget
from fewmask.data import open_loader
from fewmask.data.loader import Ahead
from fewmask.data.pending import apply_pending, defer
from fewmask.io.prepared import Prepared
from tests.scans import prepare_scans

SLICES = BatchSpec(labelled=4, weak=3, unlabelled=4, strong=True)
PATCHES = BatchSpec((8, 16, 16), labelled=3, unlabelled=3, turns=True)


def other_looks(spec: BatchSpec) -> BatchSpec:
    return replace(spec, random_convolution=0.7, frequency_swap=0.7)


SPECS = {
    "slices": SLICES,
    "slices with other looks": other_looks(SLICES),
    "other looks alone": other_looks(replace(SLICES, augment=False, strong=False)),
    "patches": PATCHES,
    "patches with other looks": other_looks(PATCHES),
    "patches as they are": replace(PATCHES, augment=False),
}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare_scans(tmp_path_factory.mktemp("scans"), size=64)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_a_batch_augmented_at_once_is_that_of_the_loader(
    prepared: Prepared, spec: BatchSpec
) -> None:
    budget = Budget("volumes", 0, volumes=(prepared.split.train[0],))
    with (
        open_loader(prepared, budget, spec, 0) as ready,
        open_loader(prepared, budget, spec, 0, ahead=Ahead(defer=True)) as left,
    ):
        for index in range(4):
            wanted, given = ready.batch(index), left.batch(index)
            waits = spec.augment or spec.new_looks
            assert (given.labelled is not None) and (given.labelled.pending is not None) == waits
            compare(apply_pending(given), wanted)


def compare(found: Batch, wanted: Batch) -> None:
    """Images to 1e-5, everything else to the bit."""
    assert found.names == wanted.names
    for stream in ("labelled", "weak", "unlabelled", "empty"):
        one, other = getattr(found, stream), getattr(wanted, stream)
        assert (one is None) == (other is None)
        for name, value in vars(other).items() if other is not None else ():
            mine = getattr(one, name)
            if name in ("image", "strong") and value is not None:
                assert mine.shape == value.shape
                assert torch.allclose(mine, value, rtol=0, atol=1e-5), (stream, name)
            elif isinstance(value, torch.Tensor):
                assert torch.equal(mine, value) and mine.dtype == value.dtype, (stream, name)
            else:
                assert mine == value


def test_what_waits_goes_where_the_batch_goes(prepared: Prepared) -> None:
    """Every tensor of it: to a device that holds none, where nothing is computed."""
    budget = Budget("volumes", 0, volumes=(prepared.split.train[0],))
    spec = SPECS["slices with other looks"]
    with open_loader(prepared, budget, spec, 0, ahead=Ahead(defer=True)) as loader:
        moved = loader.batch(1).to(torch.device("meta"))
    pending = moved.unlabelled.pending if moved.unlabelled else None
    assert pending is not None and pending.strong is not None and pending.networks is not None
    there = [pending.turns, pending.strong.noise, pending.networks.first, pending.networks.which]
    assert all(one is not None and one.device.type == "meta" for one in there)
    shown = apply_pending(moved).unlabelled
    assert shown is not None and shown.image.shape == (4, 1, 64, 64)


def test_frequencies_of_an_image_that_is_not_given_are_no_silent_nothing() -> None:
    look = Look(swap=0.5, other=("a", (0, 0, 0)))
    with pytest.raises(ValueError, match="none was given"):
        defer([Draw(look=look)], (1, 8, 8), [None])
