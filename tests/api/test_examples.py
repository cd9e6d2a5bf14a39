"""Every public function has an example; they run in the order of the work, on made-up scans."""

import doctest
import os
from pathlib import Path

import numpy as np
import pytest

import fewmask
from fewmask import api
from fewmask.synth.phantom import write_phantoms

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


def test_all_verbs_are_shown() -> None:
    assert sorted(ORDER) == [name for name in fewmask.__all__ if hasattr(api, name)]


def test_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_phantoms(tmp_path / "scans", 4)
    monkeypatch.chdir(tmp_path)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    for name in ORDER:
        function = getattr(fewmask, name)
        example = doctest.DocTestParser().get_doctest(
            function.__doc__, {"fewmask": fewmask, "np": np, "os": os}, name, None, None
        )
        assert example.examples, f"{name} has no example"
        runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)
