"""The program `fewmask`: global flags, exit codes, and what happens to an error."""

import inspect
import os
import platform
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from fewmask.cli.console import Console
from fewmask.cli.flags import in_flags
from fewmask.cli.progress import duration, print_line
from fewmask.cli.streams import open_closed, steady_streams
from fewmask.core.errors import FewmaskError, NoRoom, PartlyDone, of_the_machine
from fewmask.version import __version__

VERBS = (
    "demo",
    "doctor",
    "label",
    "check",
    "prepare",
    "train",
    "predict",
    "evaluate",
    "report",
    "ratings",
    "info",
    "convert",
    "export",
    "clean",
    "pretrain",
    "weights",
    "sweep",
    "compare",
    "audit",
    "more",
    "nnunet",
    "next",
    "benchmark",
)
_ANYWHERE = ("--json", "--quiet", "-q", "--verbose", "-v", "--debug", "--version", "-V")
"""Global flags; they may stand behind the verb too. Those of the version come last."""


class Verbs(TyperGroup):
    """Global flags may stand anywhere: `fewmask check scans --json` too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Bring them to the front; what follows `--` stays where it is."""
        end = args.index("--") if "--" in args else len(args)
        flags = sorted((word for word in args[:end] if word in _ANYWHERE), key=_ANYWHERE.index)
        rest = [word for word in args[:end] if word not in _ANYWHERE]
        return super().parse_args(ctx, [*flags, *rest, *args[end:]])


class Verb(TyperCommand):
    """Options in groups, as their `rich_help_panel` says, without boxes."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Arguments first, then options without a group, then each group."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for param in self.get_params(ctx):
            kind = "Arguments" if param.param_type_name == "argument" else "Options"
            record = param.get_help_record(ctx)
            if record is not None:
                panel = getattr(param, "rich_help_panel", None) or kind
                groups.setdefault(panel, []).append(record)
        for name, records in groups.items():
            if records:
                with formatter.section(name):
                    formatter.write_dl(records)


def _print_version(context: typer.Context, wanted: bool) -> None:
    if wanted:
        _tell_version(Console(json=bool(context.params.get("json"))))
        raise typer.Exit


def _tell_version(console: Console) -> None:
    if console.json:
        console.result({"version": __version__})
    else:
        console.say(__version__)


app = typer.Typer(
    name="fewmask",
    cls=Verbs,
    help="A few masks in, every mask out: segment CT and MR scans from a handful of outlined "
    "slices.\n\n"
    "\b\nExamples:\n  fewmask demo\n  fewmask train prepared --slices 5 --out run",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback()
def flags(
    context: typer.Context,
    json: bool = typer.Option(
        False,
        "--json",
        is_eager=True,
        help="Print one JSON object on stdout, and everything else on stderr.",
    ),
    quiet: bool = typer.Option(False, "--quiet", "-q", help="No progress, notes or hints."),
    verbose: bool = typer.Option(
        False, "--verbose", "-v", help="Also versions, the time it took, more lines of progress."
    ),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks."),
    version: bool = typer.Option(
        False,
        "--version",
        "-V",
        is_eager=True,
        callback=_print_version,
        help="Print the version and stop.",
    ),
) -> None:
    """Global flags; they may stand before or after the verb."""
    _check_standing()
    console = Console(json, quiet, verbose)
    context.obj = console
    context.call_on_close(console.close)
    if verbose:
        system = f"{platform.system()} {platform.machine()}"
        console.warn(f"fewmask {__version__}, Python {platform.python_version()}, {system}")
        begun = time.monotonic()
        context.call_on_close(lambda: console.warn(f"took {duration(time.monotonic() - begun)}"))


def _check_standing() -> None:
    """Raise `NoRoom` (F16) where the folder that the program was started in is gone: no relative
    path means anything there, and torch's libraries end the process without a word.
    """
    try:
        Path.cwd()
    except OSError as error:
        raise NoRoom(
            "the folder that you are in is gone",
            where=[error.strerror or str(error)],
            did="nothing was started",
            fix="cd to a folder that is there (`cd ~`), and run the command again",
            code="F16",
        ) from error


@app.command("version", hidden=True)
def version(context: typer.Context) -> None:
    """Print the version."""
    _tell_version(context.obj)


def verb(examples: tuple[str, str]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register a verb whose help starts with two examples."""

    def register(function: Callable[..., Any]) -> Callable[..., Any]:
        what = inspect.getdoc(function) or ""
        # \b keeps click from joining the lines of an example.
        text = f"Examples:\n\n\b\n  {examples[0]}\n  {examples[1]}\n\n{what}"
        return app.command(
            name=function.__name__,
            cls=Verb,
            help=text,
            short_help=" ".join(what.split(".")[0].split()),
            epilog="Everywhere: --json, --quiet, --verbose, --debug; see `fewmask -h`.",
        )(function)

    return register


def main() -> None:
    """Run the program and leave with the exit code that docs/errors.md lists."""
    open_closed()
    steady_streams()
    Console.told = False
    for name in VERBS:
        import_module(f"fewmask.cli.{name}")
    debug = "--debug" in sys.argv
    try:
        app(prog_name="fewmask")
    except FewmaskError as error:
        _leave(error, debug)
    except KeyboardInterrupt:
        _tell("stopped")
        _exit(130)
    except (OSError, MemoryError) as error:
        _leave(of_the_machine(error), debug)
    except Exception as error:
        _our_bug(error, debug)


def _leave(error: FewmaskError, debug: bool) -> NoReturn:
    if debug:
        traceback.print_exc()
    # What was done and what was not is told by the verb's own object, if there is one.
    if "--json" in sys.argv and not (isinstance(error, PartlyDone) or Console.told):
        Console(json=True).result(error.as_dict())
    _tell(in_flags(str(error)))
    _exit(error.exit_code)


def _tell(text: str) -> None:
    print_line(text, sys.stderr)


def _our_bug(error: Exception, debug: bool) -> NoReturn:
    """Write the traceback to a log file in the temporary folder and name it."""
    if debug:
        traceback.print_exc()
        _exit(1)
    lines = [
        f"error: fewmask failed in a way it does not know: {type(error).__name__}: {error}",
        f"this is a fault of the program, not yours; the log is {_write_log()}",
        "fix: please report it with this log to whoever gave you fewmask (it has no public "
        "address yet), after removing what names a person",
    ]
    _tell("\n".join(lines))
    _exit(1)


def _write_log() -> str:
    """The traceback in a file of the temporary folder; its name."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    try:
        handle, name = tempfile.mkstemp(prefix=f"fewmask-{stamp}-", suffix=".log")
        with os.fdopen(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(f"fewmask {__version__}\n{' '.join(sys.argv[1:])}\n\n")
            traceback.print_exc(file=file)
    except OSError as error:
        return f"lost ({error.strerror}); --debug prints it"
    return name


def _exit(code: int) -> NoReturn:
    sys.stdout.flush()
    raise SystemExit(code)
