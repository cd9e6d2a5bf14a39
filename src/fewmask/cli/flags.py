"""Settings in messages, as flags: layers below name a setting by its Python keyword."""

import re
import shlex
from collections.abc import Sequence
from functools import cache
from importlib import import_module
from typing import Any

import typer

_KEYWORD = re.compile(r"`([a-z_]\w*(?:\.\w+)*)(?:=([^`]+))?`")
_COMMAND = re.compile(r"`fewmask (check|prepare|predict|evaluate)( [^`]*)`")
_READERS = ("check", "prepare", "predict", "evaluate")
_LABELLED = ("check", "prepare", "evaluate")
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


class _Given:
    """What the verb that runs was given and its messages' commands must carry on."""

    data = ""
    """The data folder, as typed."""
    reading = ""
    """Flags of reading scans, as typed."""
    labels = ""
    """Structures that were asked for, as typed."""


def remember(data: Any, reading: str, labels: Sequence[str] = ()) -> None:
    """Keep in mind what this call was given: its data folder, if it has one, its flags of reading
    scans, and what it asked for with `--label`.
    """
    _Given.data = "" if data is None else shlex.quote(str(data))
    _Given.reading = reading
    _Given.labels = " ".join(f"--label {shlex.quote(label)}" for label in labels)


def in_flags(text: str) -> str:
    """A message with its settings as flags: `` `slices=5` `` becomes `--slices 5`, a method's own
    setting `--set lr=0.001`, and a name alone its flag if it has one.

    A command with its settings, such as `` `fewmask check DATA copy_header=c0` ``, becomes one that
    can be typed: with the data folder in use for DATA, and with the structures asked for and the
    flags in use where the verb takes them. Everything else between backticks stays as it is.
    """
    text = _COMMAND.sub(lambda found: _typed(found[1], shlex.split(found[2])), text)
    return _KEYWORD.sub(lambda found: _flag(found[0], found[1], found[2]), text)


def _typed(verb: str, words: list[str]) -> str:
    """A command as it can be typed."""
    line = ["fewmask", verb]
    for word in words:
        name, _, value = word.partition("=")
        flag, switch = _flags().get(name, ("", False))
        if word == "DATA":
            line.append(_Given.data or word)
        elif flag and value:
            line += [flag] if switch else [flag, shlex.quote(value)]
        else:
            line.append(shlex.quote(word))
    if verb in _LABELLED and _Given.labels:
        line.append(_Given.labels)
    if verb in _READERS and _Given.reading:
        line.append(_Given.reading)
    return " ".join(line)


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
