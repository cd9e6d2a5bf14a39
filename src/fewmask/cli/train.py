"""`fewmask train`."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from fewmask.cli.app import verb
from fewmask.cli.console import Console, duration

if TYPE_CHECKING:
    from fewmask.core.progress import ProgressEvent


@verb(
    (
        "fewmask train prepared --slices 5 --minutes 10 --out run",
        "fewmask train prepared --method unet --slices 50 --draw 1 --steps 2000 --set "
        "lr=0.0005 --out run-unet",
    )
)
def train(
    context: typer.Context,
    prepared: Path = typer.Argument(..., help="Prepared dataset."),
    out: Path = typer.Option(..., help="Run folder; an unfinished one is gone on with."),
    method: str = typer.Option("sam_mix", help="Method; `fewmask info METHOD` shows its settings."),
    slices: int | None = typer.Option(None, help="How many outlined slices may be seen."),
    volumes: int | None = typer.Option(None, help="How many whole masks may be seen, instead."),
    draw: int = typer.Option(0, help="Which masks are in the budget."),
    in_order: bool = typer.Option(
        False, "--in-order", help="Take volumes in the order of the training list, as papers do."
    ),
    seed: int = typer.Option(0, help="Initialisation and order."),
    minutes: float | None = typer.Option(
        None, help="Training time; 20 steps are timed, then steps count. Default 10."
    ),
    steps: int | None = typer.Option(None, help="Training steps, instead."),
    encoder: str | None = typer.Option(
        None, help="Size of SAM: compact, small, tiny, vit-b, vit-l, vit-h."
    ),
    settings: list[str] = typer.Option(
        [], "--set", help="A setting of the method, key=value; may be repeated."
    ),
    until: str | None = typer.Option(
        None, help="Stop after this stage of a method that has several (cfr: finetune)."
    ),
    device: str | None = typer.Option(
        None, help="cpu, cuda, cuda:1; default: a GPU if there is one."
    ),
    threads: int | None = typer.Option(None, min=1, help="CPU threads."),
    amp: str = typer.Option("auto", help="bfloat16: auto (probed), on, off."),
    embeddings: Path | None = typer.Option(
        None, help="Folder for the embeddings of a frozen encoder, shared between runs."
    ),
    embeddings_gib: float = typer.Option(4.0, min=0.0, help="Most that may be kept there."),
    save_minutes: float = typer.Option(2.0, help="Longest time between saves."),
    save_steps: int | None = typer.Option(None, min=1, help="Save every so many steps, besides."),
) -> None:
    """Learn from a few masks, the tags and the rest of the scans. The same command goes on after an
    interruption.
    """
    from fewmask.cli.options import existing
    from fewmask.core.errors import BadConfig
    from fewmask.training import TrainRequest
    from fewmask.training import train as run_train

    console: Console = context.obj
    existing(prepared, "folder")
    if amp not in ("auto", "on", "off"):
        raise BadConfig(
            f"--amp {amp!r} is not known",
            fix="use auto, on or off",
            code="C02",
        )
    request = TrainRequest(
        prepared=prepared, out=out, method=method, slices=slices, volumes=volumes, draw=draw,
        in_order=in_order, seed=seed,
        minutes=minutes, steps=steps, encoder=encoder, settings=tuple(settings), until=until,
        device=device, threads=threads,
        amp=amp, save_minutes=save_minutes, save_steps=save_steps,  # type: ignore[arg-type]
        embeddings=embeddings, embeddings_gib=embeddings_gib,
    )  # fmt: skip
    run = run_train(request, show_progress(console))
    console.say(
        f"trained: {run}\nnext: fewmask predict {run} {prepared} && fewmask evaluate {run} && "
        f"fewmask report {run}"
    )
    console.result({"run": run})


def show_progress(console: Console):  # type: ignore[no-untyped-def]
    """A callback that renders training progress."""

    def show(p: "ProgressEvent") -> None:
        if p.note and not p.losses:
            console.step(p.note, p.done == p.total)
            return
        if p.note:
            console.say(p.note)
        losses = "  ".join(f"{name} {value:.3f}" for name, value in p.losses.items())
        rate = f"{p.seconds_each:.2f} s/step  {duration(p.seconds_left or 0.0)} left"
        line = f"{p.unit} {p.done} of {p.total}  {rate}  {losses}  saved {p.saved_step}"
        console.step(line, p.done == p.total)

    return show
