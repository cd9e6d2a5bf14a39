"""`fewmask demo`."""

from pathlib import Path

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console


@verb(("fewmask demo --quick", "fewmask demo --out /tmp/demo --method unet"))
def demo(
    context: typer.Context,
    out: Path = typer.Option(Path("demo"), help="Folder; an earlier demo in it is replaced."),
    quick: bool = typer.Option(False, "--quick", help="Fewer scans and steps, poorer masks."),
    method: str = options.METHOD,
    seed: int = typer.Option(0, help="Which phantoms, and initialisation."),
    steps: int | None = typer.Option(None, min=1, help="Training steps."),
    device: str | None = options.DEVICE,
) -> None:
    """Run the whole job on simulated scans with known truth: from NIfTI files to masks, scores and
    a report. Needs no data.
    """
    from fewmask.benchmark.demo import FULL, QUICK, run_demo

    console: Console = context.obj
    result = run_demo(
        out,
        size=QUICK if quick else FULL,
        seed=seed,
        steps=steps,
        method=method,
        say=console.say,
        progress=console.show_training,
        device=device,
    )
    console.say(f"report {result.report}")
    console.say(f"95 % interval {result.low:.2f} to {result.high:.2f} over the test scans")
    console.say(f"Dice {result.dice:.2f}")
    console.result(vars(result))
