"""What is special about `canvas_sam`: the grey levels that SAM is shown."""

import pytest
import torch

from fewmask.core.batch import Task
from fewmask.methods.canvas_sam import Config, build, even_levels

TASK = Task(("atrium",), 32, spacing_mm=1.0)
SMALL = {"encoder": "tiny", "patch": (4, 32, 32), "canvas": 64}


def test_patches_get_one_mean_and_deviation_each() -> None:
    torch.manual_seed(0)
    patches = torch.stack([0.9 + 0.01 * torch.randn(1, 4, 8, 8), 0.2 + 0.1 * torch.randn(1, 4, 8, 8)])
    even = even_levels(patches)
    assert even.mean((1, 2, 3, 4)).tolist() == pytest.approx([0.4, 0.4], abs=1e-4)
    assert even.std((1, 2, 3, 4)).tolist() == pytest.approx([0.2, 0.2], abs=1e-4)
    assert torch.allclose(even_levels(torch.full((1, 1, 4, 8, 8), 0.7)), torch.tensor(0.4), atol=1e-3)


@pytest.mark.parametrize(("levels", "same"), [("patch", True), ("recipe", False)])
def test_a_scanner_that_writes_other_grey_levels_changes_nothing_unless_asked(levels: str, same: bool) -> None:
    torch.manual_seed(0)
    method = build(Config(levels=levels, **SMALL), TASK).eval()  # type: ignore[arg-type]
    image = torch.rand(1, 1, 4, 32, 32)
    with torch.no_grad():
        one, two = (method.predict(grey).probs for grey in (image, 0.3 + 0.5 * image))
    assert torch.allclose(one, two, atol=1e-4) == same
