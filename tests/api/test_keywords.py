"""Keywords of the Python API: none forgotten, the same defaults as the dataclasses, each with its
sentence; and what a slip of the pen gives.
"""

import inspect
import re
import sys
from dataclasses import MISSING, fields
from typing import Any

import pytest

import fewmask
from fewmask import api
from fewmask.api import LoadedRun
from fewmask.api.arguments import setting_lines
from fewmask.core.errors import BadConfig
from fewmask.io.header import ReadOptions
from fewmask.prepare.options import PrepareOptions, ScanOptions
from fewmask.training import TrainRequest

VERBS = [name for name in fewmask.__all__ if hasattr(api, name)]


def defaults(cls: Any) -> dict[str, Any]:
    """Field -> default; required ones are Parameter.empty."""
    return {
        f.name: inspect.Parameter.empty if f.default is MISSING else f.default for f in fields(cls)
    }


def keywords(function: Any) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    return {name: parameter.default for name, parameter in parameters.items() if name != "self"}


READING = defaults(ReadOptions) | defaults(ScanOptions)
del READING["read"]
PREPARING = defaults(PrepareOptions)
del PREPARING["scans"], PREPARING["labels"]  # the one is READING, the other is required
del PREPARING["tags_off"]  # for experiments


@pytest.mark.parametrize(
    ("function", "wanted", "more"),
    [
        (fewmask.prepare, PREPARING | READING, {"scans", "out", "labels", "on_progress"}),
        (
            fewmask.check,
            {name: PREPARING[name] for name in ("recipe", "outlines", "jobs")} | READING,
            {"scans", "labels"},
        ),
        (fewmask.train, defaults(TrainRequest), {"on_progress"}),
        (fewmask.predict, READING, {"run", "scan", "probabilities", "affine", "cleanup", "device"}),
        (LoadedRun.predict, READING, {"scan", "probabilities", "affine"}),
        (
            fewmask.predict_folder,
            READING,
            {
                *("run", "scans", "out", "cases", "cleanup", "known", "tags", "slices_from"),
                *(
                    "format",
                    "naming",
                    "terms",
                    "device",
                    "part",
                    "again",
                    "probabilities",
                    "on_progress",
                ),
            },
        ),
    ],
)
def test_keywords_are_the_fields(function, wanted, more) -> None:
    given = keywords(function)
    assert set(given) == set(wanted) | more
    for name, default in wanted.items():
        assert given[name] == default, name


@pytest.mark.parametrize(
    "function", [*(getattr(fewmask, name) for name in VERBS), LoadedRun.predict]
)
def test_every_keyword_has_its_sentence(function) -> None:
    text = inspect.getdoc(function) or ""
    section = re.split(r"\n(?=\w+\n-+\n)", text.split("Parameters\n----------\n")[1])[0]
    heads = [line for line in section.splitlines() if line and not line.startswith(" ")]
    told = [name.strip("* ") for line in heads for name in line.split(",")]
    assert told == list(keywords(function))
    for head in heads:
        assert re.search(rf"^{re.escape(head)}\n    \S", section, re.M), f"{head} has no sentence"


@pytest.mark.parametrize(
    ("verb", "given", "words"),
    [
        ("train", {"slice": 5}, r"train\(\) has no keyword 'slice'.*'slices'"),
        ("prepare", {"mask": "complete"}, "did you mean 'masks'"),
        ("predict", {"probs": True}, "did you mean 'probabilities'"),
    ],
)
def test_a_misspelt_keyword_names_the_nearest(verb: str, given: dict[str, Any], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        getattr(fewmask, verb)("in", "out", **given)


@pytest.mark.parametrize(
    ("verb", "given", "words"),
    [
        ("train", {"slices": 5, "amp": "maybe"}, "'auto', 'on', 'off'"),
        ("train", {"slices": 5, "amp": True}, "'auto', 'on', 'off'"),
        ("train", {"slices": "5"}, "train: slices = '5' is not a whole number or none"),
        ("train", {"slices": 5.5}, "not a whole number"),
        ("train", {"slices": 5, "in_order": 1}, "not true or false"),
        ("train", {"slices": 5, "embeddings": 3}, "embeddings = 3 is not a text or a path or none"),
        ("train", {"slices": 5, "on_progress": 3}, "not a function"),
        ("prepare", {"labels": {"a": 1}, "masks": "some"}, "'partial', 'complete'"),
        ("prepare", {"labels": ["liver=6"]}, "labels = .* is not a mapping"),
        ("predict", {"spacing_mm": (1, 2)}, "spacing_mm"),
        ("predict", {"trust": "header"}, "'sform', 'qform'"),
        ("evaluate", {"protocol": "mine"}, "'la-2018'"),
        ("evaluate", {"oracle_box": True}, "oracle_box needs the model"),
        ("compare", {"against": 5}, "against = 5 is not a text or none"),
        ("compare", {}, "no such run or table"),
    ],
)
def test_a_value_that_cannot_be_meant_is_refused(
    verb: str, given: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadConfig, match=words):
        getattr(fewmask, verb)("in", "out", **given)


def test_a_comparison_of_nothing_is_refused() -> None:
    with pytest.raises(BadConfig, match="nothing to compare"):
        fewmask.compare()


@pytest.mark.parametrize(
    ("settings", "lines"),
    [
        ({"lr": 1e-3}, ("lr=0.001",)),
        ({"on": True, "term": "none", "sizes": (1, 2)}, ("on=True", "term='none'", "sizes=(1, 2)")),
        (
            {"finetune": {"lr": 1, "canvas": {"n": None}}},
            ("finetune.lr=1", "finetune.canvas.n=None"),
        ),
        (["lr=0.1", "n=2"], ("lr=0.1", "n=2")),
        ("lr=0.1", ("lr=0.1",)),
        ((), ()),
    ],
)
def test_settings_are_lines_or_a_mapping(settings, lines) -> None:
    assert setting_lines(settings) == lines


def test_names_are_shown_and_there_is_nothing_else() -> None:
    assert dir(fewmask) == sorted(fewmask.__all__)
    assert all(getattr(fewmask, name) for name in fewmask.__all__)
    with pytest.raises(AttributeError, match="no attribute 'predcit'"):
        _ = fewmask.predcit


@pytest.mark.parametrize("name", ["prepare", "predict", "evaluate", "report"])
def test_verbs_stay_verbs_whatever_was_imported_first(name) -> None:
    assert f"fewmask.{name}" in sys.modules or __import__(f"fewmask.{name}")
    assert callable(getattr(fewmask, name))
    setattr(fewmask, name, sys.modules[f"fewmask.{name}"])  # as the import system does
    assert callable(getattr(fewmask, name))
