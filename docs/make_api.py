"""Writes docs/api.md from the docstrings: `python docs/make_api.py`. A test says when to."""

import inspect
import re
from pathlib import Path

import fewmask
from fewmask import api

ORDER = (
    "check",
    "prepare",
    "train",
    "load",
    "predict",
    "predict_folder",
    "evaluate",
    "report",
    "compare",
    "next_slices",
)
RESULTS = ("TrainedRun", "LoadedRun", "PredictedMask", "Evaluation", "Comparison")
HEAD = """# The Python API

`import fewmask` is all that is needed; nothing heavy is loaded until a function is called. Files
are names or paths. Arguments are checked: an unknown keyword raises `TypeError` with the nearest
one, a wrong value `fewmask.FewmaskError`, which says what was wrong and what to do.
`help(fewmask.train)` shows every parameter with its unit and default. The examples run in the
tests, in this order, on four made-up scans in `scans`.

- **Arrays.** `mask.voxels` is in (d, h, w), from the feet, the front and the right on, whatever
  the file. `numpy.asarray(mask)`, `mask.to_nibabel()` and `mask.probabilities` are in the axis
  order of the scan that was given.
- **Records.** `run.history`, `run.metrics`, `evaluation.rows` and `comparison.rows` are lists of
  dicts: `pandas.DataFrame(run.history)`.
- **Progress.** `train(..., on_progress=f)` calls `f` with a `ProgressEvent` after every step;
  returning True stops, and what was done is saved.
"""


def page() -> str:
    """The whole page."""
    parts = [HEAD, *(_function(name) for name in ORDER), "## What they return\n"]
    parts += [_result(name) for name in RESULTS]
    return "\n".join(parts)


def _function(name: str) -> str:
    function = getattr(fewmask, name)
    text = inspect.getdoc(function)
    summary, example = text.split("\n\n")[0], text.split("Examples\n--------\n")[1]
    keywords = ", ".join(inspect.signature(function).parameters)
    return "\n\n".join(
        [
            f"## `fewmask.{name}`",
            _line(summary),
            f"Keywords: {keywords}.",
            f"```python\n{example}\n```\n",
        ]
    )


def _result(name: str) -> str:
    cls = getattr(api, name)
    own = [
        member
        for one in cls.__mro__
        if one.__module__.startswith("fewmask")
        for member in [*vars(one).get("__annotations__", {}), *vars(one)]
        if not member.startswith("_")
    ]
    names = ", ".join(f"`{member}`" for member in dict.fromkeys(own))
    return f"- **`{name}`**: {_line(inspect.getdoc(cls).split(chr(10) * 2)[0])} Has {names}."


def _line(text: str) -> str:
    return re.sub(r"\s+", " ", text)


if __name__ == "__main__":
    Path(__file__).with_name("api.md").write_text(page() + "\n", encoding="utf-8")
