"""A frozen image encoder run by OpenVINO: the same call, the same numbers to rounding, faster on
CPUs (docs/results/cost.md).
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn

from fewmask.blocks.sam.conv_decoder import Encoded
from fewmask.blocks.sam.model import Sam
from fewmask.core.errors import BadConfig


class _Plain(nn.Module):
    """The encoder as a function of one tensor."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pixel_values: Tensor) -> Tensor:
        result: Tensor = self.encoder(pixel_values).last_hidden_state
        return result


@contextmanager
def _quiet() -> Iterator[None]:
    """Tracing warns of branches on shapes; the side is fixed here, so they are constants."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


class OpenVinoEncoder(nn.Module):
    """Stands in for an image encoder; converted once, for any batch size at one image side."""

    def __init__(self, encoder: nn.Module, side: int, bf16: bool) -> None:
        """Convert and compile for this machine's CPU; takes seconds. Raises `BadConfig` without the
        package.
        """
        super().__init__()
        try:
            import openvino
        except ImportError as error:
            raise BadConfig(
                "OpenVINO is not installed",
                fix="pip install 'fewmask[openvino]'",
                code="F21",
            ) from error
        example = torch.zeros(1, 3, side, side)
        with torch.no_grad(), _quiet():
            model = openvino.convert_model(
                _Plain(encoder).eval(), example_input=example, input=[-1, 3, side, side]
            )
        hints = {
            "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        self._compiled = openvino.compile_model(model, "CPU", hints)

    def forward(self, pixel_values: Float[Tensor, "b 3 s s"]) -> Encoded:
        """Embeddings, without gradient."""
        return Encoded(
            torch.from_numpy(self._compiled(pixel_values.detach().float().numpy())[0].copy())
        )


def use_openvino(sam: Sam, bf16: bool) -> None:
    """Swap the encoder of a SAM that only predicts from now on."""
    sam.image_encoder = OpenVinoEncoder(sam.image_encoder.float().cpu(), sam.image_size, bf16)
