"""CAM, components, boxes and losses by numbers on paper."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from fewmask.blocks.cam import activation_mask, attention_pool, class_activation, class_attention
from fewmask.blocks.losses import (
    attention_guide,
    bernoulli_consistency,
    focal,
    overlap_iou,
    soft_dice,
)
from fewmask.blocks.masks import decode_classes
from fewmask.blocks.nets.resnet import ResNet
from fewmask.blocks.prompts import (
    box_mask,
    has_box,
    jitter,
    main_component,
    mask_boxes,
    rasterise_boxes,
    rasterise_points,
)
from fewmask.blocks.ramp import linear_ramp, sigmoid_ramp, warm_cosine
from fewmask.blocks.sam.model import Sam
from fewmask.core.batch import Step
from fewmask.core.randomness import rng
from tests.narrow import required


def grid(*rows: str) -> torch.Tensor:
    return torch.tensor([[char == "#" for char in row] for row in rows])


def test_closed_form_equals_autograd_grad_cam() -> None:
    torch.manual_seed(0)
    net = ResNet((1, 1, 1, 1), width=4, outputs=2).eval()
    features, logits = net(torch.rand(2, 1, 64, 64))
    ours = class_activation(features.detach(), net.head.weight.detach())
    for k in range(2):
        slope = torch.autograd.grad(logits[:, k].sum(), features, retain_graph=True)[0]
        raw = torch.relu((slope.mean((2, 3), keepdim=True) * features).sum(1)).detach()
        low, high = raw.amin((1, 2), keepdim=True), raw.amax((1, 2), keepdim=True)
        assert torch.allclose(ours[:, k], (raw - low) / (high - low).clamp_min(1e-12), atol=1e-4)


def test_flat_and_broken_maps_activate_nothing() -> None:
    features = torch.ones(2, 3, 4, 4)
    features[1] = math.nan
    heat = class_activation(features, torch.ones(1, 3))
    assert not heat.any() and not activation_mask(heat, 16, 50 / 255).any()


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 12), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_the_box_of_a_mask_holds_it_and_no_smaller_one_does(
    side: int, share: float, seed: int
) -> None:
    mask = torch.rand(3, side, side, generator=torch.Generator().manual_seed(seed)) < share
    boxes = mask_boxes(mask)
    assert torch.equal(has_box(boxes), mask.flatten(1).any(1))
    assert not (mask & ~box_mask(boxes, side)).any()
    for n in torch.nonzero(has_box(boxes))[:, 0]:
        x0, y0, x1, y1 = boxes[n].int().tolist()
        for edge in (mask[n, y0], mask[n, y1 - 1], mask[n, :, x0], mask[n, :, x1 - 1]):
            assert edge.any()


class Listening(Sam):
    """Stands for SAM, and notes which boxes its decoder was asked for."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.boxes: list[torch.Tensor] = []

    def decode(self, embedding, boxes, side, masks=None, points=None, point_labels=None):
        self.boxes.append(boxes)
        return torch.ones(len(boxes), 3, side, side), torch.ones(len(boxes), 3)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_empty_prompts_never_reach_the_decoder(b: int, k: int, share: float, seed: int) -> None:
    """Not called at all where no box is; a class without a box has no mask."""
    chance = torch.Generator().manual_seed(seed)
    masks = torch.rand(b * k, 4, 4, generator=chance) < share * torch.rand(
        b * k, 1, 1, generator=chance
    )
    boxes, sam = mask_boxes(masks).reshape(b, k, 4), Listening()
    wanted = torch.rand(b, k, generator=chance) < 0.7
    selected = wanted & has_box(boxes)
    probs = decode_classes(sam, torch.zeros(b, 2, 1, 1), boxes, None, selected, 4)
    assert len(sam.boxes) == int(selected.any())
    assert all(len(asked) == selected.sum() and asked.isfinite().all() for asked in sam.boxes)
    assert torch.equal((probs[:, 1:] > 1e-6).flatten(2).any(2), selected)


