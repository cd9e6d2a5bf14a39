"""Windows cover every voxel, agree with the whole volume where the answer is local, and leave in
order.
"""

import math

import pytest
import torch

from fewmask.core.placement import VolumePlacement
from fewmask.core.recipe import Recipe
from fewmask.predict.windows import Windows, slide


def answer(windows: torch.Tensor) -> torch.Tensor:
    """Two 'probabilities' that depend on the voxel alone."""
    return torch.cat([1 - windows, windows], 1)


@pytest.mark.parametrize("shape", [(8, 8, 8), (21, 19, 10), (5, 30, 6)])
@pytest.mark.parametrize(
    "windows", [Windows((8, 8, 8)), Windows((8, 8, 8), (3, 5, 2), gaussian=True, batch=3)]
)
def test_a_local_answer_comes_back_as_it_is(shape, windows) -> None:
    volume = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    blocks = list(slide(volume, windows, answer))
    whole = torch.cat(blocks, 1)
    assert whole.shape == (2, *shape)
    assert torch.allclose(whole[1], volume, atol=1e-5) and torch.allclose(
        whole.sum(0), torch.ones(shape), atol=1e-5
    )


def test_memory_is_a_row_of_windows() -> None:
    blocks = list(slide(torch.zeros(64, 8, 8), Windows((8, 8, 8), (4, 8, 8)), answer))
    assert [block.shape[1] for block in blocks] == [4] * 14 + [8]


def test_overlap_is_averaged_by_hand() -> None:
    """Three voxels in depth, windows of two, answers 0.2 and 0.6: the middle voxel is
    their mean.
    """
    calls = iter([0.2, 0.6])

    def constant(windows: torch.Tensor) -> torch.Tensor:
        return torch.full_like(windows, next(calls))

    whole = torch.cat(list(slide(torch.zeros(3, 1, 1), Windows((2, 1, 1), (1, 1, 1)), constant)), 1)
    assert whole.flatten().tolist() == pytest.approx([0.2, 0.4, 0.6])


def test_a_gaussian_window_weighs_as_its_formula_says() -> None:
    """Windows of 8 every 4 answer 0 and 1; sigma is 8 / 8 = 1, the middles lie at 3.5 and 7.5.

    Voxel 5 is 1.5 from one and 2.5 from the other: exp(-1.125) against exp(-3.125), so 1 has
    1 / (1 + e^2) = 0.1192 of it; voxel 4 is 0.5 and 3.5 away, exp(-0.125) against exp(-6.125).
    """
    calls = iter([0.0, 1.0])

    def constant(windows: torch.Tensor) -> torch.Tensor:
        return torch.full_like(windows, next(calls))

    windows = Windows((8, 1, 1), (4, 1, 1), gaussian=True)
    whole = torch.cat(list(slide(torch.zeros(12, 1, 1), windows, constant)), 1).flatten()
    share = [1 / (1 + math.exp(power)) for power in (6, 2, -2, -6)]
    assert whole.tolist() == pytest.approx([0] * 4 + share + [1] * 4, abs=1e-6)


def test_a_volume_placed_and_restored_in_slabs() -> None:
    """Half the resolution and back: a smooth ramp survives, whatever the slabs are."""
    recipe = Recipe("half", modality="mr", spacing_mm=2.0, slice_mm=2.0, size=64)
    placement = VolumePlacement.of((21, 10, 12), (1.0, 1.0, 1.0), recipe)
    assert placement.shape == (11, 5, 6)
    z, y, x = torch.meshgrid(
        torch.arange(21.0), torch.arange(10.0), torch.arange(12.0), indexing="ij"
    )
    volume = (0.02 * z + 0.01 * y + 0.005 * x).numpy()
    placed = placement.place(volume)[None]
    for d in (0, 7, 20):
        rows = placement.rows_for(d)
        back = placement.restore(placed[:, rows.start : rows.stop], rows.start, range(d, d + 1))[
            0, 0
        ]
        assert abs(back[2:-2, 2:-2] - volume[d, 2:-2, 2:-2]).max() < 0.025
