"""What is special about `sam_mix`: with attention pooling outlines teach where to look, tags what
is there.
"""

from dataclasses import replace
from typing import Literal

import pytest
import torch

from fewmask.core.batch import Step, Task
from fewmask.methods.sam_mix import Config, SamMix, build
from fewmask.testing import phantom_batch

SIDE = 64
SMALL = Config(encoder="tiny", classifier_width=4, classifier_side=64)


def make(config: Config = SMALL) -> SamMix:
    torch.manual_seed(0)
    return build(config, Task(("liver", "spleen"), SIDE))


@pytest.mark.parametrize("guide_weight", [0.5, 0.0])
def test_tags_teach_where_to_look_only_where_no_outline_does(guide_weight: float) -> None:
    method = make(replace(SMALL, guide_weight=guide_weight, pool="attention"))
    _, logits = method.classify(torch.randn(4, 1, SIDE, SIDE))
    logits.sum().backward()
    assert (
        method.finds is not None
        and method.finds.weight.grad is not None
        and method.finds.weight.grad.any()
    )
    attention = method.classifier.head.weight.grad
    assert (attention is not None and bool(attention.any())) == (guide_weight == 0)


@pytest.mark.parametrize("pool", ["attention", "average"])
def test_outlined_slices_count_as_tagged_only_with_the_average(
    pool: Literal["attention", "average"],
) -> None:
    """All of them hold the structure: counted, they say that every slice does."""
    method = make(replace(SMALL, pool=pool)).eval()
    batch = phantom_batch(method)
    assert batch.labelled is not None and batch.weak is not None
    loss = method.losses(batch, Step(0, 10, 0))["classify"].item()
    batch.labelled.present.copy_(1 - batch.labelled.present.clamp_min(0))
    again = method.losses(batch, Step(0, 10, 0))["classify"].item()
    assert (loss == again) == (pool == "attention")
