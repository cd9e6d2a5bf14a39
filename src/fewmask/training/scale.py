"""What float16 needs: losses are multiplied by a large number before the backward pass, since small
gradients would be zeros, and gradients divided by it.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

_PATIENCE = 20
"""Steps in a row that may be left out: the number has fallen from 65,536 to below 1 by then."""


class LossScale:
    """The number, halved where gradients are not finite (that step is left out) and doubled after
    2,000 steps in which they were; it stays on the device.
    """

    def __init__(self, device: torch.device) -> None:
        """Begins at 65,536."""
        self._scaler = torch.amp.GradScaler(device.type)
        self._left_out = torch.zeros((), device=device)

    def multiply(self, loss: Tensor) -> Tensor:
        """The loss whose gradients are asked for."""
        scaled: Tensor = self._scaler.scale(loss)
        return scaled

    def divide(self, optimiser: torch.optim.Optimizer) -> None:
        """Gradients as they are without the number."""
        self._scaler.unscale_(optimiser)

    def learn(self, finite: Tensor) -> Tensor:
        """Adapt after a backward pass whose gradients are `finite` or not; False where too many
        steps in a row were left out for the number to be what is wrong.
        """
        self._scaler.update()
        self._left_out = torch.where(finite, 0.0, self._left_out + 1)
        return self._left_out < _PATIENCE

    def flatten(self) -> dict[str, Tensor]:
        """What a state keeps. Waits for the device."""
        state = self._scaler.state_dict()
        return {
            "scale": torch.tensor(state["scale"], dtype=torch.float64),
            "since": torch.tensor(state["_growth_tracker"]),
            "left_out": self._left_out.cpu(),
        }

    def restore(self, flat: Mapping[str, Tensor]) -> None:
        """Go on from what `flatten` gave."""
        state = self._scaler.state_dict()
        state |= {"scale": float(flat["scale"]), "_growth_tracker": int(flat["since"])}
        self._scaler.load_state_dict(state)
        self._left_out = flat["left_out"].to(self._left_out)
