"""What every method of the package keeps (docs/design.md, "A method"); a new file in `methods/`
is tested without asking.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from fewmask.methods import config_class, find_method, is_external, names, training_settings
from fewmask.testing import CHECKS, Make, check_inference_only, check_learns, maker

VOLUMES = {"patch": [16, 32, 32], "filters": 4, "dropout": 0.1, "lr": 5e-3}
SMALL: dict[str, dict[str, Any]] = {
    "sam_mix": {"encoder": "tiny", "classifier_width": 8, "lr": 2e-3},
    "ada_sam": {
        "encoder": "tiny",
        "lr": 2e-3,
        "feedback_side": 4,
        "feedback_width": 16,
        "feedback_heads": 2,
    },
    "multimix": {"channels": [8, 16, 16], "lr": 5e-3, "pseudo_confidence": 0.0},
    "sam_pp": {"encoder": "tiny", "channels": [8, 16, 16], "classifier_width": 8, "lr": 2e-3},
    "trans_unet": {
        "channels": [8, 16, 16],
        "width": 16,
        "layers": 2,
        "heads": 2,
        "classifier_width": 8,
        "lr": 5e-3,
    },
    "unet": {"channels": [8, 16, 16], "classifier_width": 8, "lr": 5e-3},
    "lite_unet": {"labelled": 2, "weak": 4, "lr": 4e-3},
    "noisy_student": {"labelled": 2, "weak": 4, "lr": 4e-3},
    **dict.fromkeys(("vnet", "mean_teacher", "ac_mt", "cps", "self_training", "bcp"), VOLUMES),
    "ua_mt": {
        **VOLUMES,
        "dropout": 0.0,
        "warmup": 1,
    },  # it counts where it is sure: nowhere of three classes while it is fresh
    "magicnet": {**VOLUMES, "patch": [32, 32, 32], "cubes": 2},
    "canvas_sam": {
        "encoder": "tiny",
        "patch": [16, 32, 32],
        "canvas": 128,
        "lr": 2e-3,
        "bezier": "off",
    },
    "cfr": VOLUMES,
    "sfr_plus": VOLUMES,
}
NETWORKS = [name for name in names() if not is_external(name)]
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *[(name, {}) for name in NETWORKS],
    ("sam_mix", {"tune": "lora", "choose": "score", "dense_prompt": True}),
    ("sam_mix", {"pool": "attention"}),
    ("sam_mix", {"tune": "decoder", "component": "union"}),
    (
        "sam_mix",
        {
            "pseudo_weight": 0.25,
            "consistency_weight": 0.01,
            "pseudo_confidence": 0.0,
            "dense_prompt": True,
        },
    ),
    ("ada_sam", {"feedback": False}),
    ("ada_sam", {"feedback_query": "features"}),
    ("ada_sam", {"tune": "lora", "surrogate_share": 0.5, "component": "largest"}),
    ("ada_sam", {"head": "pooled", "guide_weight": 0.0}),
    ("sam_pp", {"coarse": "cam"}),
    ("sam_pp", {"tune": "lora"}),
    ("sam_pp", {"presence": "slice"}),
    ("trans_unet", {"presence": "slice"}),
    ("unet", {"tags_as_empty": True, "presence": "scan"}),
    ("vnet", {"optimiser": "sgd", "lr": 0.05}),
    ("vnet", {"norm": "batch"}),
    ("vnet", {"norm": "batch", "average": 0.9}),
    ("mean_teacher", {"labelled_too": False}),
    ("mean_teacher", {"joint_pass": True, "norm": "batch"}),
    ("canvas_sam", {"montage": False, "tune": "lora", "bezier": "as_released"}),
    ("canvas_sam", {"canvas": 64, "tune": "decoder", "pseudo_weight": 1.0, "bezier": "scaled"}),
    ("cfr", {"term": "none"}),
    ("cfr", {"term": "bcp"}),
    ("cfr", {"term": "cps"}),
    ("cfr", {"term": "ac_mt"}),
    ("cfr", {"term": "self_training"}),
    ("cfr", {"term": "ua_mt", "dropout": 0.0, "warmup": 1}),
    ("cfr", {"term": "magicnet", "cubes": 2, "patch": [32, 32, 32]}),
]
SLOW = {"ua_mt", "cps", "bcp", "magicnet", "sfr_plus"} | {
    "multimix",
    "ada_sam",
    "trans_unet",
    "sam_pp",
    "sam_mix",
    "canvas_sam",
    "mean_teacher",
    "ac_mt",
    "self_training",
    "noisy_student",
}
"""More than five seconds to overfit, or (mean teachers) what `cfr` does too."""
STEPS = {"bcp": 130, "lite_unet": 50, "noisy_student": 50}
"""It sees pasted boxes only, and is asked about whole patches."""


DOUBLE = {"cps", "ac_mt", "self_training", "ua_mt", "magicnet"}
"""Terms of `cfr` that the fast suite checks as methods of their own; around `bcp`, its own term and
none it checks `cfr` too.
"""


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
@pytest.mark.parametrize(
    "variant",
    [
        pytest.param(one, marks=[pytest.mark.slow] * (one[1].get("term") in DOUBLE))
        for one in VARIANTS
    ],
    ids=lambda v: "-".join([v[0], *v[1]]),
)
def test_contract(variant: tuple[str, dict[str, Any]], check: Callable[[Make], None]) -> None:
    name, settings = variant
    check(maker(name, {**SMALL.get(name, {}), **settings}))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in NETWORKS]
)
def test_it_overfits_one_phantom(name: str) -> None:
    settings = dict(SMALL.get(name, {}))
    if "warmup" in {field.name for field in fields(config_class(name))}:
        settings["warmup"] = 5
    steps = STEPS.get(name, 70 if "patch" in settings else 180)
    check_learns(name, settings, steps)


@pytest.mark.parametrize("name", NETWORKS)
def test_what_is_said_to_matter_only_when_a_scan_is_predicted_teaches_nothing(name: str) -> None:
    known = {field.name for field in fields(config_class(name))}
    late = find_method(name).inference_only
    own_classifier = {"sam_mix", "ada_sam", "multimix", "lite_unet", "noisy_student"}
    asked = {"presence_cost", "views"} | ({"presence"} if name in own_classifier else set())
    assert set(late) == known & asked
    assert set(training_settings(name, dict.fromkeys(known))) == known - set(late)
    check_inference_only(name, SMALL.get(name, {}))
