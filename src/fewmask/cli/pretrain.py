"""`fewmask pretrain`."""

from pathlib import Path

import typer

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
    out: Path = typer.Option(..., help="Folder; an unfinished pre-training in it is gone on with."),
    steps: int | None = typer.Option(None, min=1, help="Optimiser steps."),
    seed: int | None = typer.Option(None, help="Initialisation, images and prompts."),
    settings: list[str] = typer.Option(
        [], "--set", help="Another setting, key=value; may be repeated."
    ),
    device: str | None = typer.Option(
        None, help="cpu, cuda, cuda:1; default: a GPU if there is one."
    ),
    amp: bool = typer.Option(True, help="bfloat16."),
    save_minutes: float = typer.Option(2.0, help="Longest time between saves."),
    score_every: int = typer.Option(1000, min=1, help="Steps between scores on held-out images."),
) -> None:
    """Pre-train a promptable SAM on procedural images: how the bundled weights were made. Needs no
    data.
    """
    from fewmask.cli.train import show_progress
    from fewmask.core.config import apply_settings
    from fewmask.training.pretrain import PretrainConfig
    from fewmask.training.run import pretrain as run

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
        on_progress=show_progress(console),
    )
    console.say(f"weights: {weights}")
    console.result({"weights": weights})
