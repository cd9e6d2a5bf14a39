"""Views move an image and their answers back."""

import torch

from fewmask.blocks.views import MOST_VIEWS, mean_over_views


def bright(image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """A network that calls bright pixels the structure, and its mean grey level P(present)."""
    return torch.cat([1 - image, image], 1), image.mean((1, 2, 3))[:, None]


def square(side: int = 64) -> torch.Tensor:
    image = torch.zeros(1, 1, side, side)
    image[:, :, 20:44, 24:40] = 1
    return image


def test_one_view_is_the_plain_answer() -> None:
    image = square()
    probs, present = mean_over_views(image, bright, 1)
    assert torch.equal(probs[:, 1:], image)
    assert torch.equal(present, image.mean().view(1, 1))


def test_answers_are_moved_back_to_where_they_belong() -> None:
    """Each move is undone: inside the square and far from it the mean of five stays 1 and 0."""
    probs, _ = mean_over_views(square(), bright, MOST_VIEWS)
    assert torch.allclose(probs.sum(1), torch.ones(1, 64, 64), atol=1e-5)
    assert float(probs[0, 1, 24:40, 27:37].min()) > 0.99
    assert float(probs[0, 1, :16].max()) < 0.01
    edge = probs[0, 1, 30, 20:28]  # from outside to inside, through the left edge at 24
    assert float(edge[0]) < 0.01 and float(edge[-1]) > 0.99


def test_beyond_the_border_the_background_has_the_rest() -> None:
    """An image that is structure everywhere: a view moved by 2 % of the side sees less of it."""
    probs, _ = mean_over_views(torch.ones(1, 1, 64, 64), bright, MOST_VIEWS)
    assert torch.allclose(probs.sum(1), torch.ones(1, 64, 64), atol=1e-5)
    assert float(probs[0, 1, 32, 32]) > 0.99 and float(probs[0, 1, 0, 0]) < 1
