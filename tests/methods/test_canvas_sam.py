"""What is special about `canvas_sam`: the grey levels that SAM is shown."""

import pytest
import torch

from fewmask.core.batch import Task
from fewmask.methods.canvas_sam import Config, build, even_levels

TASK = Task(("atrium",), 32, spacing_mm=1.0)
SMALL = {"encoder": "tiny", "patch": (4, 32, 32), "canvas": 64}


def test_patches_get_one_mean_and_deviation_each() -> None:
    torch.manual_seed(0)
    patches = torch.stack(
        [0.9 + 0.01 * torch.randn(1, 4, 8, 8), 0.2 + 0.1 * torch.randn(1, 4, 8, 8)]
    )
    even = even_levels(patches)
    assert even.mean((1, 2, 3, 4)).tolist() == pytest.approx([0.4, 0.4], abs=1e-4)
    assert even.std((1, 2, 3, 4)).tolist() == pytest.approx([0.2, 0.2], abs=1e-4)
    assert torch.allclose(
        even_levels(torch.full((1, 1, 4, 8, 8), 0.7)), torch.tensor(0.4), atol=1e-3
    )


@pytest.mark.parametrize(("levels", "same"), [("patch", True), ("recipe", False)])
def test_a_scanner_that_writes_other_grey_levels_changes_nothing_unless_asked(
    levels: str, same: bool
) -> None:
    torch.manual_seed(0)
    method = build(Config(levels=levels, **SMALL), TASK).eval()  # type: ignore[arg-type]
    image = torch.rand(1, 1, 4, 32, 32)
    with torch.no_grad():
        one, two = (method.predict(grey).probs for grey in (image, 0.3 + 0.5 * image))
    assert torch.allclose(one, two, atol=1e-4) == same


def test_what_starts_from_nothing_has_a_learning_rate_of_its_own() -> None:
    method = build(Config(head_lr=0.02, lr=0.003, **SMALL), TASK)  # type: ignore[arg-type]
    old, new = method.optimiser().param_groups
    names = {id(weight): name for name, weight in method.named_parameters()}
    assert (old["lr"], new["lr"]) == (0.003, 0.02)
    assert {names[id(weight)].split(".")[0] for weight in new["params"]} == {"sam", "across"}
    assert all(
        names[id(weight)].startswith(("sam.mask_decoder.masks.", "across."))
        for weight in new["params"]
    )
    assert len(old["params"]) + len(new["params"]) == len(names)


def test_slices_are_joined_unless_asked_not_to_be() -> None:
    """With the network across slices, what one slice shows changes what its neighbours are said to
    hold.
    """
    torch.manual_seed(0)
    image = torch.rand(1, 1, 4, 32, 32)
    other = image.clone()
    other[:, :, 3] = 1 - other[:, :, 3]
    for across in (True, False):
        method = build(Config(across=across, montage=False, levels="recipe", **SMALL), TASK).eval()  # type: ignore[arg-type]
        if method.across is not None:
            torch.nn.init.normal_(method.across.out.weight)
        with torch.no_grad():
            one, two = method.predict(image).probs, method.predict(other).probs
        assert torch.equal(one[:, :, 0], two[:, :, 0]) != across
