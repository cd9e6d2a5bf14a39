"""A request is checked when it is made: kinds of its values, words of a choice.

In a process without the tests' own type checks, as a user has it.
"""

import json
import subprocess
import sys

import pytest

CODE = """
import json, sys
from dataclasses import asdict
from pathlib import Path
from fewmask.core.errors import BadConfig
from fewmask.training.request import TrainRequest

answers = []
for text in json.loads(sys.argv[1]):
    try:
        request = TrainRequest("prepared", "run", **{"slices": 5, **eval(text)})
    except BadConfig as error:
        answers.append(f"{error.code} {error.what}")
    else:
        answers.append(repr([request.out == Path("run"), request.settings, request.minutes]))
print(json.dumps(answers))
"""
WRONG = {
    "amp": "'maybe'",
    "slices": "'5'",
    "draw": "2.5",
    "seed": "None",
    "in_order": "1",
    "settings": "'lr=1'",
    "save_minutes": "float('nan')",
    "method": "Path('unet')",
    "embeddings": "3",
}
TAKEN = "{'minutes': 10, 'settings': ['lr=0.1']}"


@pytest.fixture(scope="module")
def answers() -> dict[str, str]:
    """What became of each request."""
    asked = {name: f"{{{name!r}: {value}}}" for name, value in WRONG.items()} | {"taken": TAKEN}
    done = subprocess.run(
        [sys.executable, "-c", CODE, json.dumps(list(asked.values()))],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(asked, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("field", list(WRONG))
def test_c02_a_value_of_another_kind_names_its_field(answers, field) -> None:
    assert answers[field].startswith(f"C02 training.{field} = ")


def test_what_means_the_same_is_taken(answers) -> None:
    """Paths as text, whole minutes, settings in a list."""
    assert answers["taken"] == "[True, ('lr=0.1',), 10.0]"
