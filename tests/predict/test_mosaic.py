"""Answers of several windows as one, by hand: slices of 4 x 6 pixels under two windows of 4, two
columns of which both see.
"""

import numpy as np
import torch

from fewmask.core.batch import Probabilities
from fewmask.core.placement import Placement
from fewmask.core.recipe import Recipe
from fewmask.predict.mosaic import blend, join

NAN = float("nan")
WIDE = Placement.of((1, 4, 6), (5.0, 1.0, 1.0), Recipe("ct", "ct", spacing_mm=1.0, size=4))


def flat(level: float) -> torch.Tensor:
    """A window of one slice that says `level` for its only structure, everywhere."""
    return torch.tensor([1 - level, level]).view(1, 2, 1, 1).expand(1, 2, 4, 4)


def answer(level: float, box: list[float], present: float, silent: int) -> Probabilities:
    heat = torch.ones(1, 1, 2, 2)
    boxes = torch.tensor([[box]], dtype=torch.float32)
    return Probabilities(
        flat(level), torch.tensor([[present]]), boxes, heat, torch.tensor([[silent]])
    )


def test_weights_fall_to_the_edges() -> None:
    """Weights 1 2 2 1 along a window: in columns 2 and 3 the left one has 2 and 1, the right one 1
    and 2.
    """
    assert [window.left for window in WIDE.windows] == [0, 2]
    blended = blend([flat(0.0), flat(0.9)], WIDE)
    assert blended.shape == (1, 2, 4, 6)
    expected = np.broadcast_to([0, 0, 0.3, 0.6, 0.9, 0.9], (4, 6))
    np.testing.assert_allclose(blended[0, 1].numpy(), expected, atol=1e-6)
    np.testing.assert_allclose(blended.sum(1).numpy(), 1, atol=1e-6)


def test_what_all_windows_say_is_said() -> None:
    both = blend([flat(0.25), flat(0.25)], WIDE)
    np.testing.assert_allclose(both[0, 1].numpy(), 0.25, atol=1e-6)


def test_one_window_is_its_own_answer() -> None:
    alone = Placement.of((1, 4, 5), (5.0, 1.0, 1.0), Recipe("ct", "ct", spacing_mm=1.0, size=4))
    one = answer(0.5, [NAN] * 4, 0.2, 0)
    assert join([one], alone) is one


def test_the_surest_window_speaks_and_boxes_are_joined() -> None:
    """The right window begins at column 2, so its box 0..1 lies at 2..3."""
    left, right = answer(1.0, [1, 1, 3, 3], 0.4, 0), answer(0.0, [0, 2, 1, 4], 0.8, 0)
    joined = join([left, right], WIDE)
    assert joined.present is not None and joined.boxes is not None and joined.heat is not None
    assert joined.present.tolist() == [[np.float32(0.8)]]
    assert joined.boxes.tolist() == [[[1, 1, 3, 4]]]
    # Cells of 2 x 2 pixels: the left window's heat counts half, the middle cell averages 2 : 1 and
    # 1 : 2.
    np.testing.assert_allclose(joined.heat[0, 0], [[0.5, 0.75, 1.0]] * 2, atol=1e-6)


def test_a_prompt_is_missing_only_if_no_window_has_one() -> None:
    none = [NAN] * 4
    for right_box, expected in (([0.0, 0, 1, 1], 0), (none, 1)):
        joined = join([answer(0.0, none, 0.9, 1), answer(0.0, right_box, 0.9, 0)], WIDE)
        assert joined.no_prompt is not None and joined.boxes is not None
        assert joined.no_prompt.tolist() == [[expected]]
        assert joined.boxes.isnan().all() == bool(expected)


def test_a_method_without_prompts_has_none_joined() -> None:
    joined = join([Probabilities(flat(0.1)), Probabilities(flat(0.1))], WIDE)
    assert (joined.present, joined.boxes, joined.heat, joined.no_prompt) == (None,) * 4