def test_f19_no_prompt_is_invented_and_none_is_too_large() -> None:
    """No activation: no box. All of the image: a box of all of it. 300 pieces: the largest one."""
    nothing = torch.zeros(1, 40, 40, dtype=torch.bool)
    assert not has_box(mask_boxes(nothing)).any()
    assert not main_component(nothing, nothing.float()).any()
    assert mask_boxes(~nothing).tolist() == [[0.0, 0.0, 40.0, 40.0]]
    pieces = nothing.clone()
    pieces[0, ::2, ::2] = True  # 400 single pixels that do not touch
    pieces[0, 10:12, 10:13] = True
    kept = main_component(pieces, pieces.float())
    assert mask_boxes(kept).tolist() == [[10.0, 10.0, 13.0, 13.0]]


def test_cut_is_a_part_of_the_peak_after_upsampling() -> None:
    """A 2 x 2 map (1 left, 0 right) up-sampled to 4 x 4 has columns 1, 0.75, 0.25, 0. Half as
    bright it is 0.5, 0.375, 0.125, 0: the same parts of its peak, kept by the same cut.
    """
    cam = torch.tensor([[[[1.0, 0.0], [1.0, 0.0]]]])
    for brightness in (1.0, 0.5, 0.25):
        dim = brightness * cam
        assert activation_mask(dim, 4, 0.25)[0, 0, 0].tolist() == [True, True, True, False]
        assert activation_mask(dim, 4, 0.5)[0, 0, 0].tolist() == [True, True, False, False]
        assert activation_mask(dim, 4, 0.8)[0, 0, 0].tolist() == [True, False, False, False]


def test_a_peak_between_cells_counts_as_up_sampling_leaves_it() -> None:
    """One cell of 3 x 3: up-sampled to 6 x 6 its peak is 0.75 * 0.75 = 0.5625. A cut of 0.5 keeps
    0.28125 and more: the four middle pixels, not those beside them (0.25 * 0.75 = 0.1875).
    """
    cam = torch.zeros(1, 1, 3, 3)
    cam[0, 0, 1, 1] = 1
    kept = activation_mask(cam, 6, 0.5)[0, 0]
    assert int(kept.sum()) == 4 and kept[2:4, 2:4].all()
    assert int(activation_mask(cam, 6, 0.3)[0, 0].sum()) == 12


def test_box_edges_are_max_plus_one() -> None:
    masks = torch.stack([grid("....", ".##.", ".##."), grid("....", "....", "....")])
    boxes = mask_boxes(masks)
    assert boxes[0].tolist() == [1, 1, 3, 3] and boxes[1].isnan().all()
    assert torch.equal(
        box_mask(mask_boxes(grid("....", ".##.", ".##.", "....")[None]), 4)[0],
        grid("....", ".##.", ".##.", "...."),
    )


def test_largest_component_then_the_hotter() -> None:
    two = grid("##..", "##..", "...#")[None]
    assert torch.equal(main_component(two, torch.zeros(1, 3, 4))[0], grid("##..", "##..", "...."))
    equal, heat = grid("#..#", "....", "....")[None], torch.zeros(1, 3, 4)
    heat[0, 0, 3] = 1
    assert torch.equal(main_component(equal, heat)[0], grid("...#", "....", "...."))
    assert torch.equal(main_component(two, heat, "union"), two)


def test_components_of_many_images_are_those_of_each_by_itself() -> None:
    """Images with no, one, many and equally large pieces, beside each other and touching its
    neighbour's; each against SciPy's labels of it alone.
    """
    numbers = torch.Generator().manual_seed(0)
    masks = torch.rand(40, 12, 12, generator=numbers) > torch.linspace(0, 1, 40)[:, None, None]
    heat = torch.rand(40, 12, 12, generator=numbers)
    ties = 0
    for mask, hot, kept in zip(masks, heat, main_component(masks, heat), strict=True):
        pieces, count = ndimage.label(mask.numpy())
        sizes = [(pieces == n + 1).sum() for n in range(count)]
        means = [hot.numpy()[pieces == n + 1].mean(dtype=float) for n in range(count)]
        best = max(range(count), key=lambda n: (sizes[n], means[n]), default=-1)
        ties += count > 1 and sizes.count(max(sizes)) > 1
        assert np.array_equal(kept.numpy(), (pieces == best + 1) & mask.numpy())
    assert ties > 5 and not main_component(masks[:0], heat[:0]).numel()


