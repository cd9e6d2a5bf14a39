"""The record of a run: what `config.json` of a run folder holds, with a type for every field."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from fewmask.core.config import parse
from fewmask.core.errors import BadCheckpoint, BadConfig
from fewmask.core.renamed import todays_config
from fewmask.core.task import Task


@dataclass(frozen=True)
class Provided:
    """What a person provided to a run, and what nobody described."""

    labelled_slices: int = 0
    """Outlined slices that the budget grants."""
    tagged_slices: int = 0
    tagged_scans: int = 0
    unknown_slices: int = 0
    """Neither outlined nor tagged."""
    slices: int = 0
    """Of all training scans."""


@dataclass(frozen=True)
class Pretrained:
    """Weights that training started from."""

    name: str
    """Their name, or their file."""
    sha256: str


@dataclass(frozen=True)
class RunRecord:
    """Everything a run depends on and can be told in a line; `config.json` is this record.

    Fields that an older version did not write are None when its file is read: not known.
    """

    method: str
    config: dict[str, Any]
    """The method's settings as JSON has them (`plain_settings`); its own `Config` parses them."""
    task: Task
    seed: int
    steps: int
    """Training steps; 0 until they are planned."""
    steps_share: float = 1.0
    """Of all steps of the run, where its method has stages that share them."""
    bf16: bool = False
    """Computed in bfloat16?"""
    fp16: bool = False
    """In float16: on a GPU that has no bfloat16 of its own."""
    minutes: float | None = None
    """What was asked for, if steps were not."""
    provided: Provided = Provided()
    pretrained: Pretrained | None = None
    """None: a random start."""
    checkpoint: str = "last"
    """Which state became the weights; nothing is chosen by score, so always the last."""
    prepared: str = ""
    """Folder of the prepared dataset."""
    data_digest: str | None = None
    """Of the prepared dataset."""
    labels: list[list[str | int]] | None = None
    """Name of each class and the values in masks that are it."""
    scans: dict[str, str] | None = field(default=None, repr=False)
    """Case -> SHA-256 of its voxels."""
    in_order: bool | None = None
    """Were volumes taken in the order of the training list?"""
    advice: str = ""
    """What was said before training: that it is too short to be of use."""

    @classmethod
    def from_dict(cls, record: Mapping[str, Any], where: str = "config.json") -> "RunRecord":
        """The record of a file, older ones included, with settings by today's names. Raises
        `BadCheckpoint` (W06) for what is none or is of a later version.
        """
        try:
            read = parse(cls, record, where)
        except BadConfig as error:
            raise BadCheckpoint(
                f"the run's record cannot be read: {error.what}",
                where=where,
                fix="use the version of fewmask that made the run (environment.json names it)",
                code="W06",
            ) from error
        return replace(read, config=todays_config(read.method, read.config))

    def as_dict(self) -> dict[str, Any]:
        """The record as JSON has it; the inverse of `from_dict`."""
        return plain_settings(self)

    @property
    def precision(self) -> str:
        """What it was computed in."""
        return "float16" if self.fp16 else "bfloat16" if self.bf16 else "float32"

    @property
    def all_steps(self) -> int:
        """Of all stages together, where they share them."""
        return round(self.steps / self.steps_share)

    def differences(self, other: "RunRecord") -> list[str]:
        """`seed: 0 -> 1` for everything that would make `other` another run than this one.

        Where the dataset lies, how masks were picked and what was said make no difference: the
        digest and the budget do. What this record does not know (an older version) makes none
        either.
        """
        unknown = {name for name in ("data_digest", "labels", "scans") if not vars(self)[name]}
        ignored = {"prepared", "in_order", "advice"} | unknown
        before, now = (
            _flat({key: value for key, value in one.as_dict().items() if key not in ignored})
            for one in (self, other)
        )
        return [
            f"{key}: {before.get(key)} -> {now.get(key)}"
            for key in {**before, **now}
            if before.get(key) != now.get(key)
        ]


def plain_settings(config: Any) -> dict[str, Any]:
    """The fields of a dataclass as they come back from JSON: tuples are lists."""
    result: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    return result


def _flat(record: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """`{"config": {"lr": 1}}` as `{"config.lr": 1}`."""
    flat: dict[str, Any] = {}
    for key, value in record.items():
        if isinstance(value, Mapping):
            flat |= _flat(value, f"{above}{key}.")
        else:
            flat[above + key] = value
    return flat
