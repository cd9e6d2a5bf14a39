"""`fewmask ratings`, and what `fewmask report` takes."""

import json

import pytest
from typer.testing import CliRunner

import fewmask.cli.ratings
import fewmask.cli.report  # noqa: F401  registers the verbs
from fewmask.cli.app import app
from fewmask.core.errors import BadConfig

HEAD = "rater,case,coverage,spill,boundary,usable,note\n"


def told(*words: object) -> str:
    result = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    return result.stdout


def test_readers_agree_in_a_table(tmp_path) -> None:
    (tmp_path / "a.csv").write_text(HEAD + "ann,x,1,,,yes,\nann,y,2,5,,no,\nann,z,3,,,no,\n")
    (tmp_path / "b.csv").write_text(HEAD + "ben,x,1,,,yes,\nben,y,2,,,yes,\nben,z,2,,,no,\n")
    text = told("ratings", tmp_path / "a.csv", tmp_path / "b.csv")
    assert "| coverage | ann | 3 | 2.00 (1.00 to 4.48) |" in text
    assert "| coverage | ann, ben | 3 | 67 % | 0.67 (-) |" in text
    record = json.loads(told("--json", "ratings", tmp_path / "a.csv"))
    assert record["means"][0]["rater"] == "ann" and record["pairs"] == []
    (tmp_path / "c.csv").write_text(HEAD)
    assert "nobody rated anything yet" in told("ratings", tmp_path / "c.csv")


@pytest.mark.parametrize(
    "flags", [("--tags", "tags.csv"), ("--slices-from", "1"), ("--plane", "coronal")]
)
def test_flags_of_scans_need_scans(tmp_path, flags) -> None:
    result = CliRunner().invoke(app, ["report", str(tmp_path), *flags])
    assert isinstance(result.exception, BadConfig)
    assert "a run knows its own scans and tags" in result.exception.what
