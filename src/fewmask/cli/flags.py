"""Settings in messages, as flags: layers below name a setting by its Python keyword."""

import re
import shlex
from functools import cache
from importlib import import_module
from typing import Any

import typer

_KEYWORD = re.compile(r"`([a-z_]\w*(?:\.\w+)*)(?:=([^`]+))?`")
_UNLIKE = {
    "label": "labels",
    "term": "terms",
    "spacing": "spacing_mm",
    "assume": "",
    "keep": "",
    "set": "settings",
}
"""Flags whose keyword in Python has another name; an empty one stands in `_WHOLE`."""
_WHOLE = {"assume_ras": "--assume RAS", "keep_first": "--keep first"}
"""Keywords that are true or false in Python, and a flag with a word here."""


def in_flags(text: str) -> str:
    """A message with its settings as flags: `` `slices=5` `` becomes `--slices 5`, a method's own
    setting `--set lr=0.001`, and a name alone its flag if it has one.

    Everything else between backticks stays as it is.
    """
    return _KEYWORD.sub(lambda found: _flag(found[0], found[1], found[2]), text)


def _flag(whole: str, name: str, value: str | None) -> str:
    if name in _WHOLE:
        return _WHOLE[name]
    flag, switch = _flags().get(name, ("", False))
    if value is None or (flag and switch):
        return flag or whole
    if not flag:
        return f"--set {shlex.quote(f'{name}={value}')}"
    return f"{flag} {shlex.quote(value.strip('()'))}"


@cache
def _flags() -> dict[str, tuple[str, bool]]:
    """Keyword to (flag, whether it stands without a value), of all verbs."""
    # Deferred: the program imports this file to print what went wrong.
    from fewmask.cli import app

    for verb in app.VERBS:
        import_module(f"fewmask.cli.{verb}")
    found: dict[str, tuple[str, bool]] = {}
    commands: list[Any] = [typer.main.get_command(app.app)]
    while commands:
        command = commands.pop()
        commands += getattr(command, "commands", {}).values()
        for option in command.params:
            flag = max(option.opts, key=len)
            if flag.startswith("--"):
                name = flag[2:].replace("-", "_")
                found[_UNLIKE.get(name, name)] = (flag, bool(option.is_flag))
    return found
