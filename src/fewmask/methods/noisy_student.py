"""`noisy_student`: a network labels all scans from a few outlines and tags, and learns on from its
own labels (after Xie et al., CVPR 2020).

The teacher is `lite_unet`. It labels every training scan; its masks are cut at the tags and cleaned
by the rule that the outlines speak for, and outlined slices keep their outline. A student goes on
from its weights, with outlined slices and self-labelled ones in every step, turned, zoomed and
shaded at random; then the labels are made anew, and once more. The last tenth of each student's
steps belongs to outlines and tags alone. One network predicts, the last.
"""

from dataclasses import dataclass, fields, replace

from fewmask.core.batch import Task
from fewmask.core.config import Count, NotNegative, Share
from fewmask.core.errors import BadConfig
from fewmask.methods import lite_unet
from fewmask.methods._method import MethodSpec, Stage
from fewmask.methods._pyramid import PseudoTerm, Pyramid, PyramidSettings, build_pyramid


@dataclass(frozen=True)
class Config(PyramidSettings):
    """Settings of `noisy_student`."""

    rounds: Count = 2
    """Students: how often all scans are labelled anew."""
    teacher_share: Share = 0.3
    """Part of the run's minutes or steps that the teacher gets; students share the rest."""
    most_scans: Count = 40
    """Most scans that are labelled each time, those with outlines first, the others drawn: hundreds
    would take longer to label than to learn from. Of all others tags are learned from.
    """
    pseudo_weight: NotNegative = 1.0
    """Of the loss against the masks made by the network before."""
    trust: Share = 0.0
    """Pixels of these masks that were less probable than this are left out; 0 = none is."""
    pure: Share = 0.1
    """Last part of a student's steps, in which it learns from outlines and tags alone."""


def stages(config: Config) -> tuple[Stage, ...]:
    """The teacher, then the students, each from the weights and the labels of the one before."""
    if not 0 < config.teacher_share < 1:
        raise BadConfig(
            f"teacher_share={config.teacher_share:g}: nobody would learn from the labels",
            fix="use a `teacher_share` between 0 and 1; or `method=lite_unet`, the teacher alone",
            code="C02",
        )
    shared = {field.name: getattr(config, field.name) for field in fields(lite_unet.Config)}
    share = config.teacher_share
    plan = [Stage("teacher", "lite_unet", lite_unet.Config(**shared), share, steps_share=share)]
    for number in range(1, config.rounds + 1):
        before = plan[-1]
        labels = f"labels{number}"
        plan[-1] = replace(
            before, pseudo_labels_to=labels, labels_all=True, labels_most=config.most_scans
        )
        name = f"student{number}" if number < config.rounds else ""
        share = (1 - config.teacher_share) / config.rounds
        plan.append(
            Stage(
                name,
                "noisy_student",
                config,
                share,
                init_from=before.name,
                pseudo_labels_from=labels,
                steps_share=share,
            )
        )
    return tuple(plan)


def build(config: Config, task: Task) -> Pyramid:
    """A fresh student for `task`."""
    return build_pyramid(config, task, PseudoTerm(config.pseudo_weight, config.pure))


METHOD = MethodSpec(Config, build, stages, inference_only=("presence", "presence_cost", "views"))
