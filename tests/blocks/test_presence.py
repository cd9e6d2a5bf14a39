"""What a classifier says of a slice decides about its masks."""

import pytest
import torch

from fewmask.blocks.presence import TagClassifier, answer, enlarge, gate, judge, scan_cost
from fewmask.core.batch import UNKNOWN, Weak

PROBS = torch.tensor([[0.1, 0.6, 0.3], [0.1, 0.1, 0.8]])[..., None, None]
"""Two slices of one pixel: background, liver, spleen."""
IMAGE = torch.zeros(2, 1, 1, 1)


class Says(TagClassifier):
    """Says what it is told to."""

    def __init__(self, logits: list[list[float]]) -> None:
        super().__init__(2, width=2)
        self.logits = torch.tensor(logits)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.logits


def test_what_a_slice_does_not_hold_is_background() -> None:
    held = torch.tensor([[True, False], [False, False]])
    expected = torch.tensor([[0.4, 0.6, 0.0], [1.0, 0.0, 0.0]])
    torch.testing.assert_close(gate(PROBS, held)[..., 0, 0], expected)
    assert torch.equal(gate(PROBS, torch.ones_like(held)), PROBS)


def test_half_is_enough_to_be_held_and_nobody_asks_with_none() -> None:
    present = torch.tensor([[0.5, 0.49]])
    for presence in ("slice", "scan"):
        assert judge(present, presence).tolist() == [[True, False]]
    assert judge(present, "none").tolist() == [[True, True]]


def test_the_answer_follows_the_classifier_unless_it_is_overruled() -> None:
    says = Says([[3.0, -3.0], [-3.0, -3.0]])
    own = answer(PROBS, IMAGE, says)
    assert own.present is not None and own.present[0].tolist() == pytest.approx(
        [0.953, 0.047], abs=1e-3
    )
    assert own.probs.argmax(1).flatten().tolist() == [1, 0]
    overruled = answer(PROBS, IMAGE, says, torch.tensor([[False, True], [False, True]]))
    assert overruled.probs.argmax(1).flatten().tolist() == [0, 2]
    drawn = answer(PROBS, IMAGE, None)
    assert drawn.probs is PROBS and drawn.present is None


def test_tags_teach_the_classifier_alone_and_unknown_ones_nothing() -> None:
    torch.manual_seed(0)
    classifier = TagClassifier(2, width=4)
    images = torch.rand(2, 1, 64, 64)
    told = classifier.losses(Weak(images, torch.tensor([[1, UNKNOWN], [0, UNKNOWN]])))
    slopes = torch.autograd.grad(told["classify"], [classifier.net.head.weight])[0]
    assert slopes[0].any() and not slopes[1].any()


@pytest.mark.parametrize(("side", "seen"), [(64, 128), (128, 256), (200, 256), (300, 300)])
def test_small_slices_are_enlarged_at_most_twofold(side, seen) -> None:
    assert enlarge(torch.zeros(1, 1, side, side), 256).shape[-1] == seen


def test_only_a_scan_is_judged_with_neighbours() -> None:
    costs = [scan_cost(presence, 2.0) for presence in ("none", "slice", "scan")]
    assert costs == [0.0, 0.0, 2.0]
