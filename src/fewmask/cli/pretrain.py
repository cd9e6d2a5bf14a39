"""`fewmask pretrain`."""

from pathlib import Path

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console


@verb(
    (
        "fewmask pretrain --out runs/pretrain",
        "fewmask pretrain --out runs/pretrain --steps 2000 --set lr=0.0005",
    )
)
def pretrain(
    context: typer.Context,
    out: Path = typer.Option(..., help="Folder; an unfinished pre-training in it resumes."),
    steps: int | None = typer.Option(None, min=1, help="Optimiser steps."),
    seed: int | None = typer.Option(None, help="Initialisation, images and prompts."),
    settings: list[str] = options.SETTINGS,
    device: str | None = options.DEVICE,
    amp: bool = typer.Option(True, help="bfloat16.", rich_help_panel=options.MACHINE),
    save_minutes: float = options.SAVE_MINUTES,
    score_every: int = typer.Option(1000, min=1, help="Steps between scores on held-out images."),
) -> None:
    """Pre-train a promptable SAM on procedural images: how the bundled weights were made. Needs no
    data.
    """
    from fewmask.core.config import apply_settings
    from fewmask.training.pretrain import PretrainConfig
    from fewmask.training.pretrain_run import pretrain as run

    console: Console = context.obj
    said = {"steps": steps, "seed": seed}
    changes = [f"{key}={value}" for key, value in said.items() if value is not None]
    config = apply_settings(PretrainConfig(), [*changes, *settings], "pretrain")
    weights = run(
        config,
        out,
        device=device,
        amp=amp,
        save_minutes=save_minutes,
        score_every=score_every,
        on_progress=console.show_training,
    )
    console.say(f"weights: {weights}")
    console.result({"weights": weights})
