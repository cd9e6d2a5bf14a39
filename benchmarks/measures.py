"""How the code is shaped, in numbers, for one or more trees side by side (a Markdown table).

    python benchmarks/measures.py src/fewmask [OTHER/src/fewmask ...]

Counted with `ast` and `tokenize` over all `.py` files below each folder. A function's lines are
those from `def` to its end; its parameters leave out `self`, `cls`, `*args` and `**kwargs`. Public
is what no name with an underscore leads to. Comments that speak to a tool (`noqa`, `type: ignore`,
`fmt`) are not counted as comments. p90 is the value that nine of ten do not exceed.
"""

import argparse
import ast
import io
import statistics
import tokenize
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

N = TypeVar("N", bound=ast.AST)
Function = ast.FunctionDef | ast.AsyncFunctionDef
_LONG_FUNCTION, _LONG_LINE = 45, 100
_TO_TOOLS = ("noqa", "type:", "fmt:")


@dataclass(frozen=True)
class Source:
    """One file: its text and its syntax tree."""

    text: str
    tree: ast.Module

    @classmethod
    def read(cls, path: Path) -> "Source":
        """Raises `SyntaxError` for a file that is no Python of this version."""
        text = path.read_text(encoding="utf-8")
        return cls(text, ast.parse(text))

    @property
    def lines(self) -> list[str]:
        """Without their ends."""
        return self.text.splitlines()

    @cached_property
    def comments(self) -> list[str]:
        """Every comment, from its `#` on."""
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        return [token.string for token in tokens if token.type == tokenize.COMMENT]

    def nodes(self, kind: type[N]) -> list[N]:
        """All nodes of this kind."""
        return [node for node in ast.walk(self.tree) if isinstance(node, kind)]


class Measures:
    """The numbers of one tree."""

    def __init__(self, folder: Path) -> None:
        """Read all files below `folder`."""
        self.sources = [Source.read(path) for path in sorted(folder.rglob("*.py"))]
        self.functions = [
            node
            for source in self.sources
            for node in ast.walk(source.tree)
            if isinstance(node, Function)
        ]
        self.lines = sum(len(source.lines) for source in self.sources)

    def table(self) -> dict[str, str]:
        """What is measured -> its number, as text."""
        files = [len(source.lines) for source in self.sources]
        lengths = [_lines(node) for node in self.functions]
        parameters = [_parameters(node) for node in self.functions]
        counts = [len(named) for named in parameters]
        annotated = [one.annotation is not None for named in parameters for one in named]
        public = [node for source in self.sources for node in _public(source.tree.body)]
        documented = sum(ast.get_docstring(node) is not None for node in public)
        comments = [text for source in self.sources for text in source.comments]
        said = [text for text in comments if not any(word in text for word in _TO_TOOLS)]
        long_lines = sum(len(line) > _LONG_LINE for s in self.sources for line in s.lines)
        return {
            "files / lines": f"{len(files):,} / {self.lines:,}",
            "file median / p90 / max": _spread(files),
            "function median / p90 / max": _spread(lengths),
            f"functions > {_LONG_FUNCTION} lines": (
                f"{_over(lengths, _LONG_FUNCTION)} of {len(lengths):,}"
            ),
            "params p90 / max": f"{_percentile(counts)} / {max(counts)}",
            "params > 5 / > 8": f"{_over(counts, 5)} / {_over(counts, 8)}",
            "imports in functions": str(self._imports_in_functions()),
            "broad `except`": str(self._broad_excepts()),
            "public functions documented": f"{documented:,} of {len(public):,}",
            "parameters annotated": f"{sum(annotated):,} of {len(annotated):,}",
            "`type: ignore` / `Any`": f"{_ignores(comments)} / {self._anys()}",
            "comments per 1,000 lines": self._per_1000(len(said)),
            "conditional expressions per 1,000 lines": self._per_1000(self._count(ast.IfExp)),
            "comprehensions with two or more `for` per 1,000 lines": self._per_1000(
                self._double_comprehensions()
            ),
            f"lines over {_LONG_LINE} characters": f"{100 * long_lines / self.lines:.1f} %",
            "lines spent on `raise`": self._share(
                _lines(node) for source in self.sources for node in source.nodes(ast.Raise)
            ),
            "docstring share of lines": self._share(
                _lines(node) for source in self.sources for node in _docstrings(source.tree)
            ),
        }

    def _count(self, kind: type[ast.AST]) -> int:
        return sum(len(source.nodes(kind)) for source in self.sources)

    def _per_1000(self, count: int) -> str:
        return f"{1000 * count / self.lines:.1f}"

    def _share(self, lines: Iterator[int]) -> str:
        return f"{100 * sum(lines) / self.lines:.1f} %"

    def _imports_in_functions(self) -> int:
        """Each statement once, however deep it stands."""
        found = {
            id(node)
            for function in self.functions
            for node in ast.walk(function)
            if isinstance(node, ast.Import | ast.ImportFrom)
        }
        return len(found)

    def _broad_excepts(self) -> int:
        broad = 0
        for source in self.sources:
            for node in ast.walk(source.tree):
                if isinstance(node, ast.ExceptHandler):
                    caught = "BaseException" if node.type is None else ast.unparse(node.type)
                    broad += caught in ("Exception", "BaseException")
        return broad

    def _anys(self) -> int:
        return sum(
            isinstance(node, ast.Name) and node.id == "Any"
            for source in self.sources
            for node in ast.walk(source.tree)
        )

    def _double_comprehensions(self) -> int:
        kinds = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
        found = 0
        for source in self.sources:
            for node in ast.walk(source.tree):
                found += isinstance(node, kinds) and len(node.generators) > 1
        return found


def _lines(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def _parameters(node: Function) -> list[ast.arg]:
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return [one for one in named if one.arg not in ("self", "cls")]


def _public(body: Sequence[ast.stmt]) -> Iterator[Function]:
    """Functions of a module and methods of its classes, at any depth of classes."""
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
            if isinstance(node, ast.ClassDef):
                yield from _public(node.body)
            else:
                yield node


def _docstrings(tree: ast.Module) -> Iterator[ast.Expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | Function) and node.body:
            first = node.body[0]
            if ast.get_docstring(node) is not None and isinstance(first, ast.Expr):
                yield first


def _ignores(comments: Sequence[str]) -> int:
    return sum("type: ignore" in comment for comment in comments)


def _percentile(values: Sequence[int]) -> int:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, 9 * len(ordered) // 10)]


def _over(values: Sequence[int], limit: int) -> int:
    return sum(value > limit for value in values)


def _spread(values: Sequence[int]) -> str:
    return f"{statistics.median(values):.0f} / {_percentile(values)} / {max(values)}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="+", type=Path)
    folders: list[Path] = parser.parse_args().folder
    tables = [Measures(folder).table() for folder in folders]
    print("| | " + " | ".join(str(folder) for folder in folders) + " |")
    print("|---" * (len(folders) + 1) + "|")
    for name in tables[0]:
        print(f"| {name} | " + " | ".join(table[name] for table in tables) + " |")


if __name__ == "__main__":
    main()
