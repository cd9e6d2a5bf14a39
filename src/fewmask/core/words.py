"""Numbers, nouns and commands in messages."""

import shlex


def count(n: int, one: str, several: str = "") -> str:
    """`1 scan`, `6 scans`; of `several` the whole words are given: `1 truth is`, `2 truths are`."""
    return f"{n} {one if n == 1 else several or one + 's'}"


def command(*words: object) -> str:
    """A line of the program that works when it is pasted, whatever folders are called."""
    return shlex.join(["fewmask", *map(str, words)])