def test_jitter_is_bounded_and_keyed() -> None:
    boxes = torch.tensor([[10.0, 20, 30, 60]])
    moved = torch.cat([jitter(boxes, 64, 0.1, rng(0, "j", i)) for i in range(50)])
    assert (
        (moved - boxes).abs() <= torch.tensor([2.0, 4, 2, 4]) + 1e-5
    ).all() and moved.max() <= 64
    assert torch.equal(jitter(boxes, 64, 0.1, rng(0, "j", 1)), moved[1:2])
    whole = torch.tensor([[0.0, 0, 64, 64]])
    moved = torch.cat([jitter(whole, 64, 0.1, rng(0, "j", i)) for i in range(50)])
    assert moved.min() == 0 and moved.max() == 64, "never beyond the image"


def test_soft_dice_on_four_pixels() -> None:
    """p = .5 everywhere, one true pixel: 1 - (2 * .5 + 1) / (2 + 1 + 1) = .5. Both empty: 0."""
    mask = torch.tensor([[1.0, 0], [0, 0]])
    assert float(soft_dice(torch.full((2, 2), 0.5), mask)) == pytest.approx(0.5)
    assert float(soft_dice(torch.zeros(2, 2), torch.zeros(2, 2))) == 0


def test_focal_by_hand_and_unknown_left_out() -> None:
    """At logit 0: entropy ln 2, (1 - .5)^2 = .25; positive weight .25, negative .75: mean .5 * .25
    * ln 2.
    """
    logits = torch.zeros(1, 3)
    assert float(focal(logits, torch.tensor([[1, 0, -1]]))) == pytest.approx(
        0.5 * 0.25 * math.log(2)
    )
    assert float(focal(logits, torch.tensor([[-1, -1, -1]]))) == 0
    slope = torch.zeros(1, 2, requires_grad=True)
    focal(slope, torch.tensor([[1, -1]])).backward()
    grad = required(slope.grad)
    assert grad[0, 0] < 0 and grad[0, 1] == 0


def test_iou_of_three_masks() -> None:
    truth = torch.tensor([[[1.0, 1], [0, 0]]])
    logits = torch.tensor([[[[1.0, 1], [-1, -1]], [[1, -1], [-1, -1]], [[-1, -1], [1, 1]]]])
    assert overlap_iou(logits, truth).tolist() == [[1.0, 0.5, 0.0]]


def test_consistency_is_zero_at_agreement_and_has_a_gradient() -> None:
    logits = torch.tensor([[0.3, -2.0]], requires_grad=True)
    target = torch.tensor([[0.9, 0.2]])
    assert float(bernoulli_consistency(logits, torch.sigmoid(logits)).detach()) == pytest.approx(
        0, abs=1e-6
    )
    loss = bernoulli_consistency(logits, target)
    loss.backward()
    assert float(loss.detach()) > 0 and required(logits.grad).ne(0).all()


def test_resnet_38() -> None:
    """BasicBlocks [3, 4, 8, 3]: 36 convolutions in blocks, the stem and the head make 38; stride
    32; 23.6 M weights.
    """
    net = ResNet()
    convs = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size != (1, 1)]
    assert len(convs) + 1 == 38
    assert round(sum(weight.numel() for weight in net.parameters()) / 1e6, 1) == 23.6
    features, logits = net.eval()(torch.rand(1, 1, 64, 64))
    assert features.shape == (1, 512, 2, 2) and logits.shape == (1, 1)


def test_sigmoid_ramp_by_hand() -> None:
    """exp(-5), exp(-5 / 4) and 1."""
    ramp = [sigmoid_ramp(Step(index, 10)) for index in (0, 5, 10)]
    assert ramp == pytest.approx([0.006738, 0.286505, 1], abs=1e-6)


