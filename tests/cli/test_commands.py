"""What the program promises at the prompt."""

import json
import re
import subprocess
import sys

import pytest

from fewmask.cli.app import VERBS
from fewmask.core.recipe import RECIPES


def fewmask(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fewmask", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("verb", VERBS)
def test_help_begins_with_two_examples(verb) -> None:
    done = fewmask(verb, "-h")
    assert done.returncode == 0
    after = done.stdout.split("Examples:", 1)[1].strip().splitlines()
    assert done.stdout.index("Examples:") < 120
    assert all(re.match(rf"\s*fewmask (--json )?{verb}", line) for line in after[:2]), after[:3]


def test_doctor_in_json_is_one_object() -> None:
    done = fewmask("--json", "doctor")
    assert done.returncode == 0
    assert json.loads(done.stdout)["missing"] == [] and "torch" in done.stderr


def test_errors_in_json_are_one_object_too(tmp_path) -> None:
    done = fewmask("--json", "report", str(tmp_path))
    record = json.loads(done.stdout)
    assert (
        done.returncode == 3 == record["exit_code"]
        and record["error"] == "BadCheckpoint"
        and record["fix"]
    )
    assert done.stderr.startswith("error: not a run folder")
    assert "--scans" in done.stderr, "it may be a folder of masks"


@pytest.mark.parametrize(
    "words",
    [["nonsense"], ["train"], ["train", "x", "--out"], ["predict", "a", "b", "--volume", "x"]],
)
def test_wrong_usage_exits_2(words) -> None:
    assert fewmask(*words).returncode == 2


def test_prepare_names_every_recipe() -> None:
    words = re.sub(r"\W+", " ", fewmask("prepare", "-h").stdout)
    assert all(re.sub(r"\W+", " ", name) in words for name in RECIPES)


def test_methods_explain_their_settings() -> None:
    assert "lora_rank = 8" in fewmask("info", "sam_mix").stdout
    assert "one of 'none', 'mean_teacher'" in fewmask("info", "cfr").stdout.lower()
