"""What is special about `sam_pp`: the coarse mask alone says where SAM draws, and SAM learns from
true boxes alone.
"""

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fewmask.core.batch import Batch, Labelled, Step, Task, Weak
from fewmask.methods.sam_pp import Config, SamPP, build
from fewmask.testing import phantom_batch, phantom_slices
from tests.narrow import part

SIDE = 64
SMALL = Config(encoder="tiny", channels=(8, 16, 16), classifier_width=4)


def make(config: Config = SMALL) -> SamPP:
    torch.manual_seed(0)
    return build(config, Task(("liver", "spleen"), SIDE))


class Painted(nn.Module):
    """A coarse network that reads its answer off the image: 1 is liver, 2 is spleen, else
    background; sure of it.
    """

    def forward(self, image: Tensor) -> Tensor:
        return 20 * torch.cat([(image == index).float() for index in range(3)], 1)


def painted(config: Config = SMALL) -> SamPP:
    method = make(config).eval()
    method.coarse = Painted()
    return method


def two_parts() -> Tensor:
    """A liver of 4 x 5 and 3 x 3 pixels that touch at a corner, which joins nothing, and an empty
    slice.
    """
    image = torch.zeros(2, 1, SIDE, SIDE)
    image[0, 0, 10:14, 20:25] = 1
    image[0, 0, 14:17, 25:28] = 1
    return image


@pytest.mark.parametrize(
    ("component", "box"), [("largest", [20, 10, 25, 14]), ("union", [20, 10, 28, 17])]
)
def test_the_prompt_is_the_box_of_the_coarse_masks_largest_part(
    component: Any, box: list[int]
) -> None:
    with torch.no_grad():
        answer = painted(replace(SMALL, component=component)).predict(two_parts())
    assert answer.boxes is not None and answer.boxes[0, 0].tolist() == box


def test_without_a_coarse_mask_there_is_no_mask() -> None:
    """Spleen is nowhere, liver in the first slice only; where nothing was found nothing was missed
    either.
    """
    with torch.no_grad():
        answer = painted().predict(two_parts())
    assert answer.boxes is not None and answer.no_prompt is not None and answer.present is not None
    assert answer.boxes.isnan().all(-1).tolist() == [[False, True], [True, True]]
    assert (
        answer.probs[0, 1].any()
        and not answer.probs[0, 2].gt(1e-6).any()
        and not answer.probs[1, 1:].gt(1e-6).any()
    )
    assert answer.no_prompt.sum() == 0 and (answer.present >= 0.5).tolist() == [
        [True, False],
        [False, False],
    ]


def test_sam_learns_in_true_boxes_whatever_the_coarse_mask_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Liver lies in x 8 to 30, y 10 to 34; the coarse mask, the whole slice, must not show."""
    method = painted(replace(SMALL, jitter=0.0))
    _, mask = phantom_slices(1)
    asked: list[Tensor] = []
    decode = method.sam.decode

    def listen(embedding: Tensor, boxes: Tensor, side: int) -> tuple[Tensor, Tensor]:
        asked.append(boxes)
        return decode(embedding, boxes, side)

    monkeypatch.setattr(method.sam, "decode", listen)
    whole = Labelled(torch.ones(1, 1, SIDE, SIDE), mask, torch.tensor([[1, 0]]))
    losses = method.losses(Batch(whole), Step(9, 10))
    assert [boxes.tolist() for boxes in asked] == [[[8, 10, 30, 34]]]
    assert list(losses) == ["coarse_ce", "coarse_dice", "ce", "dice", "score"]


def test_a_sam_that_does_not_learn_costs_nothing() -> None:
    method = make(replace(SMALL, tune="none"))
    assert not any(weight.requires_grad for weight in method.sam.parameters())
    assert list(method.losses(phantom_batch(method), Step(0, 10))) == ["coarse_ce", "coarse_dice"]


def test_with_no_outlined_slice_tags_alone_teach() -> None:
    """N = 0: one focal loss, of the tags that somebody gave; for logits of 0 it is (1/2)^2 ln 2, by
    1/4 for yes, 3/4 for no.
    """
    method = make(replace(SMALL, coarse="cam"))
    assert method.batch_spec.labelled == 0 and not any(
        weight.requires_grad for weight in method.sam.parameters()
    )
    head = part(method, "coarse.head", nn.Linear)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    losses = method.losses(
        Batch(weak=Weak(phantom_slices(2)[0], torch.tensor([[1, 0], [-1, 0]]))), Step(0, 10)
    )
    assert list(losses) == ["classify"]
    assert losses["classify"].item() == pytest.approx((0.25 + 0.75 + 0.75) / 3 * math.log(2) / 4)


def test_with_no_outlined_slice_the_box_is_that_of_the_activation(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cells of 32 px; up-sampled between centres, the first of two falls from 1 at x = 16 to the
    cut of 1/2 at x = 32.
    """
    method = make(replace(SMALL, coarse="cam", cam_cut=0.5)).eval()
    head = part(method, "coarse.head", nn.Linear)
    nn.init.ones_(head.weight)
    features = torch.zeros(1, head.in_features, 2, 2)
    features[:, :, :, 0] = 1
    monkeypatch.setattr(
        method.coarse, "forward", lambda image: (features, torch.tensor([[5.0, -5.0]]))
    )
    with torch.no_grad():
        answer = method.predict(phantom_slices(1)[0])
    assert answer.boxes is not None and answer.heat is not None
    assert answer.boxes[0, 0].tolist() == [0, 0, 32, 64] and answer.heat[0, 0].tolist() == [
        [1, 0],
        [1, 0],
    ]
    assert (
        answer.boxes[0, 1].isnan().all()
        and answer.no_prompt is not None
        and not answer.no_prompt.any()
    )
