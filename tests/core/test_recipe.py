import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fewmask.core.errors import BadConfig
from fewmask.core.recipe import RECIPES, Recipe
from tests.narrow import Settings

BOUNDS = st.tuples(st.floats(-2000, 0), st.floats(1, 3000))
RECIPE = st.builds(
    Recipe,
    st.text(max_size=10),
    st.sampled_from(["auto", "ct", "mr"]),
    BOUNDS,
    st.tuples(st.floats(0, 40), st.floats(60, 100)),
    st.floats(0, 5),
    st.integers(0, 4096),
    st.booleans(),
    st.floats(0.01, 1),
    st.booleans(),
)


@given(RECIPE)
def test_plain_data_and_back(recipe: Recipe) -> None:
    assert Recipe.from_dict(json.loads(json.dumps(recipe.as_dict()))) == recipe


def test_the_papers_central_30_percent() -> None:
    paper = RECIPES["sam-mix-paper"]
    # m = 99.5: ceil(69.65) = 70 up to, not including, floor(129.35) = 129.
    assert paper.slices(200) == range(70, 129)
    assert len(paper.slices(200)) == 59
    # m = 50: 35 up to 65.
    assert paper.slices(101) == range(35, 65)
    assert len(paper.slices(1)) == 1
    assert len(paper.slices(2)) == 1


@given(st.integers(1, 1000), st.floats(0.01, 1))
def test_slices_are_inside_and_never_none(depth: int, central: float) -> None:
    kept = Recipe(central=central).slices(depth)
    assert len(kept) >= 1
    assert 0 <= kept[0] <= kept[-1] < depth


def test_every_slice_takes_part_by_default() -> None:
    assert Recipe().slices(7) == range(7)


def test_settle_by_hand() -> None:
    # 300 mm at 1.5 mm are 200 px, the next multiple of 32 is 224.
    settled = Recipe().resolve(modality="ct", extent_mm=[300.0] * 5, spacing_mm=[1.5] * 5)
    assert (settled.modality, settled.spacing_mm, settled.size, settled.resolved) == (
        "ct",
        1.5,
        224,
        True,
    )
    # 512 mm at 1 mm would need 512 px: made coarser until 256 suffice.
    assert (
        coarse := Recipe().resolve(modality="mr", extent_mm=[512.0], spacing_mm=[1.0])
    ).size == 256
    assert coarse.spacing_mm == 2.0
    assert Recipe().resolve(modality="mr", extent_mm=[30.0], spacing_mm=[1.0]).size == 64
    assert (
        RECIPES["ct-liver"].resolve(modality="mr", extent_mm=[900.0], spacing_mm=[9.0])
        == RECIPES["ct-liver"]
    )


@given(st.integers(64, 1024), st.floats(0.3, 2.0), st.sampled_from([0, 96, 160, 256]))
def test_the_limit_covers_what_it_was_chosen_for(pixels: int, mm: float, size: int) -> None:
    """Rounded down, the spacing of half of all data sets left 256 pixels too few, and 288 came."""
    extent = pixels * mm
    settled = Recipe(size=size).resolve(modality="ct", extent_mm=[extent], spacing_mm=[mm])
    assert settled.size <= 256
    assert settled.size * settled.spacing_mm >= extent - 1e-4
    assert settled.spacing_mm == round(settled.spacing_mm, 4)


def test_the_slip_by_hand() -> None:
    """393.53 mm on 256 px are 1.53723 mm: 1.5372 is too little."""
    settled = Recipe().resolve(modality="ct", extent_mm=[393.53], spacing_mm=[0.7686])
    assert (settled.spacing_mm, settled.size) == (1.5373, 256)


