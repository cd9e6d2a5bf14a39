"""Every code that the package prints, found in its source: code, message, file."""

import ast
import re
from collections.abc import Iterator

from tests.source import trees

LETTERS = {
    "N": "scans",
    "M": "masks, and which mask belongs to which scan",
    "D": "DICOM series",
    "S": "patients, splits, budgets and tables of slices",
    "C": "flags, settings and text files",
    "F": "disk, memory, devices, locks, signals and folders",
    "H": "HDF5 files",
    "W": "weights and run folders",
    "X": "the page of `fewmask label`",
}
_CODE = re.compile(r"[A-Z]\d\d")
_NOTE = re.compile(r"([A-Z]\d\d): (.+)", re.S)


def messages() -> dict[str, list[tuple[str, str]]]:
    """Code to (message, file) pairs, sorted; `...` stands for what is only known when it happens.

    A code without a message of its own (the text comes from a variable) has an empty one.
    """
    found: dict[str, set[tuple[str, str]]] = {}
    for name, tree in trees().items():
        for code, text in _in_file(tree):
            found.setdefault(code, set()).add((text, name))
    return {code: _readable(found[code]) for code in sorted(found)}


def _readable(pairs: set[tuple[str, str]]) -> list[tuple[str, str]]:
    worded = {pair for pair in pairs if re.search("[A-Za-z]{3}", pair[0])}
    return sorted(worded or {("", name) for _, name in pairs}, key=lambda pair: pair[::-1])


def _in_file(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
        named = _assigned(function)
        for call in (node for node in ast.walk(function) if isinstance(node, ast.Call)):
            yield from _in_call(call, named)
    # Codes in tables and defaults, and notes, which begin with their code.
    pieces = {
        id(piece)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for piece in node.values
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Tuple) and len(node.elts) > 1:
            code = _text(node.elts[0])
            if _CODE.fullmatch(code):
                yield code, _text(node.elts[1])
        if isinstance(node, ast.Constant | ast.JoinedStr) and id(node) not in pieces:
            text = _text(node)
            if _CODE.fullmatch(text):
                yield text, ""
            elif note := _NOTE.fullmatch(text.removeprefix("...: ")):
                yield note[1], note[2]


def _in_call(call: ast.Call, named: dict[str, list[ast.expr]]) -> Iterator[tuple[str, str]]:
    """Each code of the call with what the call says: its first argument that is a sentence."""
    given = [*call.args, *(word.value for word in call.keywords if word.arg == "code")]
    sentences = [[text for text in _texts(part, named) if " " in text] for part in call.args]
    whats = next((texts for texts in sentences if texts), [""])
    for part in given:
        for code in filter(_CODE.fullmatch, _texts(part, named)):
            yield from ((code, what) for what in whats)


def _assigned(function: ast.FunctionDef) -> dict[str, list[ast.expr]]:
    """What the names of the function are given."""
    found: dict[str, list[ast.expr]] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.setdefault(node.targets[0].id, []).append(node.value)
    return found


def _texts(node: ast.expr, named: dict[str, list[ast.expr]]) -> list[str]:
    """All texts that this may be: of a conditional both, of a name those that it was given."""
    if isinstance(node, ast.IfExp):
        return [*_texts(node.body, named), *_texts(node.orelse, named)]
    if isinstance(node, ast.Name):
        return [text for value in named.get(node.id, ()) for text in _texts(value, {})]
    return [_text(node)]


def _text(node: ast.expr) -> str:
    """A text as it is written, `...` for the parts of it that are computed."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(_text(part) or "..." for part in node.values)
    return ""
