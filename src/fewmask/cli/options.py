"""Flags that several verbs share, in groups of the help, turned into options."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from fewmask.core.errors import BadConfig, PartlyDone
from fewmask.core.manual import method_names
from fewmask.core.task import DEFAULT_METHOD
from fewmask.core.words import count


def complete_method(incomplete: str) -> list[str]:
    """Names of methods for the shell."""
    return [name for name in method_names() if name.startswith(incomplete)]


def complete_recipe(incomplete: str) -> list[str]:
    """Names of recipes for the shell."""
    from fewmask.core.recipe import RECIPES

    return [name for name in RECIPES if name.startswith(incomplete)]


def complete_run(incomplete: str) -> list[str]:
    """Run folders for the shell, and folders on the way to them."""
    typed = Path(incomplete)
    above = typed if incomplete.endswith("/") else typed.parent
    if not above.is_dir():
        return []
    found = [path for path in sorted(above.iterdir()) if path.is_dir()]
    return [
        str(path) if (path / "config.json").exists() else f"{path}/"
        for path in found
        if str(path).startswith(str(typed) if incomplete else "") and path.name[0] != "."
    ]


MACHINE = "Machine"
LABEL = typer.Option(
    [],
    "--label",
    help=(
        "A structure and its value or name in the masks, e.g. liver=6 or kidney=2,3; may be "
        "repeated."
    ),
)
OUTLINES = typer.Option(
    None, help="Folder of masks named after the scans; all masks beside the scans are left out."
)
SLICES_FROM = typer.Option(
    0,
    "--slices-from",
    min=0,
    max=1,
    help="What tables call the first slice of a file: 0, or 1 as ITK-SNAP does.",
)
DEVICE = typer.Option(
    None,
    "--device",
    help="cpu, cuda, cuda:1 or mps; default: a CUDA GPU if there is one, else the CPU.",
    rich_help_panel=MACHINE,
)
THREADS = typer.Option(None, "--threads", min=1, help="CPU threads.", rich_help_panel=MACHINE)
RAY = typer.Option(
    None,
    "--ray",
    help="Work on the machines of a Ray cluster: HOST:PORT, or auto (the cluster of this machine, "
    "else one of it alone). Extra `ray`.",
    rich_help_panel=MACHINE,
)
SAVE_MINUTES = typer.Option(
    2.0, "--save-minutes", help="Longest time between saves.", rich_help_panel=MACHINE
)
METHOD = typer.Option(
    DEFAULT_METHOD,
    "--method",
    help="Method; `fewmask info METHOD` shows its settings.",
    autocompletion=complete_method,
)
LOG = typer.Option(
    None,
    "--log",
    help="Also log losses: tensorboard or mlflow (files in the run folder), or mlflow=ADDRESS.",
)
SETTINGS = typer.Option([], "--set", help="Another setting, key=value; may be repeated.")


def three_numbers(flag: str, text: str | None) -> tuple[float, float, float] | None:
    """`0.8 0.8 5` as a tuple; None passes. Raises `BadConfig` for anything else."""
    if text is None:
        return None
    try:
        x, y, z = (float(word) for word in text.replace(",", " ").split())
    except ValueError as error:
        raise BadConfig(
            f"{flag} {text!r} is not three numbers",
            fix=f"{flag} '0.8 0.8 5'",
            code="C02",
        ) from error
    return x, y, z


def partly(refused: list[dict[str, Any]], done: int, what: str, empty: Sequence[str] = ()) -> None:
    """Raise `PartlyDone` (exit 5) when some cases or files were refused, or masks are empty where
    a structure was expected; the others are done.
    """
    if empty:
        raise empty_masks([*empty, *_refusals(refused)])
    cases = [line for line in refused if line["case"]]
    if refused:
        said = (
            f"{len(cases)} of {count(len(cases) + done, 'scan')} refused"
            if cases
            else "some files could not be used"
        )
        raise PartlyDone(
            f"{said}, the others are done",
            where=_refusals(refused),
            did=what,
            fix="mend or remove them and run the same command again",
        )


def empty_masks(lines: Sequence[str]) -> PartlyDone:
    """What to raise for masks that are empty where a structure was expected."""
    return PartlyDone(
        "masks are empty where a structure was expected",
        where=lines,
        did="everything was written as it is",
        fix="look at these scans; train longer, or outline more slices of such scans",
        code="M18",
    )


def _refusals(refused: list[dict[str, Any]]) -> list[str]:
    return [f"{line['case'] or 'folder'}: {line['what']}" for line in refused[:20]]


def explain(line: dict[str, Any]) -> str:
    """A refused case's whole message."""
    lines = [f"{line['case'] or 'folder'}: {line['what']}"]
    if line["code"]:
        lines[0] += f"   [{line['code']}]"
    lines += [f"  {text}" for text in line["where"]]
    if line["did"]:
        lines.append(line["did"])
    if line["fix"]:
        lines.append(f"fix: {line['fix']}")
    return "\n".join(lines)


def existing(path: Path, what: str) -> Path:
    """The path, or a clear error."""
    if not path.exists():
        raise BadConfig(f"no such {what}: {path}", fix="check the path", code="C05")
    return path


def refuse_idle(context: typer.Context, names: Sequence[str], why: str) -> None:
    """Raise `BadConfig` for those of these parameters that were typed: here they would do nothing,
    for the reason `why`.
    """
    typed = [name for name in names if _is_typed(context, name)]
    if typed:
        flags = ", ".join(
            max(parameter.opts, key=len)
            for parameter in context.command.params
            if parameter.name in typed
        )
        raise BadConfig(
            f"{flags} would do nothing here: {why}", fix=f"leave out {flags}", code="C02"
        )


def _is_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def one_of(flag: str, value: str | None, allowed: tuple[str, ...]) -> None:
    """Refuse a word that the flag does not know; None passes."""
    if value is not None and value not in allowed:
        raise BadConfig(
            f"{flag} {value!r} is not known",
            fix=f"use {' or '.join(allowed)}",
            code="C02",
        )


def part(flag: str, text: str) -> tuple[int, int]:
    """`2/4` as a tuple. Raises `BadConfig` for anything else."""
    i, _, n = text.partition("/")
    if not (i.isdecimal() and n.isdecimal() and len(n) < 10 and 1 <= int(i) <= int(n)):
        raise BadConfig(
            f"{flag} {text!r} is not i/n",
            fix=f"{flag} 1/4 to {flag} 4/4",
            code="C02",
        )
    return int(i), int(n)


def three_whole_numbers(flag: str, text: str | None) -> tuple[int, int, int] | None:
    """`4,18,18` as a tuple; None passes. Raises `BadConfig` for anything else."""
    if text is None:
        return None
    parts = text.replace(" ", "").split(",")
    if len(parts) != 3 or not all(part.isdigit() and int(part) > 0 for part in parts):
        raise BadConfig(
            f"{flag} {text!r} is not three whole numbers",
            fix=f"{flag} 4,18,18",
            code="C02",
        )
    d, h, w = (int(part) for part in parts)
    return d, h, w
