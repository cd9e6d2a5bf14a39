"""What is asked of a training run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from fewmask.core.config import Count, NotNegative, Range, check_fields
from fewmask.core.errors import BadConfig
from fewmask.core.task import DEFAULT_METHOD


@dataclass(frozen=True)
class TrainRequest:
    """One training run. At most one of `slices`, `volumes` and `budget`, and of `minutes` and
    `steps`.
    """

    prepared: Path
    out: Path
    method: str = DEFAULT_METHOD
    slices: int | None = None
    """Labelled slices in the budget; without it and `volumes`, all there are (`draw_budget`)."""
    volumes: int | None = None
    """Labelled volumes in the budget."""
    draw: int = 0
    """Which masks are in the budget."""
    in_order: bool = False
    """Take volumes in the order of the training list instead of drawing them."""
    budget: Path | None = None
    """File that names the masks that may be seen (as a run's `budget.toml`), instead of a number.
    """
    seed: int = 0
    """Initialisation and order."""
    minutes: float | None = None
    """Training time; 20 steps are timed and the run then counts steps."""
    steps: int | None = None
    encoder: str | None = None
    """Size of SAM, for methods that have one."""
    settings: tuple[str, ...] = ()
    """Changes of the method's config, `key=value`."""
    device: str | None = None
    """`cpu`, `cuda`, `cuda:1`; None = a GPU if there is one."""
    threads: Annotated[int, Range(1.0, 1024.0)] | None = None
    amp: Literal["auto", "on", "off"] = "auto"
    """bfloat16, or float16 on a GPU without it: probed, on, off."""
    compile: bool = False
    """Let torch.compile write kernels for V-Nets and U-Nets: up to a minute before the first step,
    shorter steps on a GPU.
    """
    workers: Annotated[int, Range(1.0, 256.0)] | None = None
    """Threads that make batches ahead; None = one on a CPU, up to four beside a GPU. No batch
    depends on it.
    """
    until: str | None = None
    """Stop after this stage of a method that has several; its run folder lies in the run's."""
    reuse_from: Path | None = None
    """Folder of other runs: what one of them, or its first stage, has trained to the end in the
    same way is taken from it.
    """
    embeddings: Path | None = None
    """Folder in which embeddings of a frozen encoder are kept for later runs."""
    embeddings_gib: NotNegative = 4.0
    """Most that may be kept there."""
    save_minutes: NotNegative = 2.0
    """Longest time between saves."""
    save_steps: Count | None = None
    """Save every so many steps, besides."""
    log: str | None = None
    """Also log losses for another program: `tensorboard` or `mlflow`, in the run folder, or
    `mlflow=ADDRESS` (as MLFLOW_TRACKING_URI).
    """
    keep_states: bool = False
    """Keep the last two states of a finished training, with its optimiser's: three times the
    weights each. Nothing needs them; more steps are another run.
    """

    def __post_init__(self) -> None:
        """Refuse what cannot be meant. Texts become paths and whole minutes a float."""
        for name, value in check_fields(self, "training").items():
            object.__setattr__(self, name, value)
        if self.slices is not None and self.volumes is not None:
            raise BadConfig(
                "`slices` and `volumes` exclude each other",
                fix="leave one out, or both to use all there are",
                code="C02",
            )
        if self.budget is not None and (self.slices is not None or self.volumes is not None):
            raise BadConfig(
                "`budget` names the masks, `slices` and `volumes` draw them",
                fix="leave `slices` and `volumes` out, or `budget`",
                code="C02",
            )
        if self.in_order and self.volumes is None:
            raise BadConfig(
                "`in_order=True` is for volumes",
                fix="use `volumes=N`",
                code="C02",
            )
        if self.minutes is not None and self.steps is not None:
            raise BadConfig(
                "`minutes` and `steps` exclude each other",
                fix="leave one out",
                code="C02",
            )
        if (self.steps is not None and self.steps < 1) or (
            self.minutes is not None and not 0 < self.minutes < 1e5
        ):
            raise BadConfig(
                "training must last at least one step",
                fix="give `steps=1` or more",
                code="C02",
            )
