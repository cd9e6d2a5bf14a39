"""One rule for all methods with a SAM: pretrained ViTs keep what they know, everything else learns
as a whole.
"""

import pytest
import torch

from fewmask.blocks.sam import SIZES, Sam, build_sam
from fewmask.blocks.sam.tuning import Tune, tune
from fewmask.core.batch import Task
from fewmask.methods import build, config_from
from tests.blocks.test_official import SMALL

METHODS = ["sam_mix", "ada_sam", "sam_pp", "canvas_sam"]


def learns(sam: Sam) -> Tune:
    """Told from the encoder: adapters are new weights, and the only ones that learn beside the
    decoder's.
    """
    decoder = sam.get_submodule("mask_decoder")
    assert all(weight.requires_grad for weight in decoder.parameters())
    names = {name for name, weight in sam.image_encoder.named_parameters() if weight.requires_grad}
    if names and all(name.endswith(("down_q", "down_v", "up_q", "up_v")) for name in names):
        return "lora"
    assert not names or names == set(dict(sam.image_encoder.named_parameters()))
    return "all" if names else "decoder"


@pytest.mark.parametrize("how", ["all", "lora", "decoder"])
def test_what_is_asked_for_is_done_at_any_size(how: Tune) -> None:
    for size in (SMALL, SIZES["tiny"]):
        sam = build_sam(size, 64)
        tune(sam, how, 2, "auto")
        assert learns(sam) == how


@pytest.mark.parametrize("name", METHODS)
def test_left_alone_a_pretrained_vit_gets_adapters_and_all_else_learns_whole(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SIZES, SMALL.name, SMALL)
    for settings, expected in (
        ({"encoder": "two"}, "lora"),
        ({"encoder": "two", "weights": "mine"}, "lora"),
        ({"encoder": "two", "weights": "none"}, "all"),
        ({"encoder": "two", "tune": "decoder"}, "decoder"),
        ({"encoder": "tiny"}, "all"),
        ({"encoder": "compact"}, "all"),
    ):
        with torch.device("meta"):
            method = build(name, config_from(name, settings), Task(("liver",), 64))
        assert isinstance(method.sam, Sam) and learns(method.sam) == expected, settings
