"""Settings that an earlier version had under other names: its run folders, tables and commands are
read as today's.

`gate` (may the classifier empty a mask?) and `neighbours` (the cost of a change along the scan, 0 =
slices by themselves) became `presence` and `presence_cost`.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from fewmask.core.config import read_value, setting_words

_FORMER: dict[str, dict[str, Any]] = {
    "sam_mix": {"gate": True, "neighbours": 2.0},
    "ada_sam": {"gate": True, "neighbours": 0.0},
    "multimix": {"gate": True},
}
"""Method -> its former settings, with the defaults they had."""
_COST = 2.0
"""Default of `presence_cost`."""


def todays_config(method: str, config: Mapping[str, Any]) -> dict[str, Any]:
    """A method's settings, all or some, by today's names; what has today's name wins."""
    former = _FORMER.get(method, {})
    old = {name: value for name, value in config.items() if name in former}
    kept = {name: value for name, value in config.items() if name not in former}
    return {**_todays(former, old), **kept} if old else kept


def todays_words(method: str, words: Iterable[str]) -> tuple[str, ...]:
    """The same for settings as `--set` takes them. Raises `BadConfig` for an old name with a value
    it never took.
    """
    former = _FORMER.get(method, {})
    old: dict[str, Any] = {}
    kept: list[str] = []
    place = 0
    for word in words:
        name, _, text = word.partition("=")
        if (name := name.strip()) not in former:
            kept.append(word)
            continue
        place = place if old else len(kept)
        old[name] = read_value(text.strip(), type(former[name]), f"{method}.{name}")
    if not old:
        return tuple(kept)
    new = _todays(former, old)
    if new["presence_cost"] == _COST:
        del new["presence_cost"]
    return (*kept[:place], *setting_words(new), *kept[place:])


def todays_name(name: str) -> str:
    """The same for what a table calls a run: `sam_mix neighbours=0.0, 400 steps`."""
    run, comma, time = name.partition(", ")
    method, _, settings = run.partition(" ")
    return " ".join([method, *todays_words(method, settings.split())]) + comma + time


def renaming_note(method: str, words: Iterable[str]) -> str:
    """What to say about old names among settings; empty if there are none."""
    words = tuple(words)
    new = [word for word in todays_words(method, words) if word not in words]
    old = [word for word in words if word.partition("=")[0].strip() in _FORMER.get(method, {})]
    if not old:
        return ""
    old, new = ([f"`{word}`" for word in part] for part in (old, new))
    go = "goes" if len(old) == 1 else "go"
    return f"{' and '.join(old)} {go} in the next version: use {' and '.join(new)}"


def _todays(former: Mapping[str, Any], old: Mapping[str, Any]) -> dict[str, Any]:
    said = {**former, **old}
    cost = said.get("neighbours", 0.0)
    presence = "none" if not said["gate"] else "scan" if cost else "slice"
    return {"presence": presence, "presence_cost": cost or _COST}
