"""What only `trans_unet` has: a bottom of fixed size, and places in it that can be told apart."""

import pytest
import torch

from fewmask.core.batch import Task
from fewmask.core.errors import BadConfig
from fewmask.methods.trans_unet import Config, build

SMALL = Config(channels=(8, 16, 16), width=32, layers=1, heads=2)


def test_a_side_that_cannot_be_halved_often_enough_is_refused() -> None:
    """Three levels halve twice: multiples of 4."""
    assert build(SMALL, Task(("liver",), 68)) is not None
    with pytest.raises(BadConfig, match="66 px is not a multiple of 4"):
        build(SMALL, Task(("liver",), 66))


def test_every_place_hears_of_every_other() -> None:
    """Convolutions of two levels cannot see across 64 pixels; attention at the bottom can."""
    torch.manual_seed(0)
    method = build(SMALL, Task(("liver",), 64)).eval()
    image = torch.rand(1, 1, 64, 64)
    other = image.clone()
    other[..., 56:, 56:] = 0
    with torch.no_grad():
        change = (method.predict(image).probs - method.predict(other).probs).abs()
    assert float(change[..., :4, :4].max()) > 0
