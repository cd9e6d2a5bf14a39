"""The program `fewmask`: global flags, exit codes, and what happens to an error."""

import os
import sys
import tempfile
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import typer

from fewmask.cli.console import Console
from fewmask.cli.flags import in_flags
from fewmask.core.errors import FewmaskError
from fewmask.version import __version__

VERBS = (
    "demo",
    "doctor",
    "check",
    "prepare",
    "train",
    "predict",
    "evaluate",
    "report",
    "info",
    "convert",
    "pretrain",
    "weights",
    "sweep",
    "compare",
    "nnunet",
)

app = typer.Typer(
    name="fewmask",
    help="A few masks in, every mask out: segment CT and MR scans from a handful of outlined "
    "slices.\n\n"
    "\b\nExamples:\n  fewmask demo\n  fewmask train prepared --slices 5 --out run",
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def flags(
    context: typer.Context,
    json: bool = typer.Option(
        False, "--json", help="Print one JSON object on stdout and all console on stderr."
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    version: bool = typer.Option(False, "--version", help="Print the version and stop."),
) -> None:
    """Global flags."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
    context.obj = Console(json, debug)


def verb(examples: tuple[str, str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a verb whose help starts with two examples."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        what = (function.__doc__ or "").strip()
        # \b keeps click from joining the lines of an example.
        text = f"Examples:\n\n\b\n  {examples[0]}\n  {examples[1]}\n\n{what}"
        return app.command(
            name=function.__name__, help=text, short_help=what.split(". ")[0].rstrip(".")
        )(function)

    return register


def main() -> None:
    """Run the program and leave with the exit code that docs/errors.md lists."""
    for name in VERBS:
        import_module(f"fewmask.cli.{name}")
    debug = "--debug" in sys.argv
    try:
        app()
    except FewmaskError as error:
        _leave(error, debug)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        _exit(130)
    except BrokenPipeError:
        # The reader went away (`| head`); nothing to say, and nothing left to say it to.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _exit(0)
    except Exception as error:
        _our_bug(error, debug)


def _leave(error: FewmaskError, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    if "--json" in sys.argv:
        Console(json=True, debug=debug).result(error.as_dict())
    print(in_flags(str(error)), file=sys.stderr)
    _exit(error.exit_code)


def _our_bug(error: Exception, debug: bool) -> NoReturn:
    """Write the traceback to a log file in the temporary folder and name it."""
    if debug:
        traceback.print_exc()
        _exit(1)
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    handle, name = tempfile.mkstemp(prefix=f"fewmask-{stamp}-", suffix=".log")
    with os.fdopen(handle, "w") as file:
        file.write(f"fewmask {__version__}\n{' '.join(sys.argv[1:])}\n\n")
        traceback.print_exc(file=file)
    lines = [
        f"error: something we did not foresee: {type(error).__name__}: {error}",
        f"this is our mistake; the log is {Path(name)}",
        "fix: send the log to the issue tracker, after removing what names a person",
    ]
    print("\n".join(lines), file=sys.stderr)
    _exit(1)


def _exit(code: int) -> NoReturn:
    sys.stdout.flush()
    raise SystemExit(code)