def test_ramps() -> None:
    assert [linear_ramp(Step(i, 100), 0.2) for i in (0, 10, 20, 99)] == [0, 0.5, 1, 1]
    assert linear_ramp(Step(0, 100), 0.0) == 1
    assert warm_cosine(Step(0, 100), 10) == pytest.approx(0.1) and warm_cosine(
        Step(50, 100), 10
    ) == pytest.approx(0.5)


def test_a_drawn_box_covers_parts_of_pixels() -> None:
    drawn = rasterise_boxes(torch.tensor([[1.5, 0.0, 3.0, 1.25], [float("nan")] * 4]), 4)
    assert drawn[0, 0].tolist() == [[0, 0.5, 1, 0], [0, 0.125, 0.25, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert float(drawn[0].sum()) == 1.5 * 1.25 and not drawn[1].any()


def test_drawn_points_are_discs_with_a_sign() -> None:
    drawn = rasterise_points(torch.tensor([[[2.5, 2.5], [6.5, 6.5]]]), torch.tensor([[1, 0]]), 9)[
        0, 0
    ]
    assert float(drawn[2, 2]) == 1 and float(drawn[6, 6]) == -1 and float(drawn[0, 8]) == 0
    assert (
        int((drawn == 1).sum()) == int((drawn == -1).sum()) == 9
    )  # distance 1.5 reaches all eight neighbours


def test_attention_by_hand() -> None:
    """One channel on two cells, 0 and ln 4: four times as much on the second; the peak is 1."""
    features = torch.tensor([0.0, math.log(4)]).reshape(1, 1, 1, 2)
    assert torch.allclose(
        class_attention(features, torch.ones(1, 1)).flatten(), torch.tensor([0.25, 1.0])
    )
    assert class_attention(torch.full((1, 1, 2, 2), math.nan), torch.ones(1, 1)).max() == 0


def test_attention_pooling_by_hand() -> None:
    """Attention logits of 0 and ln 3 weigh 1/4 and 3/4: values of 4 and 8 give 7."""
    attention = torch.tensor([0.0, math.log(3)]).view(1, 1, 1, 2)
    value = torch.tensor([4.0, 8.0]).view(1, 1, 1, 2)
    assert float(attention_pool(attention, value)) == pytest.approx(7, abs=1e-5)


def test_the_guide_is_the_cross_entropy_of_two_distributions() -> None:
    """A structure in the right half of a slice; cells that look 1 : 3 cost ln(4/3), and a constant
    on all cells nothing.
    """
    features = torch.tensor([0.0, math.log(3)]).reshape(1, 1, 1, 2)
    mask = torch.zeros(1, 2, 4, dtype=torch.long)
    mask[:, :, 2:] = 1
    present = torch.tensor([[1]])
    loss = attention_guide(features, torch.ones(1, 1), mask, present)
    assert float(loss) == pytest.approx(math.log(4 / 3), abs=1e-6)
    assert float(attention_guide(features + 5, torch.ones(1, 1), mask, present)) == pytest.approx(
        float(loss), abs=1e-5
    )


def test_the_guide_lets_the_classifier_learn_where_and_the_tag_still_be_answered() -> None:
    """Trained on both at once, the map lies on the structure and the mean logit says that it is
    there.
    """
    torch.manual_seed(0)
    features = torch.randn(1, 6, 4, 4, requires_grad=True)
    head = torch.nn.Linear(6, 1)
    mask = torch.zeros(1, 16, 16, dtype=torch.long)
    mask[:, 4:8, 8:12] = 1
    optimiser = torch.optim.Adam([features, *head.parameters()], 0.05)
    for _ in range(150):
        guide = attention_guide(features, head.weight, mask, torch.tensor([[1]]))
        loss = guide + torch.nn.functional.softplus(-head(features.mean((2, 3)))).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    heat = class_attention(features, head.weight)[0, 0]
    assert heat[1, 2] == 1 and (heat > 0.2).sum() == 1 and head(features.mean((2, 3))).item() > 2
