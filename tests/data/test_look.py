"""Another look, by numbers that can be checked by hand; off, batches are what they were."""

from dataclasses import replace

import pytest
import torch

from fewmask.core.batch import Batch, BatchSpec, Draw, Look
from fewmask.core.budget import Budget
from fewmask.core.randomness import rng
from fewmask.data import open_loader
from fewmask.data.augment import apply_image, apply_mask
from fewmask.data.look import apply_look, convolve, draw_look, swap_low
from fewmask.io.prepared import Prepared
from tests.narrow import required
from tests.scans import prepare_scans


def wave(mean: float, slow: float, fast: float, phase: float = 0.0) -> torch.Tensor:
    """Two waves over 40 pixels of a row, of 1 and of 8 periods, around a mean."""
    x = torch.arange(40) / 40 * 2 * torch.pi
    row = mean + slow * torch.cos(x + phase) + fast * torch.cos(8 * x)
    return row.expand(1, 4, 40).clone()


@pytest.mark.parametrize(("part", "mean", "slow"), [(1.0, 0.6, 0.2), (0.5, 0.5, 0.15)])
def test_mean_and_slow_wave_are_another_s_and_fast_wave_and_places_are_its_own(
    part: float, mean: float, slow: float
) -> None:
    """1 / 40 is below the highest frequency that moves, 0.05; 8 / 40 is above it. The other's slow
    wave begins elsewhere: its phase is not taken.
    """
    image, other = wave(0.4, 0.1, 0.05), wave(0.6, 0.2, 0.0, phase=1.0)
    assert torch.allclose(swap_low(image, other, part), wave(mean, slow, 0.05), atol=1e-5)


def test_an_image_that_takes_from_itself_stays_and_no_value_leaves_its_range() -> None:
    image = torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(swap_low(image, image, 1.0), image, atol=1e-6)
    bright = swap_low(image, torch.ones_like(image), 1.0)
    assert bright.max() == 1 and bright.min() >= 0 and bright.mean() > 0.8


def test_the_slices_of_a_patch_are_one_image() -> None:
    """Forty slices along which a wave runs: its height is the other's and its phase the patch's
    own. Slice by slice each would take the other's mean, and so the other's phase.
    """
    patch, other = (one.permute(2, 1, 0) for one in (wave(0.4, 0.1, 0), wave(0.6, 0.2, 0, 1.0)))
    expected = wave(0.6, 0.2, 0).permute(2, 1, 0)
    assert torch.allclose(swap_low(patch, other, 1.0), expected, atol=1e-5)


@pytest.mark.parametrize("part", [0.3, 1.0])
def test_a_convolved_image_has_the_mean_and_spread_it_had(part: float) -> None:
    image = 0.5 + 0.02 * torch.randn(2, 16, 16, generator=torch.Generator().manual_seed(1))
    for seed in range(20):
        shown = convolve(image, part, seed)
        assert float(shown.mean()) == pytest.approx(float(image.mean()), abs=1e-5)
        assert float(shown.std()) == pytest.approx(float(image.std()), rel=1e-3)
        assert not torch.equal(shown, image)


def test_some_networks_turn_bright_into_dark_and_others_do_not() -> None:
    """A ramp and what 200 random networks make of it rise together or against each other."""
    ramp = torch.linspace(0.3, 0.7, 16).expand(1, 16, 16)
    made = [convolve(ramp, 1.0, seed) for seed in range(200)]
    rises = [float(((one - 0.5) * (ramp - 0.5)).sum()) > 0 for one in made]
    assert 50 < sum(rises) < 150 and len({float(one[0, 0, 0]) for one in made}) > 190


def test_one_grey_level_stays_one_and_a_small_part_changes_little() -> None:
    even = torch.full((1, 8, 8), 0.25)
    assert torch.equal(convolve(even, 1.0, 0), even)
    image = torch.linspace(0.3, 0.7, 64).reshape(1, 8, 8)
    assert torch.allclose(convolve(image, 1e-4, 3), image, atol=1e-3)


def test_each_change_comes_as_often_as_it_is_said() -> None:
    """Of 1,000 images 250 and 500, give or take four times 16; how often one comes does not move
    the other.
    """
    spec = BatchSpec(random_convolution=0.25, frequency_swap=0.5)
    looks = [draw_look(rng(0, "look", i), spec, lambda _: ("a", (0, 0, 0))) for i in range(1000)]
    assert abs(sum(look.convolution > 0 for look in looks) - 250) < 64
    assert abs(sum(look.swap > 0 for look in looks) - 500) < 64
    alone = replace(spec, random_convolution=0.0)
    for i, look in enumerate(looks):
        again = draw_look(rng(0, "look", i), alone, lambda _: ("a", (0, 0, 0)))
        assert again == replace(look, convolution=0.0, seed=0)
        assert (look.other is None) == (look.swap == 0)


def test_a_mask_keeps_its_place_and_a_missing_image_is_no_silent_nothing() -> None:
    mask = torch.eye(8, dtype=torch.long)
    look = Look(convolution=0.5, seed=1)
    assert torch.equal(apply_mask(mask, Draw(look=look)), mask)
    image = torch.rand(1, 8, 8)
    assert torch.equal(apply_image(image, Draw(look=look)), convolve(image, 0.5, 1))
    with pytest.raises(ValueError, match="none was given"):
        apply_look(image, Look(swap=0.5, other=("a", (0, 0, 0))), None)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    return prepare_scans(tmp_path_factory.mktemp("scans"), size=64)


SPECS = {
    "slices": BatchSpec(labelled=4, weak=4, unlabelled=4, strong=True),
    "patches": BatchSpec((8, 16, 16), labelled=3, unlabelled=3, turns=True),
    "patches as they are": BatchSpec((8, 16, 16), labelled=3, unlabelled=3, augment=False),
}


def first_batch(prepared: Prepared, spec: BatchSpec) -> Batch:
    budget = Budget("volumes", 0, volumes=(prepared.split.train[0],))
    with open_loader(prepared, budget, spec, 0) as loader:
        return loader.batch(3)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())
def test_on_images_change_and_nothing_else_does(prepared: Prepared, spec: BatchSpec) -> None:
    """The same places, the same geometry, the same masks; with a chance of nought the same bits."""
    off = first_batch(prepared, spec)
    on = first_batch(prepared, replace(spec, random_convolution=1.0, frequency_swap=1.0))
    rare = first_batch(prepared, replace(spec, random_convolution=1e-12))
    for stream in ("labelled", "weak", "unlabelled"):
        before, after, same = (getattr(batch, stream) for batch in (off, on, rare))
        if before is None:
            assert after is None
            continue
        assert torch.equal(before.image, same.image) and off.names == on.names
        assert [replace(one, look=Look()) for one in after.draws] == list(before.draws)
        changed = (before.image != after.image).flatten(1).any(1)
        assert changed.all() and after.image.min() >= 0 and after.image.max() <= 1
    assert torch.equal(required(off.labelled).mask, required(on.labelled).mask)


@pytest.mark.parametrize("spec", [SPECS["slices"], SPECS["patches"]], ids=["slices", "patches"])
def test_frequencies_come_from_other_training_scans_only(
    prepared: Prepared, spec: BatchSpec
) -> None:
    batch = first_batch(prepared, replace(spec, frequency_swap=1.0))
    labelled = required(batch.labelled)
    sources = [required(one.look.other)[0] for one in labelled.draws]
    own = [name.split(":")[0] for name in batch.names["labelled"]]
    assert set(sources) <= set(prepared.split.train)
    assert all(source != case for source, case in zip(sources, own, strict=True))
