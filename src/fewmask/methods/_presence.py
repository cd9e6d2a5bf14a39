"""Settings that methods of slices share which may follow a classifier's word on what a slice
holds.
"""

from dataclasses import dataclass

from fewmask.blocks.presence import Presence, TagClassifier
from fewmask.core.batch import Task
from fewmask.core.config import Count, NotNegative, Number


@dataclass(frozen=True)
class PresenceSettings:
    """For methods with a classifier of their own; what they start from they say themselves."""

    presence: Presence = "slice"
    """Which slices get a mask: `none` = all, as the network draws them; `slice` = those judged to
    hold the structure, P(present) >= 0.5 (A22); `scan` = the same, judged with their neighbours.
    """
    presence_cost: NotNegative = 2.0
    """In log-odds, what a structure's every begin and end along the scan must be worth
    (`presence=scan`); 0 = `slice`.
    """


@dataclass(frozen=True)
class ClassifierSettings(PresenceSettings):
    """For methods that get a classifier only to be told what a slice holds."""

    presence: Presence = "none"
    """Which slices get a mask: `none` = all, as the network draws them; `slice` = those that a
    classifier, trained beside it from image tags, judges to hold the structure; `scan` = the same,
    judged with their neighbours.
    """
    weak: Number = 8
    """Tagged slices per step, for the classifier only (`presence` other than `none`)."""
    classifier_width: Count = 32
    """Channels in the first stage of the classifier, the ResNet-38 of `sam_mix`."""


def build_classifier(config: ClassifierSettings, task: Task) -> TagClassifier | None:
    """A fresh classifier for `task`; none where masks stay as they are drawn."""
    if config.presence == "none":
        return None
    return TagClassifier(task.k, config.classifier_width)
