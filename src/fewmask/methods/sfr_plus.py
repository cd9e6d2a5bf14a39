"""`sfr_plus`: CFR whose two networks take turns: scans that the V-Net is sure of teach SAM, SAM
labels the others (our reading).

The paper describes this in one paragraph and no code exists; what is ours is said in
docs/methods/sfr_plus.md.
"""

from dataclasses import dataclass, replace

from fewmask.core.config import NotNegative, Positive
from fewmask.core.errors import BadConfig
from fewmask.methods import cfr
from fewmask.methods._method import ConfidenceOver, MethodSpec, Stage


@dataclass(frozen=True)
class Config(cfr.Config):
    """Settings of `sfr_plus`: those of `cfr`, and five more."""

    sure: NotNegative = 0.985
    """Mean confidence of the V-Net from which a scan teaches SAM (paper: 0.985)."""
    sure_over: ConfidenceOver = "all"
    """Voxels whose mean it is: all (the paper as we read it), most of which are background, or
    those called a structure (ours; then the paper's 0.985 is high).
    """
    fresh: bool = False
    """The last V-Net starts anew, and SAM labels all scans for it; ours. Off, it goes on from the
    first one's weights, and scans that this was sure of are not labelled again.
    """
    update_lr: Positive = 1e-4
    """Learning rate of SAM when it learns from such scans; ours."""
    update_head_lr: Positive = 1e-3
    """The same for its class head and what joins the slices; ours."""


def stages(config: Config) -> tuple[Stage, ...]:
    """Fine-tune, re-train, fine-tune again with the scans the V-Net is sure of, re-train again.

    Raises `BadConfig` for settings of a stage that cannot be met, and for online labels: scans are
    labelled between stages.
    """
    cfr.check_stages(config)
    if config.pseudo == "online":
        raise BadConfig(
            "sfr_plus labels whole scans between its stages, so its labels are stored",
            fix="leave pseudo out, or use `method=cfr` with `pseudo=online`",
            code="C02",
        )
    again = replace(
        config.finetune, pseudo_weight=1.0, lr=config.update_lr, head_lr=config.update_head_lr
    )
    share = config.finetune_share / 2
    return (
        Stage("finetune", "canvas_sam", config.finetune, share, pseudo_labels_to="pseudo"),
        Stage(
            "retrain",
            "sfr_plus",
            config,
            0.5 - share,
            pseudo_labels_from="pseudo",
            pseudo_labels_to="sure",
            min_confidence=config.sure,
            confidence_over=config.sure_over,
        ),
        Stage(
            "update",
            "canvas_sam",
            again,
            share,
            init_from="finetune",
            pseudo_labels_from="sure",
            pseudo_labels_to="unsure",
            skip_labelled_in="" if config.fresh else "sure",
        ),
        Stage(
            "",
            "sfr_plus",
            config,
            0.5 - share,
            init_from="" if config.fresh else "retrain",
            pseudo_labels_from="unsure",
        ),
    )


METHOD = MethodSpec(Config, cfr.build, stages, least_steps=200)
