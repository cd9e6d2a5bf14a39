"""EfficientNet-Lite0 (Tan and Le 2019; the Lite variant has no squeeze-and-excite and ReLU6 only),
as a feature pyramid for one-channel images. ImageNet weights come from a package of the index.

Batch norms keep ImageNet's statistics for ever, so they are folded into their convolutions: the
same function in half the passes over memory, and nothing that depends on the batch.
"""

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

_EPS = 1e-3
_STAGES = (  # expansion, channels, blocks, stride, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
_ENDS = (0, 2, 4, 10, 15)
"""Blocks whose output is a level of the pyramid: the last ones at strides 2, 4, 8, 16 and 32."""
CHANNELS = (16, 24, 40, 112, 320)


class SameConv(nn.Conv2d):
    """A convolution with TensorFlow's "same" padding: an odd row or column goes below and right."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups)
        self.even = stride == 1
        if self.even:
            self.padding = (kernel // 2, kernel // 2)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """The convolution; sides are divided by the stride, rounded up."""
        if not self.even:
            kernel, stride = self.kernel_size[0], self.stride[0]
            pads = [kernel - stride + -n % stride for n in x.shape[-2:]]
            (top, left), (h, w) = (pads[0] // 2, pads[1] // 2), pads
            x = functional.pad(x, (left, w - left, top, h - top))
            if self.groups > 1 and x.device.type == "cpu":
                # A CPU has no quick gradient of these in bfloat16: forty times slower.
                with torch.autocast("cpu", enabled=False):
                    return super().forward(x.float())
        return super().forward(x)


class InvertedResidual(nn.Module):
    """Widen by 1 x 1, convolve each channel, narrow by 1 x 1; added to an input of its shape."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        wide = inputs * expansion
        self.expand = SameConv(inputs, wide, 1) if expansion > 1 else None
        self.depthwise = SameConv(wide, wide, kernel, stride, groups=wide)
        self.project = SameConv(wide, outputs, 1)
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b d i j"]:
        """The block's output."""
        wide = x if self.expand is None else functional.relu6(self.expand(x))
        y: Tensor = self.project(functional.relu6(self.depthwise(wide)))
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """Five levels of features, at strides 2 to 32, with `CHANNELS` channels; 3.0 M weights."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = SameConv(1, 32, 3, stride=2)
        blocks: list[InvertedResidual] = []
        inputs = 32
        for expansion, outputs, count, stride, kernel in _STAGES:
            for index in range(count):
                step = stride if index == 0 else 1
                blocks.append(InvertedResidual(inputs, outputs, expansion, kernel, step))
                inputs = outputs
        self.blocks = nn.ModuleList(blocks)

    def start_at_random(self) -> None:
        """Weights at random, so large that features neither fade nor grow from layer to layer (He
        et al. 2015): without batch norms torch's own start fades to nothing, and never learns.
        """
        for name, part in self.named_modules():
            if isinstance(part, SameConv):
                gain = 1.0 if name.endswith("project") else 2**0.5  # half of a ReLU's input is lost
                nn.init.normal_(part.weight, std=gain / part.weight[0].numel() ** 0.5)
                nn.init.zeros_(part.bias)  # type: ignore[arg-type]

    def freeze_kernels(self) -> None:
        """Depthwise convolutions keep their weights and biases (one in fifteen of all): on a CPU
        their gradients take as long as everything else.
        """
        for block in self.blocks:
            block.depthwise.requires_grad_(False)

    def forward(self, image: Float[Tensor, "b 1 h w"]) -> list[Tensor]:
        """Features of images in [0, 1], finest first: (b, CHANNELS[n], h / 2^(n+1), ...)."""
        x = functional.relu6(self.stem((255 * image - 127) / 128))
        levels = []
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index in _ENDS:
                levels.append(x)
        return levels


def fold_imagenet(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published tensors as ours: batch norms folded in, the classifier left out, and the three
    colours added up, since a grey image has the same value in each.

    Raises `KeyError` for a tensor that is not there.
    """
    folded = _fold(tensors, "_conv_stem.weight", "_bn0", "stem")
    folded["stem.weight"] = folded["stem.weight"].sum(1, keepdim=True)
    count = sum(stage[2] for stage in _STAGES)
    for index in range(count):
        old, new = f"_blocks.{index}.", f"blocks.{index}."
        if index:
            folded |= _fold(tensors, f"{old}_expand_conv.weight", f"{old}_bn0", f"{new}expand")
        folded |= _fold(tensors, f"{old}_depthwise_conv.weight", f"{old}_bn1", f"{new}depthwise")
        folded |= _fold(tensors, f"{old}_project_conv.weight", f"{old}_bn2", f"{new}project")
    return folded


def _fold(tensors: Mapping[str, Tensor], weight: str, norm: str, name: str) -> dict[str, Tensor]:
    """(w x - mean) / std * scale + shift = (w scale / std) x + (shift - mean scale / std)."""
    scale = tensors[f"{norm}.weight"] / (tensors[f"{norm}.running_var"] + _EPS).sqrt()
    shift = tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale
    return {
        f"{name}.weight": tensors[weight] * scale[:, None, None, None],
        f"{name}.bias": shift,
    }
