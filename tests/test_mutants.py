"""The list of mutants does not rot: every edit still fits its file, and its tests are there."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).parents[1]


def load(path: Path) -> ModuleType:
    """A script that is no package, as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


def test_every_mutant_still_fits() -> None:
    mutants = load(ROOT / "experiments" / "mutants.py").MUTANTS
    assert len({mutant.name for mutant in mutants}) == len(mutants) >= 30
    wrong = []
    for mutant in mutants:
        found = (ROOT / "src" / "fewmask" / mutant.file).read_text().count(mutant.old)
        if found != 1:
            wrong.append(f"{mutant.name}: its text stands {found} times in {mutant.file}")
        for test in mutant.tests:
            file, _, name = test.partition("::")
            if f"def {name}" not in (ROOT / "tests" / file).read_text():
                wrong.append(f"{mutant.name}: no test {test}")
    assert not wrong, "\n".join(wrong)
