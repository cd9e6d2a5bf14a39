"""The package's own files, parsed once for all tests that read them."""

import ast
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "fewmask"


@cache
def trees() -> dict[str, ast.Module]:
    """Path below `src/fewmask` -> what stands there, in the order of paths."""
    return {
        path.relative_to(SOURCE).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(SOURCE.rglob("*.py"))
    }
