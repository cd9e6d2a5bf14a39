"""`fewmask audit`."""

from pathlib import Path

import typer

from fewmask.cli import options
from fewmask.cli.app import verb
from fewmask.cli.console import Console
from fewmask.cli.flags import in_flags
from fewmask.core.errors import PartlyDone
from fewmask.core.words import count


@verb(
    (
        "fewmask audit run",
        "fewmask audit nnUNet_preprocessed/Dataset001/splits_final.json --patients '^(p[0-9]+)'",
    )
)
def audit(
    context: typer.Context,
    path: Path = typer.Argument(
        ...,
        help="Run folder; sweep (folder of its runs, or table .csv); splits_final.json; or folder "
        "of train.list and test.list.",
    ),
    plan: Path | None = typer.Option(
        None, help="Plan of a sweep (.toml); default: NAME.toml above the folder of NAME.csv."
    ),
    rows: Path | None = typer.Option(None, help="Table of a sweep of which PATH holds the runs."),
    patients: str | None = typer.Option(
        None, help="Of lists: regular expression with one group that finds the patient in a name."
    ),
) -> None:
    """Answer what a reviewer asks, from what the files say. Each line is `ok`, `look` or
    `cannot know`, with the reason. Exit 5 if something must be looked at.
    """
    from fewmask.benchmark.audit import audit as run_audit

    console: Console = context.obj
    for given, what in ((plan, "plan"), (rows, "table")):
        if given is not None:
            options.existing(given, what)
    answers = run_audit(options.existing(path, "path"), plan=plan, rows=rows, patients=patients)
    for one in answers:
        console.say(f"{one.verdict:13}{one.question} {one.answer[:1].upper()}{one.answer[1:]}.")
        if one.why:
            console.say(f"{'':13}{in_flags(one.why)}")
    console.result({"path": path, "answers": answers})
    if looks := [one.question for one in answers if one.verdict == "look"]:
        raise PartlyDone(
            f"{count(len(looks), 'answer')} of {len(answers)} must be looked at",
            where=looks,
            did="everything was audited, nothing was changed",
            fix="mend it, or say it beside the numbers",
        )
