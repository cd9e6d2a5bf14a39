"""What the V-Net of `cfr` learns from besides SAM's labels."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from fewmask.blocks.semi import CrossPseudo, MagicCubes, MeanTeacher, SelfTraining
from fewmask.blocks.semi.bcp import CopyPaste
from fewmask.core.batch import Batch, Labelled, Step, Task, Unlabelled
from fewmask.core.errors import BadConfig
from fewmask.methods import build, config_from
from fewmask.methods._method import Method

TASK = Task(("left atrium",), 48)


def make(term: str, patch: tuple[int, int, int] = (48, 48, 48)) -> Method:
    return build(
        "cfr", config_from("cfr", {"patch": list(patch), "filters": 2, "term": term}), TASK
    )


def settings(term: torch.nn.Module) -> dict[str, Any]:
    """What a term was made with."""
    return {name: value for name, value in vars(term).items() if not isinstance(value, dict)}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mean_teacher", MeanTeacher),
        ("ua_mt", MeanTeacher),
        ("ac_mt", MeanTeacher),
        ("cps", CrossPseudo),
        ("bcp", CopyPaste),
        ("self_training", SelfTraining),
        ("magicnet", MagicCubes),
    ],
)
def test_every_method_of_the_shelf_is_a_term_with_its_own_settings(name: str, kind: type) -> None:
    """The same term as the method by itself has."""
    alone = build(name, config_from(name, {"patch": [48, 48, 48], "filters": 2}), TASK)
    with_sam = make(name)
    assert type(with_sam.term) is type(alone.term) is kind
    own = settings(alone.get_submodule("term"))
    assert "_weight" in own and settings(with_sam.get_submodule("term")) == own


def test_cubes_are_learned_beside_sam_s_labels() -> None:
    image = torch.rand(2, 1, 48, 48, 48, generator=torch.Generator().manual_seed(0))
    mask = (image[:, 0] > 0.5).long()
    batch = Batch(
        Labelled(image, mask, torch.ones(2, 1, dtype=torch.long)),
        None,
        Unlabelled(image, pseudo=mask),
    )
    losses = make("magicnet").losses(batch, Step(5, 10))
    assert set(losses) == {"supervised", "mixed", "pseudo", "place", "sam"} and all(
        loss.requires_grad for loss in losses.values()
    )


def test_a_patch_whose_cubes_share_cells_at_the_bottom_is_refused() -> None:
    """48 voxels are three cells of 16: one and a half for each of two cubes. In 32 voxels three
    cubes have two cells.
    """
    with pytest.raises(BadConfig, match="3 cubes per side"):
        make("magicnet", (32, 48, 48))
    config = config_from("magicnet", {"patch": [32, 48, 32], "filters": 2, "cubes": 2})
    with pytest.raises(BadConfig, match="2 cubes per side") as refused:
        build("magicnet", config, TASK)
    assert refused.value.fix == "use sides that are multiples of 32, as in `patch=(32,32,32)`"
    build("magicnet", replace(config, patch=(32, 32, 32)), TASK)
