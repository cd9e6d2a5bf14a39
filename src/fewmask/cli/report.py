"""`fewmask report`."""

from pathlib import Path

import typer

from fewmask.cli.app import verb
from fewmask.cli.talk import Talk


@verb(("fewmask report run", "fewmask --json report run"))
def report(context: typer.Context, run: Path = typer.Argument(..., help="Run folder with predictions.")) -> None:
    """Write one HTML page: the result in a sentence, every scan worst first, how masks came about, why to believe it."""
    from fewmask.study.score import write_run_report

    talk: Talk = context.obj
    path = write_run_report(run)
    talk.say(str(path))
    talk.result({"report": path})
