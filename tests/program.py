"""The program without the seconds that a process of its own takes to start; tests of kills, streams
and signals need a true one.
"""

from dataclasses import dataclass
from importlib import import_module

from typer.testing import CliRunner

from fewmask.cli.app import VERBS, app
from fewmask.cli.console import Console
from fewmask.cli.flags import in_flags
from fewmask.core.errors import FewmaskError


@dataclass(frozen=True)
class Ended:
    """As a shell sees it."""

    code: int
    stdout: str
    stderr: str


def run_program(*words: object) -> Ended:
    """`fewmask WORDS`; what is no message of ours is raised."""
    for verb in VERBS:
        import_module(f"fewmask.cli.{verb}")
    Console.told = False
    done = CliRunner().invoke(app, [str(word) for word in words])
    error = done.exception
    if isinstance(error, FewmaskError):
        return Ended(error.exit_code, done.stdout, done.stderr + in_flags(str(error)))
    if error is not None and not isinstance(error, SystemExit):
        raise error
    return Ended(done.exit_code, done.stdout, done.stderr)
