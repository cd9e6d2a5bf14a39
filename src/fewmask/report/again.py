"""The command that makes a run again."""

import shlex
from pathlib import Path

from fewmask.core.config import setting_words
from fewmask.core.run_record import RunRecord
from fewmask.io.run import RunFolder
from fewmask.report.changes import changes_of


def training_command(record: RunRecord, run: RunFolder) -> str:
    """The training command, without paths that would name a person's folders and without what is
    default.
    """
    budget = run.read_budget()
    words = [
        "fewmask",
        "train",
        "PREPARED",
        "--method",
        record.method,
        f"--{budget.kind}",
        budget.masks,
        "--draw",
        budget.draw,
    ]
    words += ["--in-order"] if record.in_order else []
    words += ["--seed", record.seed, "--steps", record.all_steps]
    for setting in _settings(record):
        words += ["--set", setting]
    words += ["--out", "RUN"]
    return " ".join(shlex.quote(str(word)) for word in words)


def _settings(record: RunRecord) -> list[str]:
    """Settings of a run that are not the method's defaults; of files the name only."""
    return setting_words(
        {
            name: Path(value).name if isinstance(value, str) else value
            for name, value in changes_of(record.method, record.config).items()
        }
    )
