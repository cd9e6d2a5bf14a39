"""EfficientNet-Lite0: shapes, padding and folded batch norms, by hand."""

import torch
from torch import nn

from fewmask.blocks.nets.efficientnet import (
    CHANNELS,
    EfficientNetLite0,
    SameConv,
    fold_imagenet,
)
from fewmask.blocks.nets.pyramid_unet import PyramidUNet


def published() -> dict[str, torch.Tensor]:
    """Random tensors under the published names."""
    torch.manual_seed(0)
    own = EfficientNetLite0().state_dict()
    parts = {"stem": ("_conv_stem", "_bn0")}
    for index in range(16):
        old, new = f"_blocks.{index}.", f"blocks.{index}."
        parts[f"{new}expand"] = (f"{old}_expand_conv", f"{old}_bn0")
        parts[f"{new}depthwise"] = (f"{old}_depthwise_conv", f"{old}_bn1")
        parts[f"{new}project"] = (f"{old}_project_conv", f"{old}_bn2")
    found = {}
    for name, (conv, norm) in parts.items():
        if f"{name}.weight" not in own:
            continue  # the first block does not widen
        weight = own[f"{name}.weight"]
        found[f"{conv}.weight"] = weight.repeat(1, 3, 1, 1) / 3 if name == "stem" else weight
        channels = len(weight)
        found[f"{norm}.weight"] = torch.rand(channels) + 0.5
        found[f"{norm}.bias"] = torch.randn(channels)
        found[f"{norm}.running_mean"] = torch.randn(channels)
        found[f"{norm}.running_var"] = torch.rand(channels) + 0.5
    return found


def test_levels_halve_the_side_five_times() -> None:
    levels = EfficientNetLite0()(torch.rand(2, 1, 64, 96))
    assert [level.shape[1] for level in levels] == list(CHANNELS)
    assert [tuple(level.shape[2:]) for level in levels] == [
        (32, 48), (16, 24), (8, 12), (4, 6), (2, 3),
    ]  # fmt: skip


def test_padding_of_an_even_side_goes_below_and_right() -> None:
    """Stride 2 over 4 ones: TensorFlow's windows of 3 begin at 0 and 2, so the last sees 2 ones."""
    conv = SameConv(1, 1, 3, stride=2)
    nn.init.ones_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    assert conv(torch.ones(1, 1, 4, 4))[0, 0].tolist() == [[9, 6], [6, 4]]


def test_frozen_kernels_let_gradients_through() -> None:
    """Depthwise weights stay; what lies before them still learns."""
    net = EfficientNetLite0()
    net.freeze_kernels()
    sum(level.sum() for level in net(torch.rand(1, 1, 32, 32))).backward()
    without = {name for name, weight in net.named_parameters() if weight.grad is None}
    assert without == {
        f"blocks.{index}.depthwise.{kind}" for index in range(16) for kind in ("weight", "bias")
    }
    assert net.stem.weight.grad is not None and bool(net.stem.weight.grad.any())


def test_a_depthwise_step_is_computed_in_float32() -> None:
    """In bfloat16, 257 is 256: the stride-2 window of nine ones over 257 would be 2304."""
    conv = SameConv(2, 2, 3, stride=2, groups=2)
    nn.init.ones_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    with torch.autocast("cpu", torch.bfloat16):
        assert conv(torch.full((1, 2, 4, 4), 257.0))[0, :, 0, 0].tolist() == [2313, 2313]


@torch.no_grad()
def test_a_folded_norm_is_the_norm() -> None:
    """The stem on a grey image, against convolution, then batch norm in evaluation."""
    tensors = published()
    net = EfficientNetLite0()
    net.load_state_dict(fold_imagenet(tensors))
    image = torch.rand(1, 1, 8, 8)
    norm = nn.BatchNorm2d(32, eps=1e-3).eval()
    kinds = ("weight", "bias", "running_mean", "running_var")
    norm.load_state_dict({kind: tensors[f"_bn0.{kind}"] for kind in kinds}, strict=False)
    padded = nn.functional.pad(image.repeat(1, 3, 1, 1), (0, 1, 0, 1))
    wanted = norm(nn.functional.conv2d(padded, tensors["_conv_stem.weight"], stride=2))
    torch.testing.assert_close(net.stem(image), wanted, atol=1e-5, rtol=1e-5)


def test_the_u_net_gives_masks_of_any_side_and_presence() -> None:
    logits, present = PyramidUNet(outputs=3, structures=2)(torch.rand(2, 1, 50, 73))
    assert logits.shape == (2, 3, 50, 73) and present.shape == (2, 2)


def test_at_random_features_neither_fade_nor_grow() -> None:
    torch.manual_seed(0)
    encoder, images = EfficientNetLite0(), torch.rand(2, 1, 64, 64)

    def varied() -> list[float]:
        """How much each level's features vary over places and images."""
        with torch.no_grad():
            return [float(level.std((0, 2, 3)).mean()) for level in encoder(images)]

    assert varied()[-1] < 0.01  # torch's own start
    encoder.start_at_random()
    assert all(0.1 < spread < 10 for spread in varied())


def test_of_many_structures_each_begins_rare() -> None:
    """log(0.935 / 0.005) for the background of thirteen: each structure has a share of 0.005."""
    many, one = (PyramidUNet(outputs=k + 1, structures=k).state_dict() for k in (13, 1))
    assert torch.allclose(torch.softmax(many["last.bias"], 0)[1:], torch.full((13,), 0.005))
    assert one["last.bias"][0] < 1  # as torch begins