def test_a_smaller_grid_covers_the_same_slices() -> None:
    # 320 mm on 160 px: pixels of 2 mm, whatever pixel size the recipe would have had.
    smaller = (
        RECIPES["ct-liver"].on_grid(160).resolve(modality="ct", extent_mm=[320.0], spacing_mm=[0.7])
    )
    assert (smaller.size, smaller.spacing_mm, smaller.window_hu) == (160, 2.0, (-125.0, 240.0))


@pytest.mark.parametrize("size", [32, 100, 2048, -64])
def test_a_grid_that_cannot_be_halved_five_times_is_refused(size: int) -> None:
    with pytest.raises(BadConfig, match=f"{size} x {size}"):
        Recipe().on_grid(size)


def test_named_recipes_know_their_names() -> None:
    assert all(name == recipe.name for name, recipe in RECIPES.items())
    assert RECIPES["sam-mix-paper"].resolved
    assert not RECIPES["auto"].resolved


def test_window_by_hand() -> None:
    recipe = RECIPES["ct-liver"]
    image = np.array([[[-1000, -125, 57.5, 240, 3000]]], np.float32)
    assert recipe.bounds(image) == (-125.0, 240.0)
    np.testing.assert_allclose(recipe.scale(image, recipe.bounds(image)), [[[0, 0, 0.5, 1, 1]]])


def test_percentiles_ignore_nan_and_small_scales_survive() -> None:
    recipe = Recipe(modality="mr", percentiles=(0.0, 100.0))
    image = np.array([[[0, 1e-6, 2e-6, np.nan]]], np.float32)
    low, high = recipe.bounds(image)
    assert (low, high) == pytest.approx((0, 2e-6))
    np.testing.assert_allclose(
        recipe.scale(image[..., :3], (low, high)), [[[0, 0.5, 1]]], rtol=1e-6
    )


def test_no_contrast_gives_zeros() -> None:
    scaled = Recipe(modality="mr").scale(np.full((1, 2, 2), 7, np.float32), (7.0, 7.0))
    np.testing.assert_array_equal(scaled, 0)


def test_per_slice_stretch() -> None:
    image = np.array([[[-160, 40]], [[140, 240]], [[240, 240]]], np.float32)
    np.testing.assert_allclose(
        RECIPES["sam-mix-paper"].scale(image, (-160.0, 240.0)), [[[0, 1]], [[0, 1]], [[0, 0]]]
    )


@pytest.mark.parametrize(
    "values",
    [
        {"window_hu": (240.0, -125.0)},
        {"percentiles": (50.0, 50.0)},
        {"percentiles": (-1.0, 50.0)},
        {"size": -1},
        {"size": 5000},
        {"spacing_mm": -1.0},
        {"spacing_mm": float("nan")},
        {"central": 0.0},
        {"central": 1.5},
    ],
)
def test_impossible_recipes(values: Settings) -> None:
    with pytest.raises(BadConfig) as caught:
        Recipe(**values)
    assert caught.value.code == "C02"


def test_unknown_key_is_named() -> None:
    with pytest.raises(BadConfig, match="window_hux") as caught:
        Recipe.from_dict({"window_hux": [0, 1]})
    assert "window_hu" in caught.value.fix


@pytest.mark.parametrize(
    "wrong",
    [
        {"spacing_mm": math.inf},
        {"slice_mm": math.inf},
        {"slice_mm": -1.0},
        {"spacing_mm": math.nan},
    ],
)
def test_a_spacing_is_a_number_from_0_on(wrong: Settings) -> None:
    with pytest.raises(BadConfig, match="spacing_mm and slice_mm"):
        Recipe(**wrong)


def test_repr_says_what_was_chosen() -> None:
    assert repr(Recipe()) == "Recipe()"
    chosen = Recipe("ct", "ct", spacing_mm=1.75, size=224)
    assert repr(chosen) == "Recipe(name='ct', modality='ct', spacing_mm=1.75, size=224)"
    with pytest.raises(BadConfig, match=r"window_hu=\(5.0, 5.0\)"):
        Recipe(window_hu=(5.0, 5.0))
