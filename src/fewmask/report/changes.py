"""What a run changed of its method's settings, without the method's network where possible."""

from collections.abc import Mapping
from typing import Any

from fewmask.core.config import changed_settings
from fewmask.core.manual import method_defaults, method_names


def changes_of(method: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """Settings in a run's config that are not the method's defaults; those of a stage as
    `finetune.canvas`.
    """
    if method in method_names():
        return changed_settings(config, method_defaults(method))
    # A method from outside the package has no file that could be read here. Deferred: torch.
    from fewmask.methods import config_class

    return changed_settings(config, config_class(method)())
