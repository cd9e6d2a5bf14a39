"""Settings as their files say them, read without running these files: the dataclass is the manual.

A method's settings stand beside its network, and to import a network takes seconds. Whoever lists
settings, or says which of them a run changed, reads them here. Understood is what settings are
written with: literals and their quotients, `Literal` and names for it, other settings as parts,
base classes.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Setting:
    """One field of a dataclass of settings."""

    name: str
    default: Any
    """A plain value, or the settings of a part by name."""
    choices: tuple[Any, ...]
    """What it may be, if only certain words are allowed; otherwise empty."""
    sentence: str
    """What stands under the field."""


Settings = Mapping[str, Setting]


def method_names() -> list[str]:
    """Names of the methods in the package, sorted."""
    files = (_PACKAGE / "methods").glob("*.py")
    return sorted(path.stem for path in files if not path.stem.startswith("_"))


def method_settings(name: str) -> Settings:
    """The settings of a method in the package, in the order of its dataclass."""
    return read_settings(f"fewmask.methods.{name}", "Config")


def method_defaults(name: str) -> dict[str, Any]:
    """The same as plain data: every setting with its default, parts as tables."""
    return _plain(method_settings(name))


def read_settings(module: str, name: str) -> Settings:
    """The fields of the dataclass `name` in the file of `module`, those of its bases first.

    Raises `ValueError` for a default that is written in a way not understood here.
    """
    return _fields(module, ast.Name(name))


def keys_of(module: str) -> frozenset[str]:
    """Keys of the dictionaries that a file makes, or that the functions, classes and modules of
    this package make which it names: among them the names of a method's losses.
    """
    keys: set[str] = set()
    waiting = [(module, statement) for statement in _definitions(module).values()]
    seen: set[ast.stmt] = set()
    while waiting:
        where, statement = waiting.pop()
        if statement in seen or isinstance(statement, ast.ImportFrom):
            continue
        seen.add(statement)
        for node in ast.walk(statement):
            match node:
                case ast.Dict(names):
                    words = [name.value for name in names if isinstance(name, ast.Constant)]
                    keys |= {word for word in words if isinstance(word, str)}
                case ast.Subscript(_, ast.Constant(name), ast.Store()) if isinstance(name, str):
                    keys.add(name)
                case ast.Name() | ast.Attribute():
                    waiting += _follow(where, node)
    return frozenset(keys)


def sentences_of(node: ast.ClassDef) -> dict[str, str]:
    """Field -> the string that stands under it."""
    found: dict[str, str] = {}
    for field, below in zip(node.body, [*node.body[1:], None], strict=True):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            text = below.value.value
            if isinstance(text, str):
                found[field.target.id] = " ".join(text.split())
    return found


def _follow(module: str, node: ast.expr) -> list[tuple[str, ast.stmt]]:
    """What a name of this package stands for, of a module everything; nothing for another name."""
    root = node
    while isinstance(root, ast.Attribute):
        root = root.value
    if not isinstance(root, ast.Name) or root.id not in _definitions(module):
        return []
    where, statement = _find(module, node)
    if statement is None:
        return [(where, inside) for inside in _definitions(where).values()]
    return [(where, statement)]


def _plain(settings: Settings) -> dict[str, Any]:
    return {
        name: _plain(setting.default) if isinstance(setting.default, dict) else setting.default
        for name, setting in settings.items()
    }


def _fields(module: str, wanted: ast.expr) -> dict[str, Setting]:
    where, node = _find(module, wanted)
    if not isinstance(node, ast.ClassDef):
        raise ValueError(f"{ast.unparse(wanted)} in {module} is no class")
    found: dict[str, Setting] = {}
    for base in reversed(node.bases):
        found |= _fields(where, base)
    sentences = sentences_of(node)
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value:
            name = line.target.id
            sentence = sentences.get(name) or (found[name].sentence if name in found else "")
            choices = _choices(where, line.annotation)
            found[name] = Setting(name, _value(where, line.value), choices, sentence)
    return found


def _value(module: str, node: ast.expr) -> Any:
    match node:
        case ast.BinOp(left, ast.Div(), right):
            return _value(module, left) / _value(module, right)
        case ast.Call(ast.Name("field"), [], [ast.keyword("default_factory", made)]):
            return _fields(module, made)
        case ast.Call(made, [], keywords):
            fields = _fields(module, made)
            changed = {k.arg: _value(module, k.value) for k in keywords if k.arg in fields}
            return fields | {key: replace(fields[key], default=changed[key]) for key in changed}
        case ast.Attribute(ast.Call() as made, name):
            return _value(module, made)[name].default
        case ast.Name(name) if isinstance(where := _find(module, node)[1], ast.Assign):
            return _value(module, where.value)
        case _:
            return ast.literal_eval(node)


def _choices(module: str, node: ast.expr) -> tuple[Any, ...]:
    match node:
        case ast.Subscript(ast.Name("Literal"), ast.Tuple(words)):
            return tuple(word for one in words for word in _choices(module, one))
        case ast.Subscript(ast.Name("Literal"), word):
            return _choices(module, word)
        case ast.Constant(word) if word is not None:
            return (word,)
        case ast.Name():
            where, alias = _find(module, node)
            return _choices(where, alias.value) if isinstance(alias, ast.Assign) else ()
        case _:
            return ()


def _find(module: str, node: ast.expr) -> tuple[str, ast.stmt | None]:
    """The file and the statement that define a name; imports are followed, a module and a name of
    the language have no statement.
    """
    if isinstance(node, ast.Attribute):
        return _find(_find(module, node.value)[0], ast.Name(node.attr))
    if not isinstance(node, ast.Name):
        raise ValueError(f"{ast.unparse(node)} in {module} is not a name")
    statement = _definitions(module).get(node.id)
    if not isinstance(statement, ast.ImportFrom) or statement.module is None:
        return module, statement
    original = next(a.name for a in statement.names if node.id in (a.asname, a.name))
    if original in _definitions(statement.module):
        return _find(statement.module, ast.Name(original))
    return f"{statement.module}.{original}", None


@cache
def _definitions(module: str) -> dict[str, ast.stmt]:
    """Name -> the statement of a file that defines it; nothing of other packages."""
    if not module.startswith("fewmask."):
        return {}
    path = _PACKAGE.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    found: dict[str, ast.stmt] = {}
    for statement in ast.parse(file.read_text(encoding="utf-8")).body:
        match statement:
            case ast.ClassDef(name) | ast.FunctionDef(name):
                found[name] = statement
            case ast.Assign([ast.Name(name)]):
                found[name] = statement
            case ast.Assign([ast.Tuple(targets)], ast.Tuple(values)):  # each as if by itself
                for target, value in zip(targets, values, strict=True):
                    alone = ast.Assign([target], value, lineno=statement.lineno)
                    found[ast.unparse(target)] = alone
            case ast.ImportFrom():
                found |= dict.fromkeys((a.asname or a.name for a in statement.names), statement)
    return found
