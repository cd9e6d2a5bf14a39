"""`fewmask train`."""

from pathlib import Path

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.core.words import command

_BUDGET = "Which masks are learned from"
_LENGTH = "How long"


@verb(
    (
        "fewmask train prepared --slices 5 --minutes 10 --out run",
        "fewmask train prepared --method unet --slices 50 --steps 2000 --set lr=0.0005 --out run-u",
    )
)
def train(
    context: typer.Context,
    prepared: Path = typer.Argument(..., help="Prepared dataset."),
    out: Path = typer.Option(..., help="Run folder; an unfinished run in it resumes."),
    method: str = options.METHOD,
    encoder: str | None = typer.Option(
        None, help="Size of SAM: compact, small, tiny, vit-b, vit-l, vit-h."
    ),
    settings: list[str] = options.SETTINGS,
    seed: int = typer.Option(0, help="Initialisation and order."),
    slices: int | None = typer.Option(
        None,
        help="How many outlined slices may be seen; default: all, or all whole masks (3D methods).",
        rich_help_panel=_BUDGET,
    ),
    volumes: int | None = typer.Option(
        None, help="How many whole masks may be seen, instead.", rich_help_panel=_BUDGET
    ),
    budget: Path | None = typer.Option(
        None,
        help="File that names the masks, like a run's budget.toml, instead.",
        rich_help_panel=_BUDGET,
    ),
    draw: int = typer.Option(0, help="Which masks are in the budget.", rich_help_panel=_BUDGET),
    in_order: bool = typer.Option(
        False,
        "--in-order",
        help="Take volumes in the order of the training list, as papers do.",
        rich_help_panel=_BUDGET,
    ),
    minutes: float | None = typer.Option(
        None,
        help="Training time; 20 steps are timed, then steps count. Default 10.",
        rich_help_panel=_LENGTH,
    ),
    steps: int | None = typer.Option(
        None, help="Training steps, instead.", rich_help_panel=_LENGTH
    ),
    until: str | None = typer.Option(
        None,
        help="Stop after this stage of a method that has several (cfr: finetune).",
        rich_help_panel=_LENGTH,
    ),
    device: str | None = options.DEVICE,
    threads: int | None = options.THREADS,
    amp: str = typer.Option(
        "auto",
        help="bfloat16 (float16 on older GPUs): auto (probed), on, off.",
        rich_help_panel=options.MACHINE,
    ),
    compile_: bool = typer.Option(
        False,
        "--compile",
        help="Let torch.compile write kernels: a minute at first, then faster (GPU).",
        rich_help_panel=options.MACHINE,
    ),
    workers: int | None = typer.Option(
        None,
        min=1,
        help="Threads that make batches: one on a CPU, up to four beside a GPU.",
        rich_help_panel=options.MACHINE,
    ),
    embeddings: Path | None = typer.Option(
        None,
        help="Folder for the embeddings of a frozen encoder, shared between runs.",
        rich_help_panel=options.MACHINE,
    ),
    embeddings_gib: float = typer.Option(
        4.0, min=0.0, help="Most that may be kept there.", rich_help_panel=options.MACHINE
    ),
    save_minutes: float = options.SAVE_MINUTES,
    save_steps: int | None = typer.Option(
        None,
        min=1,
        help="Save every so many steps, besides.",
        rich_help_panel=options.MACHINE,
    ),
    log: str | None = options.LOG,
    keep_states: bool = typer.Option(
        False,
        "--keep-states",
        help="Keep the last states of a finished run too, for a look at its optimiser.",
        rich_help_panel=options.MACHINE,
    ),
) -> None:
    """Learn from a few masks, the tags and the rest of the scans. The same command resumes after an
    interruption.
    """
    from fewmask.io.run import RunFolder
    from fewmask.training import TrainRequest
    from fewmask.training import train as run_train
    from fewmask.training.together import is_first

    console: Console = context.obj
    options.existing(prepared, "folder")
    if budget is not None:
        options.existing(budget, "budget file")
    options.one_of("--amp", amp, ("auto", "on", "off"))
    if budget is not None:
        options.refuse_idle(context, ("draw",), "--budget names the masks")
    if embeddings is None:
        options.refuse_idle(context, ("embeddings_gib",), "it is for --embeddings")
    request = TrainRequest(
        prepared=prepared, out=out, method=method, slices=slices, volumes=volumes, draw=draw,
        in_order=in_order, budget=budget, seed=seed, minutes=minutes, steps=steps, encoder=encoder,
        settings=tuple(settings), until=until, device=device, threads=threads,
        amp=amp, compile=compile_, workers=workers,  # type: ignore[arg-type]
        save_minutes=save_minutes, save_steps=save_steps, keep_states=keep_states, log=log,
        embeddings=embeddings, embeddings_gib=embeddings_gib,
    )  # fmt: skip
    run = run_train(request, console.show_training)
    if not is_first():
        return
    console.say(f"trained: {run}")
    console.hint("\n".join(["next:", *_next(run, prepared)]))
    record = RunFolder.open(run).read_record()
    console.result({"run": run, "steps": record.steps, "advice": record.advice})


def _next(run: Path, prepared: Path) -> list[str]:
    """What can be done with the run, a command per line; scores only where there is a truth."""
    from fewmask.io.prepared import Prepared

    data = Prepared.open(prepared)
    tested = any(data.cases[case].complete for case in data.split.test)
    lines = [command("predict", run, prepared)]
    lines += [command("evaluate", run)] if tested else []
    return [f"  {line}" for line in (*lines, command("report", run))]
