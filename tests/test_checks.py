"""The checks have no holes: a name that exists nowhere is refused by the linter and by the type
checker.
"""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLANTED = '''

def planted(present: Bool[np.ndarray, "d k"]) -> Bool[np.ndarray, "d k"]:
    """It calls what is not there."""
    undefined_name_here()
    return present
'''


def check(folder: Path, *command: str) -> str:
    """What a tool says of the copy in `folder` with this project's own settings; it must object."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout


def test_an_undefined_name_is_seen_by_both_tools(tmp_path: Path) -> None:
    """A module with shapes in its annotations, which ruff and mypy take for names if let."""
    config = str(ROOT / "pyproject.toml")
    copy = tmp_path / "presence.py"
    copy.write_text((ROOT / "src/fewmask/predict/presence.py").read_text() + PLANTED)
    linted = check(tmp_path, "ruff", "check", "--no-cache", "--config", config, str(copy))
    assert "F821" in linted and "undefined_name_here" in linted
    assert "Found 1 error" in linted, linted
    typed = check(
        tmp_path, "mypy", "--config-file", config, "--cache-dir", str(tmp_path / "c"), str(copy)
    )
    assert 'Name "undefined_name_here" is not defined  [name-defined]' in typed
    assert "Found 1 error" in typed, typed
