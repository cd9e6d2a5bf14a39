"""The 2D U-Net that baselines use: MONAI's residual U-Net, instance norm, about 3 M parameters."""

from torch import nn


def build_unet(outputs: int, channels: tuple[int, ...]) -> nn.Module:
    """One grey channel in, `outputs` logits out, one halving per entry of `channels` after the
    first.
    """
    # Deferred: MONAI takes longer to import than torch, and other methods do without.
    from monai.networks.nets import UNet

    result: nn.Module = UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=outputs,
        channels=channels,
        strides=(2,) * (len(channels) - 1),
        num_res_units=2,
        norm="instance",
    )
    return result
